"""An observable of your own, fitted from a YAML configuration: one file beside it, and nothing is registered.

`centers` and `per_frame` are all that a class has to define. The configuration names it as `module:Class`; the result
folder keeps a copy of the file, so that the fit can be resumed there.
"""

import tempfile
from pathlib import Path

from asediff.cli import main

MODULE = """
from dataclasses import dataclass

import torch
from asediff import Observable
from asediff.neighbors import NeighborList
from asediff.observables.base import frames_of


@dataclass(frozen=True)
class Coordination(Observable):
    \"\"\"Mean number of neighbours within smooth steps at several distances.\"\"\"

    distances: tuple = (1.2, 1.5, 1.8)
    width: float = 0.05
    abscissa = "r"
    ordinate = "n"

    @property
    def centers(self):
        return torch.tensor(self.distances, dtype=torch.float64)

    def per_frame(self, trajectory):
        positions, system = frames_of(trajectory)
        neighbors = NeighborList(max(self.distances) + 10 * self.width)
        return torch.stack([self.counted(system.replace(positions=x), neighbors) for x in positions])

    def counted(self, frame, neighbor_list):
        neighbors = neighbor_list.update(frame.detach())
        r = torch.linalg.vector_norm(neighbors.displacements(frame), dim=-1)
        near = torch.sigmoid((self.centers - r[:, None]) / self.width)
        owner = frame.system_idx[neighbors.first]
        sums = near.new_zeros(frame.n_systems, len(self.distances)).index_add(0, owner, near)
        return 2.0 * sums / frame.counts[:, None]
"""
CONFIGURATION = """
units: lj
system: {density: 0.7, n_atoms: 108}
state_points:
  - kT: 1.0
    targets:
      - file: coordination.txt
        observable: {kind: "coordination:Coordination", arguments: {distances: [1.2, 1.5, 1.8]}}
potential:
  cutoff: 2.3
  radial: {kind: lennard_jones, epsilon: 0.8}
method: {epochs: 3, equilibration_steps: 100, steps: 60, timestep: 0.005}
validation: {kind: torch, equilibration_steps: 200, steps: 1000, save_every: 50}
"""

with tempfile.TemporaryDirectory() as folder:
    here = Path(folder)
    (here / "coordination.py").write_text(MODULE)
    (here / "fit.yaml").write_text(CONFIGURATION)
    (here / "coordination.txt").write_text("\n".join(f"{r} {n}" for r, n in [(1.2, 4.6), (1.5, 9.9), (1.8, 15.6)]))
    code = main(["fit", str(here / "fit.yaml"), "--output", str(here / "result"), "--quiet"])
    print(f"exit code {code}; the result folder holds {', '.join(sorted(p.name for p in (here / 'result').iterdir()))}")
