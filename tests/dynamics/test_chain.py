"""Adjoints differentiate any chain of steps, not only molecular dynamics."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from asediff.dynamics.adjoints import Adjoint, BacksolveAdjoint, CheckpointAdjoint, DirectAdjoint, ReversibleAdjoint
from asediff.dynamics.chain import Chain, Tensors

EXACT: list[Adjoint] = [
    CheckpointAdjoint(every=1),
    CheckpointAdjoint(every=7),
    ReversibleAdjoint(12, keep=0),
    ReversibleAdjoint(500, keep=0),
]


class TwoLevels(Chain):
    """A two-level system in a field with one amplitude per step, ħ = 1: H = (gap/2) σ_z - field_k σ_x.

    Each step is the exact exponential exp(-i H dt); what is recorded is the population of the upper level.
    """

    def __init__(self, field: Tensor, gap: Tensor, dt: float, *, save_every: int, inverse: bool = True) -> None:
        self.parameters = (field, gap)
        self.n_steps, self.save_every, self.dt, self.inverse = len(field), save_every, dt, inverse
        self.backwards = 0

    def _propagator(self, parameters: Tensors, k: int, dt: float) -> Tensor:
        field, gap = parameters
        x, z = -field[k], gap / 2
        size = torch.sqrt(x * x + z * z)
        c, s = torch.cos(size * dt), torch.sin(size * dt) / size
        return torch.stack([torch.stack([c - 1j * s * z, -1j * s * x]), torch.stack([-1j * s * x, c + 1j * s * z])])

    def step(self, state: Tensors, parameters: Tensors, k: int) -> Tensors:
        return (self._propagator(parameters, k, self.dt) @ state[0],)

    def step_back(self, state: Tensors, parameters: Tensors, k: int) -> Tensors:
        if not self.inverse:
            return super().step_back(state, parameters, k)
        self.backwards += 1
        return (self._propagator(parameters, k, -self.dt) @ state[0],)

    def outputs(self, state: Tensors) -> Tensors:
        return (state[0][0].abs().square(),)


def _lower() -> Tensor:
    return torch.tensor([0.0, 1.0], dtype=torch.complex128)


def _field(n: int = 60) -> Tensor:
    return (0.3 * torch.cos(0.2 * torch.arange(n, dtype=torch.float64))).requires_grad_()


def _gradients(adjoint: Adjoint, *, inverse: bool = True) -> list[Tensor]:
    field, gap, start = _field(), torch.tensor(1.3, dtype=torch.float64, requires_grad=True), _lower().requires_grad_()
    chain = TwoLevels(field, gap, 0.1, save_every=10, inverse=inverse)
    recording = adjoint.run(chain, (start,))
    assert recording.frames[0].shape == (6,)
    loss = (recording.frames[0] * torch.arange(1, 7)).sum() + recording.final[0][1].real
    return list(torch.autograd.grad(loss, [field, gap, start]))


@pytest.mark.parametrize("adjoint", EXACT)
def test_complex_states_are_differentiated_as_autograd_does(adjoint: Adjoint):
    for a, b in zip(_gradients(adjoint), _gradients(DirectAdjoint()), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


def test_a_resonant_pulse_of_area_pi_inverts_a_degenerate_system():
    """Without a gap the population is sin²(∫ field dt): its gradient per step is dt sin(2 ∫ field dt)."""
    dt, n = 0.05, 40
    field = torch.full((n,), 0.25 * math.pi / (n * dt), dtype=torch.float64, requires_grad=True)
    chain = TwoLevels(field, torch.tensor(1e-9, dtype=torch.float64), dt, save_every=n)
    population = ReversibleAdjoint(keep=0).run(chain, (_lower(),)).frames[0]
    assert float(population.detach()) == pytest.approx(0.5, abs=1e-8)
    (gradient,) = torch.autograd.grad(population.sum(), field)
    torch.testing.assert_close(gradient, torch.full_like(gradient, dt), rtol=1e-7, atol=0)


def test_states_are_stepped_back_where_there_is_an_inverse_and_replayed_where_not():
    field, gap = _field(), torch.tensor(1.3, dtype=torch.float64)
    for inverse, steps in ((True, 60), (False, 0)):
        chain = TwoLevels(field, gap, 0.1, save_every=60, inverse=inverse)
        ReversibleAdjoint(20, keep=0).run(chain, (_lower(),)).frames[0].sum().backward()
        assert chain.backwards == steps
    for a, b in zip(_gradients(ReversibleAdjoint(20, keep=0), inverse=False), _gradients(DirectAdjoint()), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


class Oscillator(Chain):
    """A damped oscillator by semi-implicit Euler; its inverse amplifies like the damping damps."""

    timestep = 0.01

    def __init__(self, damping: Tensor, n_steps: int) -> None:
        self.parameters, self.n_steps, self.save_every = (damping,), n_steps, n_steps

    def step(self, state: Tensors, parameters: Tensors, k: int) -> Tensors:
        x, v = state
        v = v * torch.exp(-parameters[0] * self.timestep) - self.timestep * x
        return x + self.timestep * v, v

    def step_back(self, state: Tensors, parameters: Tensors, k: int) -> Tensors:
        x, v = state
        x = x - self.timestep * v
        return x, (v + self.timestep * x) * torch.exp(parameters[0] * self.timestep)

    def rates(self, state: Tensors, parameters: Tensors) -> Tensors:
        x, v = state
        return v, -x - parameters[0] * v


def _oscillator(adjoint: Adjoint, damping: float, n_steps: int = 400) -> float:
    parameter = torch.tensor(damping, dtype=torch.float64, requires_grad=True)
    start = (torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    final = adjoint.run(Oscillator(parameter, n_steps), start).final
    return float(torch.autograd.grad(final[0].square().sum(), parameter)[0])


@pytest.mark.parametrize("damping", [0.1, 20.0])
def test_strong_damping_is_taken_again(damping: float):
    exact = _oscillator(DirectAdjoint(), damping)
    assert _oscillator(ReversibleAdjoint(keep=0), damping) == pytest.approx(exact, rel=1e-9)


def test_backsolve_takes_any_equation_of_motion():
    exact = _oscillator(DirectAdjoint(), 0.5)
    assert _oscillator(BacksolveAdjoint(), 0.5) == pytest.approx(exact, rel=2e-2)


def test_backsolve_names_a_chain_without_one():
    chain = TwoLevels(_field(), torch.tensor(1.0, dtype=torch.float64), 0.1, save_every=60)
    with pytest.raises(ValueError, match="chain: TwoLevels has no equation of motion; use CheckpointAdjoint"):
        BacksolveAdjoint().run(chain, (_lower(),))
