"""The table "to add X, touch these files" of docs/architecture.md: each row is tried in a copy of the package."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

import asediff

RADIAL = '''

class Yukawa(Radial):
    """u(r) = A exp(-r) / r."""

    kind: ClassVar[str] = "yukawa"

    def __init__(self, strength: Annotated[float, Doc("A")] = 1.0) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.tensor(float(strength), dtype=torch.float64))

    def forward(self, r: Tensor, kT: Tensor | float | None = None) -> Tensor:
        return self.strength * torch.exp(-r) / r

    def config(self) -> dict[str, Any]:
        return {"strength": float(self.strength.detach())}
'''
OBSERVABLE = '''
"""Mean coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from asediff.checks.described import Doc
from asediff.observables.base import Observable, frames_of


@dataclass(frozen=True)
class Coordination(Observable):
    """Mean number of neighbours within a smooth step."""

    kind: ClassVar[str] = "coordination"
    distance: Annotated[float, Doc("of the step", unit="length")]

    @property
    def centers(self):
        return torch.tensor([self.distance], dtype=torch.float64)

    def per_frame(self, trajectory):
        x, system = frames_of(trajectory)
        d = x[:, :, None] - x[:, None]
        d = d - torch.round(d.detach() / system.cell[0].diagonal()) * system.cell[0].diagonal()
        r = torch.sqrt((d * d).sum(-1) + 1e-12)
        near = torch.sigmoid((self.distance - r) / 0.05).sum((1, 2)) / x.shape[1]
        return near.reshape(-1, 1, 1) - 1.0
'''
THERMOSTAT = '''
"""Velocities scaled towards kT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from asediff.checks.described import Doc
from asediff.dynamics.integrators import Thermostatted
from asediff.dynamics.steppers import Stepper


class ScalingStepper(Stepper):
    def __init__(self, timestep, system, kT, tau):
        super().__init__(timestep, system, kT)
        self.share = timestep / tau

    def second(self, state, forces, *, backward=False):
        state = super().second(state, forces, backward=backward)
        measured = self.twice_kinetic(state.velocities) / self.n_dof
        scale = torch.sqrt(1.0 + self.share * (self.kT / measured - 1.0))
        return state._replace(velocities=state.velocities * scale[self.system_idx][:, None])


@dataclass(frozen=True)
class WeakCoupling(Thermostatted):
    """Velocities scaled towards kT."""

    kind: ClassVar[str] = "weak_coupling"
    tau: Annotated[float, Doc("relaxation time", unit="time")] = 0.2

    def stepper(self, system, kT=None):
        return ScalingStepper(self.timestep, system, self.thermal_energy(system, kT), self.tau)
'''
METHOD = '''
"""One multiplication."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from asediff.checks.described import Doc
from asediff.fitting.api import FitJob, Method


@dataclass(frozen=True)
class Louder(Method):
    """Multiply every trainable number."""

    kind: ClassVar[str] = "louder"
    factor: Annotated[float, Doc("by which")] = 1.5
    reads_pairs = False

    def run(self, job: FitJob) -> str:
        with torch.no_grad():
            for parameter in job.potential.parameters():
                parameter.mul_(self.factor)
        job.record(loss=0.0)
        return "done once"
'''
LOSS = '''

@dataclass(frozen=True)
class Largest(Loss):
    """The largest difference."""

    kind: ClassVar[str] = "largest"

    def __call__(self, values: Tensor, reference: Tensor, observable: Observable) -> Tensor:
        return (values - reference).abs().max()
'''
CONFIGURATION = """
units: lj
system: {density: 0.6, n_atoms: 32}
state_points:
  - kT: 1.0
    targets:
      - {file: n.txt, observable: {kind: coordination, distance: 1.4}, loss: {kind: largest}}
potential: {cutoff: 1.8, radial: {kind: yukawa, strength: 2.0}, prior: none}
method: METHOD
validation:
  kind: torch
  timestep: 0.002
  equilibration_steps: 20
  steps: 100
  save_every: 10
  integrator: {kind: weak_coupling, tau: 0.1}
"""
METHODS = {
    "louder": "{kind: louder, factor: 1.25}",
    "diffsim": "{epochs: 2, steps: 20, timestep: 0.002, equilibration_steps: 20, integrator: {kind: weak_coupling}}",
}
USE = """
import sys
from asediff.cli import main
from asediff import load_potential
for name in sys.argv[1:]:
    assert main(["fit", f"{name}.yaml", "--output", name, "--quiet"]) == 0, name
    radial = load_potential(f"{name}/potential.pt").radials
    print(name, "Yukawa" in str(radial), (__import__("pathlib").Path(name) / "report.html").stat().st_size > 10_000)
"""


def test_each_row_of_the_table_is_one_file(tmp_path):
    """A radial function, an observable, a thermostat, a method and a loss of asediff's own, without another change."""
    package = tmp_path / "asediff"
    source = Path(asediff.__file__).parent
    shutil.copytree(source, package)
    inputs = source.parent / "lammps_inputs"
    if inputs.is_dir():
        shutil.copytree(inputs, tmp_path / "lammps_inputs")
    for name, text in {"potentials/radial.py": RADIAL, "targets/losses.py": LOSS}.items():
        with (package / name).open("a") as file:
            file.write(text)
    (package / "observables/coordination.py").write_text(OBSERVABLE)
    (package / "dynamics/weak_coupling.py").write_text(THERMOSTAT)
    (package / "fitting/tables/louder.py").write_text(METHOD)
    r = np.linspace(1.0, 1.8, 20)
    np.savetxt(tmp_path / "n.txt", np.column_stack([r, 8.0 * r - 5.0]))
    for name, method in METHODS.items():
        (tmp_path / f"{name}.yaml").write_text(CONFIGURATION.replace("METHOD", method))
    run = subprocess.run(
        [sys.executable, "-c", USE, *METHODS], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert all(f"{name} True True\n" in run.stdout for name in METHODS)
