"""Importing this compiles, or loads, the loops that a small fit needs; see `command_in_child`."""

import contextlib

import matplotlib.pyplot as plt
import torch

from asediff import RDF, DiffSim, LennardJones, PairPotential, StatePoint, System, Target, TorchEngine, fit, lattices
from asediff.plotting import new_axes, png

_system = System.from_atoms(lattices.fcc("Ar", density=0.6, cells=3, mass=1.0, rattle=0.02))
_rdf = RDF(2.3, 20, width=0.05)
_point = StatePoint(_system, Target(_rdf, torch.ones(20, dtype=torch.float64)), kT=1.0)
_method = DiffSim(0.005, epochs=1, steps=2, save_every=1, equilibration_steps=1, pretraining=None)
_engine = TorchEngine(0.005, equilibration_steps=1, steps=2, save_every=1)
with contextlib.suppress(ValueError):
    fit(PairPotential(LennardJones(), 2.3), _point, _method, validation=_engine, progress=False)
png(new_axes())
plt.close("all")
