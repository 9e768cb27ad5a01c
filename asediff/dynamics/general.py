"""Molecular dynamics step by step in torch: any potential, any stepper, any adjoint, any device.

Terms of the potential that have pair tables are evaluated in compiled kernels on the CPU all the same; the remainder
is differentiated by autograd.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asediff.dynamics.adjoints import Adjoint
from asediff.dynamics.chain import Chain, StrayedError, Tensors
from asediff.dynamics.steppers import State, Stepper, check_rates
from asediff.kernels import arrays
from asediff.neighbors import NeighborList, Neighbors
from asediff.potentials.base import Potential, compiled_terms, energy_virial
from asediff.potentials.splines import PairSpline
from asediff.system import System

Parts = tuple[Tensor, Tensor]
"""Energy and sum of r·F of something, `(n_systems,)` each."""


class InstabilityError(ValueError):
    """The atoms blew up: a state is not finite, or an atom moves farther than the cutoff in one step."""

    def __init__(self, timestep: float) -> None:
        super().__init__(
            f"timestep: with {timestep:g} the atoms blew up; use a shorter time step, a start without overlaps or a "
            "repulsive prior"
        )
        self.timestep = timestep

    def __reduce__(self) -> tuple[type[InstabilityError], tuple[float]]:
        return type(self), (self.timestep,)  # exceptions are made again from their text otherwise


def general_run(
    system: System,
    potential: Potential,
    stepper: Stepper,
    state: State,
    n_steps: int,
    save_every: int,
    first_step: int,
    adjoint: Adjoint,
    skin: float | None,
) -> tuple[State, State, Tensor, Tensor, Tensor]:
    """Take the steps; arguments and result as those of `asediff.dynamics.fused.fused_run`.

    Raises:
        InstabilityError: the atoms blew up.
    """
    terms = _terms(system, potential, stepper.kT, skin, in_torch=adjoint.keeps_graph)
    reach = math.inf if potential.cutoff is None else potential.cutoff
    chain = _Dynamics(system, terms, stepper, reach, n_steps, save_every, first_step)
    leader = _leader(chain, state)
    if leader is None:
        recording = adjoint.run(chain, chain.start(state))
        frames, final = State(*recording.frames), State(*recording.final[:3])
        found: list[list[Parts]] = [[] for _ in frames.positions]
    else:
        pairs, form = leader
        terms = [term for term in terms if term is not pairs]
        frames, found = pairs.drive(chain, terms, state, form)
        final = State(*(tensor[-1] for tensor in frames))
    with torch.no_grad():
        # A softened core keeps an exploded run finite: atoms that cross the whole cutoff in a step show it.
        fastest = torch.stack([frames.velocities.abs().max(), final.velocities.abs().max()]).max()
        finite = all(bool(torch.isfinite(tensor).all()) for tensor in final)
        if not finite or not float(fastest) * stepper.timestep <= reach:
            raise InstabilityError(stepper.timestep)
        rows = [
            chain.thermodynamics(State(*frame), terms, parts)
            for frame, parts in zip(zip(*frames, strict=True), found, strict=True)
        ]
    energy, pressure, conserved = (torch.stack(column) for column in zip(*rows, strict=True))
    return frames, final, energy, pressure, conserved


def _leader(chain: _Dynamics, state: State) -> tuple[_KernelPairs, arrays.Stepper] | None:
    """The term of a sum whose kernels take the steps, and what they take; the forces of all others are found meanwhile.

    None where the stepper has no compiled form, no term has a table, or a gradient is wanted.
    """
    pairs = [term for term in chain.terms if isinstance(term, _KernelPairs)]
    form = chain.stepper.compiled(chain.first_step)
    wanted = torch.is_grad_enabled() and any(t.requires_grad for t in (*state, *chain.parameters))
    if not pairs or len(chain.terms) == 1 or form is None or wanted:
        return None
    return pairs[0], form


class _Term(ABC):
    """A term of the potential, with the tensors that its gradient reaches."""

    parameters: Tensors

    @abstractmethod
    def forces(self, system: System, parameters: Tensors) -> Tensor:
        """`(n_atoms, 3)`, differentiable in positions and parameters."""

    @abstractmethod
    def energy_virial(self, system: System) -> tuple[Tensor, Tensor]:
        """Energy and sum of r·F over pairs, `(n_systems,)` each, without gradient."""


def _terms(
    system: System, potential: Potential, kT: Tensor | None, skin: float | None, *, in_torch: bool
) -> list[_Term]:
    splines, others = compiled_terms(potential, system, kT)
    kernels = not in_torch and system.device.type == "cpu"
    tables: list[_Term] = [
        (_KernelPairs if kernels and spline.fits_kernels(system) else _TorchPairs)(system, spline, skin)
        for spline in splines
    ]
    return [*tables, *(_Autograd(other, kT, skin) for other in others)]


class _TorchPairs(_Term):
    """Pair tables in torch, differentiable any number of times."""

    def __init__(self, system: System, spline: PairSpline, skin: float | None) -> None:
        self.spline, self.list = spline, NeighborList(spline.cutoff, skin)
        self.parameters = (spline.coefficients,)

    def forces(self, system: System, parameters: Tensors) -> Tensor:
        spline = self.spline
        local = PairSpline(
            parameters[0], spline.table_index, spline.species, spline.s_lo, spline.spacing, spline.cutoff
        )
        return local.energy_forces(system, self.list.update(system))[1]

    def energy_virial(self, system: System) -> tuple[Tensor, Tensor]:
        energy, _, virial = self.spline.energy_forces(system, self.list.update(system))
        return energy, virial


class _KernelPairs(_Term):
    """Pair tables in the kernels of the CPU, differentiable once."""

    def __init__(self, system: System, spline: PairSpline, skin: float | None) -> None:
        from asediff.kernels.cpu.static import PairEvaluator  # compilers take seconds to load

        self.parameters = (spline.coefficients.to(system.dtype),)
        self.skin = 0.12 * spline.cutoff if skin is None else skin
        self.evaluator = PairEvaluator(*spline.arrays(system), skin=self.skin)

    def forces(self, system: System, parameters: Tensors) -> Tensor:
        # the tables of a run do not change: `parameters` are the values that the evaluator was made of
        result: Tensor = _KernelForces.apply(system.positions, parameters[0], self.evaluator)
        return result

    def drive(
        self, chain: _Dynamics, others: list[_Term], state: State, form: arrays.Stepper
    ) -> tuple[State, list[list[Parts]]]:
        """Frames of a run with the forces of other terms from outside, and the parts of this term in each frame."""
        from asediff.kernels.cpu.backend import stepper_arrays
        from asediff.kernels.cpu.driven import DrivenRun

        def forces(here: np.ndarray) -> np.ndarray:
            # a copy, for lists keep where atoms were; a leaf, so that no term makes one of its own
            frame = chain.system.replace(positions=torch.from_numpy(here.copy()).requires_grad_())
            found = (term.forces(frame, term.parameters) for term in others)
            return functools.reduce(torch.add, found).detach().numpy()

        with torch.no_grad():
            x, v, thermostat = (tensor.detach().numpy() for tensor in state)
            run = DrivenRun(
                x, v, thermostat, self.evaluator.batch, self.evaluator.tables, stepper_arrays(form, x.dtype),
                forces, chain.n_steps, chain.save_every, skin=self.skin,
            )  # fmt: skip
            if not run.run():
                raise InstabilityError(chain.timestep)
        frames, thermo = run.record, torch.from_numpy(run.record.thermo)
        kept = (frames.frame_positions, frames.frame_velocities, frames.snapshot_chain)
        return State(*map(torch.from_numpy, kept)), [[(frame[:, 0], frame[:, 1])] for frame in thermo]

    def energy_virial(self, system: System) -> tuple[Tensor, Tensor]:
        found = self.evaluator.forces(system.positions.numpy())
        return torch.from_numpy(found.energy), torch.from_numpy(np.trace(found.virial, axis1=-2, axis2=-1).copy())


class _KernelForces(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions: Tensor, coefficients: Tensor, evaluator: Any) -> Tensor:
        ctx.positions, ctx.evaluator, ctx.dtype = positions.detach().numpy(), evaluator, coefficients.dtype
        return torch.from_numpy(evaluator.forces(ctx.positions, energies=False).forces)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        n_systems = ctx.evaluator.batch.n_systems
        by_positions, by_coefficients = ctx.evaluator.vjp(
            ctx.positions, gradient.numpy(), np.zeros(n_systems), np.zeros((n_systems, 3, 3))
        )
        return torch.from_numpy(by_positions), torch.from_numpy(by_coefficients).to(ctx.dtype), None


class _Autograd(_Term):
    """Any potential, by the derivatives of its energy."""

    def __init__(self, potential: Potential, kT: Tensor | None, skin: float | None) -> None:
        self.potential, self.kT, self.list = potential, kT, NeighborList(potential.cutoff, skin)
        trainable = [(name, p) for name, p in potential.named_parameters() if p.requires_grad]
        self.names = [f"potential.{name}" for name, _ in trainable]
        self.parameters = tuple(p for _, p in trainable)

    def forces(self, system: System, parameters: Tensors) -> Tensor:
        neighbors = self.list.update(system)
        if parameters is self.parameters:
            return self.potential.energy_forces(system, neighbors, self.kT)[1]
        return torch.func.functional_call(
            _ForceModule(self.potential),
            dict(zip(self.names, parameters, strict=True)),
            (system, neighbors, self.kT),
        )

    def energy_virial(self, system: System) -> tuple[Tensor, Tensor]:
        return energy_virial(self.potential, system, self.list.update(system), self.kT)


class _ForceModule(torch.nn.Module):
    """A potential whose forward pass gives forces, so that its parameters can be swapped in one call."""

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential

    def forward(self, system: System, neighbors: Neighbors, kT: Tensor | None) -> Tensor:
        return self.potential.energy_forces(system, neighbors, kT)[1]


class _Dynamics(Chain):
    """Time steps as a chain. The state is that of the stepper and the forces there, which every step hands on."""

    def __init__(
        self, system: System, terms: list[_Term], stepper: Stepper, reach: float, n_steps: int, save_every: int,
        first_step: int,
    ) -> None:  # fmt: skip
        self.system, self.terms, self.stepper, self.reach = system, terms, stepper, reach
        self.n_steps, self.save_every, self.first_step = n_steps, save_every, first_step
        self.parameters = tuple(p for term in terms for p in term.parameters)

    @property
    def timestep(self) -> float:
        return self.stepper.timestep

    def forces(self, positions: Tensor, parameters: Tensors) -> Tensor:
        if not bool(torch.isfinite(positions.detach()).all()):
            raise InstabilityError(self.timestep)
        moved = self.system.replace(positions=positions)
        found, begin = [], 0
        for term in self.terms:
            end = begin + len(term.parameters)
            found.append(term.forces(moved, parameters[begin:end]))
            begin = end
        return functools.reduce(torch.add, found)

    def start(self, state: State) -> Tensors:
        return *state, self.forces(state.positions, self.parameters)

    def step(self, state: Tensors, parameters: Tensors, k: int) -> Tensors:
        after, forces = self.stepper.step(
            State(*state[:3]), state[3], lambda x: self.forces(x, parameters), self.first_step + k
        )
        return *after, forces

    def step_back(self, state: Tensors, parameters: Tensors, k: int) -> Tensors:
        def forces(positions: Tensor) -> Tensor:
            if not float((positions - state[0]).abs().max()) <= self.reach:
                raise StrayedError
            return self.forces(positions, parameters)

        before, there = self.stepper.step_back(State(*state[:3]), state[3], forces, self.first_step + k)
        return *before, there

    def outputs(self, state: Tensors) -> Tensors:
        return state[:3]

    def rates(self, state: Tensors, parameters: Tensors) -> Tensors:
        check_rates(self.stepper)
        rates = self.stepper.rates(State(*state[:3]), self.forces(state[0], parameters))
        return *rates, torch.zeros_like(state[3])

    def thermodynamics(self, state: State, terms: list[_Term], found: list[Parts]) -> tuple[Tensor, Tensor, Tensor]:
        """Potential energy, pressure (2 K + Σ r·F)/(3 V) and conserved quantity of one frame, `(n_systems,)` each.

        Args:
            state: the frame.
            terms: of the potential.
            found: energy and virial of all that is not among the terms.
        """
        frame = self.system.replace(positions=state.positions)
        parts = [*found, *(term.energy_virial(frame) for term in terms)]
        zero = torch.zeros(frame.n_systems, dtype=frame.dtype, device=frame.device)
        energy = sum((e for e, _ in parts), zero)
        virial = sum((w for _, w in parts), zero)
        pressure = (self.stepper.twice_kinetic(state.velocities) + virial) / (3.0 * frame.get_volume())
        return energy, pressure, self.stepper.conserved(state, energy)
