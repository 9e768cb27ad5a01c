"""The default gradient where stepping back in time is no inverse any more: quenches, strong friction, odd steppers.

`CheckpointAdjoint` computes no state backward and is the measure; `test_adjoints.py` compares it with autograd.
"""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import Tensor

from asediff.dynamics import Integrator, Langevin, NoseHooverChain, Stepper, VelocityVerlet
from asediff.dynamics.adjoints import Adjoint, CheckpointAdjoint, DirectAdjoint, ReversibleAdjoint
from asediff.kernels import recovery
from asediff.lattices import fcc
from asediff.observables import RDF
from asediff.potentials import LennardJones, PairPotential
from asediff.simulate import simulate
from asediff.system import System

TOLERANCE = 1e-8
PATHS = ["fused", "general"]


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "general":
        monkeypatch.setattr(importlib.import_module("asediff.simulate"), "fused_form", lambda *run: None)
    return request.param


@pytest.fixture
def decisions(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of every comparison with a snapshot, whether the recovered state had strayed."""
    made: list[bool] = []

    def noted(*states) -> bool:
        made.append(recovery.strayed(*states))
        return made[-1]

    for module in ("asediff.dynamics.reverse", "asediff.kernels.cpu.descent"):
        monkeypatch.setattr(importlib.import_module(module), "strayed", noted)
    return made


def _fluid(cells: int, density: float, kT: float, seed: int = 1) -> System:
    atoms = fcc("Ar", density=density, cells=cells, mass=1.0, rattle=0.02, seed=seed)
    return System.from_atoms(atoms).thermalized(kT=kT, seed=seed)


def _gradient(start: System, integrator: Integrator, steps: int, adjoint: Adjoint) -> list[Tensor]:
    """Of an RDF and the last velocities, in epsilon, sigma, positions and velocities."""
    lj, cutoff = LennardJones(), min(2.0, 0.49 * float(start.cell[0, 0, 0]))
    x, v = start.positions.clone().requires_grad_(), start.velocities.clone().requires_grad_()
    moved = simulate(
        start.replace(positions=x, velocities=v),
        PairPotential(lj, cutoff),
        integrator,
        steps,
        save_every=steps // 5,
        adjoint=adjoint,
    )
    loss = RDF(cutoff, 40)(moved).square().mean() + moved.velocities[-1].square().mean()
    return list(torch.autograd.grad(loss, [lj.epsilon, lj.sigma, x, v]))


def _assert_same(start: System, integrator: Integrator, steps: int, adjoint: Adjoint) -> None:
    exact = _gradient(start, integrator, steps, CheckpointAdjoint(every=1))
    found = _gradient(start, integrator, steps, adjoint)
    # the derivative in one parameter may vanish by chance; that in both together hardly does
    for a, b in zip(_grouped(found), _grouped(exact), strict=True):
        assert float((a - b).norm()) <= TOLERANCE * float(b.norm())


def _grouped(gradients: list[Tensor]) -> list[Tensor]:
    """In both parameters, in positions, in velocities."""
    return [torch.stack(gradients[:2]), *gradients[2:]]


CASES = {
    "quench from kT 10": (10.0, NoseHooverChain(0.002, kT=1.0)),
    "quench with a fast thermostat": (2.0, NoseHooverChain(0.005, kT=1.0, tdamp=0.05)),
    "heating": (0.1, NoseHooverChain(0.005, kT=1.0, tdamp=0.1)),
    "friction 50": (1.0, Langevin(0.005, kT=1.0, friction=50.0, seed=3)),
    "friction 10": (1.0, Langevin(0.005, kT=1.0, friction=10.0, seed=3)),
    "a hot start without a thermostat": (10.0, VelocityVerlet(0.002)),
}


# by far, within 160 steps of 32 atoms
STRAYS = {"quench from kT 10", "quench with a fast thermostat", "heating", "friction 50"}


@pytest.mark.parametrize("case", CASES)
def test_default_is_exact_far_from_equilibrium(case: str):
    kT, integrator = CASES[case]
    _assert_same(_fluid(3, 0.8, kT), integrator, 250 if case != "friction 50" else 500, ReversibleAdjoint())


@pytest.mark.parametrize("case", CASES)
def test_the_general_path_is_exact_too(case: str, monkeypatch: pytest.MonkeyPatch, decisions: list[bool]):
    monkeypatch.setattr(importlib.import_module("asediff.simulate"), "fused_form", lambda *run: None)
    kT, integrator = CASES[case]
    _assert_same(_fluid(2, 0.8, kT), integrator, 160, ReversibleAdjoint(keep=0))
    assert case not in STRAYS or decisions == [True]


@pytest.mark.parametrize("k", range(10))
def test_random_quenches(k: int, path: str):
    generator = torch.Generator().manual_seed(k)
    cells, density, hot, cold, damp = (
        float(torch.empty(1).uniform_(low, high, generator=generator))
        for low, high in ((2, 4), (0.3, 0.9), (1.5, 12.0), (0.5, 1.0), (0.03, 0.3))
    )
    integrators = (
        NoseHooverChain(0.002, kT=cold, tdamp=damp, tchain=1 + k % 3),
        Langevin(0.002, kT=cold, friction=1 / damp, seed=k),
        VelocityVerlet(0.002),
    )
    steps = 300 if path == "fused" else 30
    for integrator in integrators:
        start = _fluid(int(cells) if path == "fused" else 2, density, hot, seed=k)
        _assert_same(start, integrator, steps, ReversibleAdjoint(steps // 3, keep=0))


def test_systems_of_a_batch_are_judged_one_by_one(path: str):
    """A quench beside a liquid at rest."""
    batch = System.concatenate([_fluid(2, 0.7, 10.0, seed=2), _fluid(2, 0.7, 1.0, seed=3)])
    steps = 200 if path == "fused" else 50
    _assert_same(batch, NoseHooverChain(0.002, kT=1.0, tdamp=0.02), steps, ReversibleAdjoint(steps // 2, keep=0))


def test_nothing_is_taken_again_near_equilibrium(path: str, decisions: list[bool]):
    warm = simulate(
        _fluid(2, 0.7, 2.0), PairPotential(LennardJones(), 1.4), Langevin(0.005, kT=1.0), 300, adjoint=DirectAdjoint()
    ).system.detach()
    # round-off has grown a hundred times less than is allowed
    steps = 200 if path == "fused" else 100
    for integrator in (NoseHooverChain(0.005, kT=1.0), Langevin(0.005, kT=1.0), VelocityVerlet(0.005)):
        _gradient(warm, integrator, steps, ReversibleAdjoint(steps // 2, keep=0))
    assert decisions == [False] * 6


def test_float32_is_judged_by_its_own_round_off(decisions: list[bool]):
    start = _fluid(3, 0.8, 10.0)
    start = start.replace(
        **{name: getattr(start, name).float() for name in ("positions", "velocities", "cell", "masses")}
    )
    integrator = NoseHooverChain(0.002, kT=1.0, tdamp=0.05)
    exact = _gradient(start, integrator, 250, CheckpointAdjoint(every=1))
    found = _gradient(start, integrator, 250, ReversibleAdjoint())
    for a, b in zip(_grouped(found), _grouped(exact), strict=True):
        assert float((a - b).norm()) <= 1e-2 * float(b.norm())


class _NoInverse(Stepper):
    """Drag whose inverse nobody wrote: `backward` is the step without it."""

    def second(self, state, forces, *, backward: bool = False):
        after = super().second(state, forces, backward=backward)
        return after if backward else after._replace(velocities=0.999 * after.velocities)


class _Drag(Integrator):
    def stepper(self, system: System, kT=None) -> Stepper:
        return _NoInverse(self.timestep, system, None)


def test_a_stepper_without_an_inverse_is_differentiated_exactly(decisions: list[bool]):
    _assert_same(_fluid(2, 0.7, 1.0), _Drag(0.005), 40, ReversibleAdjoint(20, keep=0))
    assert decisions == [True]


def test_states_that_are_not_finite_have_strayed():
    state = tuple(torch.rand(4, 3, dtype=torch.float64) for _ in range(2))
    broken = (state[0], torch.full_like(state[1], torch.nan))
    assert recovery.strayed(broken, state, state)
    assert not recovery.strayed(state, state, state)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_bound_is_relative_to_the_spread_of_the_numbers(dtype: torch.dtype):
    far = torch.tensor([[1e6, 1e6, 1e6], [1e6 + 8, 1e6, 1e6]], dtype=torch.float64)
    bound = 8 * recovery.BOUND[dtype.itemsize]
    known = (far - 1e6).to(dtype)
    for factor, expected in ((0.5, False), (2.0, True)):
        moved = known.clone()
        moved[0, 1] += factor * bound
        assert recovery.strayed((moved,), (known,), (known,)) is expected
