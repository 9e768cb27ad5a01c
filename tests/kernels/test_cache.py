import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import hashlib, torch
from asediff import RDF, LennardJones, NoseHooverChain, PairPotential, System, simulate
from asediff.lattices import fcc

start = System.from_atoms(fcc("Ar", density=0.7, cells=3, mass=1.0, rattle=0.05)).thermalized(kT=1.0, seed=1)
lj = LennardJones()
trajectory = simulate(start, PairPotential(lj, 2.3), NoseHooverChain(0.005, kT=1.0, tdamp=0.5), 60, save_every=10)
g = RDF(2.3, 100)(trajectory)
by_positions = torch.autograd.grad(g.square().sum(), trajectory.positions, retain_graph=True)[0]
g.square().sum().backward()
for t in (trajectory.positions, g, by_positions, lj.epsilon.grad, lj.sigma.grad):
    print(hashlib.sha256(t.detach().numpy().tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_the_process_that_compiles_and_one_that_loads_agree_bit_for_bit(tmp_path: Path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", PROGRAM]
    compiled, loaded = (subprocess.check_output(command, env=environment, text=True).split() for _ in range(2))
    assert any(tmp_path.rglob("*.nbc"))
    assert compiled == loaded
