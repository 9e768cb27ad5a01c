"""What the fused kernels take and give: plain arrays, one floating-point type throughout a call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

Array: TypeAlias = Any
Mode = Literal["stored", "replay", "reverse"]
"""A numpy array, or a torch tensor for the kernels on other devices, of the call's floating-point type, float64 or
float32, unless said otherwise."""

NVE, NOSE_HOOVER, LANGEVIN = 0, 1, 2
"""Values of `Stepper.kind`."""


class Exclusions(NamedTuple):
    """Pairs whose nearest image is weighted, as rows of every atom: those of atom i are first[i]:first[i + 1].

    first: `(n_atoms + 1,)` int64. partner: `(n,)` int64, ascending in each row; a pair is in the rows of both atoms.
    weight: `(n,)` float64, 0 for an excluded pair.
    """

    first: Array
    partner: Array
    weight: Array


class Batch(NamedTuple):
    """The fixed part of one or many systems; atoms of all systems concatenated.

    Attributes:
        masses: `(n_atoms,)`, mass.
        offsets: `(n_systems + 1,)` int64, the first atom of each system.
        cell: `(n_systems, 3, 3)`, rows are lattice vectors, length.
        pbc: `(n_systems, 3)` bool.
        types: `(n_atoms,)` int32, 0..n_types-1.
        exclusions: pairs whose nearest image is weighted, atoms numbered as in the batch; None when there are none.
    """

    masses: Array
    offsets: Array
    cell: Array
    pbc: Array
    types: Array
    exclusions: Exclusions | None = None

    @property
    def n_systems(self) -> int:
        """Number of systems."""
        return len(self.offsets) - 1


class SplineTables(NamedTuple):
    """Pair potentials as cubic splines in s = r² on one uniform grid.

    Interval k covers s in [s_lo + k spacing, s_lo + (k+1) spacing); with t = (s - s_lo)/spacing - k the energy is
    u = c0 + t (c1 + t (c2 + t c3)). Below s_lo it is continued linearly in s; at and beyond cutoff² it is zero.

    Attributes:
        coefficients: `(n_tables, n_intervals, 4)`, energy.
        table_index: `(n_systems, n_types, n_types)` int32, the table of a pair of types in a system, symmetric.
        s_lo: length².
        spacing: length².
        cutoff: length.
    """

    coefficients: Array
    table_index: Array
    s_lo: float
    spacing: float
    cutoff: float


class Stepper(NamedTuple):
    """One integrator for all systems of a batch.

    Attributes:
        kind: `NVE`, `NOSE_HOOVER` or `LANGEVIN`.
        timestep: time.
        kT: `(n_systems,)`, energy.
        n_dof: `(n_systems,)`, degrees of freedom that the thermostat counts.
        chain_masses: `(n_systems, tchain)`, energy time²; tchain = 0 without a chain.
        friction: `(n_systems,)`, 1/time.
        seeds: `(n_systems,)` uint64, of the noise.
        first_step: number of the first step, which the noise depends on.
    """

    kind: int
    timestep: float
    kT: Array
    n_dof: Array
    chain_masses: Array
    friction: Array
    seeds: Array
    first_step: int


class FusedCall(NamedTuple):
    """Everything of a run but what it is differentiated in.

    Attributes:
        batch: the systems.
        tables: their potentials; the coefficients come with the state.
        stepper: the integrator.
        n_steps: number of steps.
        save_every: steps between frames.
        snapshot_every: steps between states kept for the reverse pass; 0 when there is none.
        skin: of the neighbor lists, length.
        mode: where the reverse pass takes the states from; see `asediff.kernels.cpu.descent.rollout_vjp`.
    """

    batch: Batch
    tables: SplineTables
    stepper: Stepper
    n_steps: int
    save_every: int
    snapshot_every: int
    skin: float
    mode: Mode


@dataclass(frozen=True, eq=False)
class Rollout:
    """What a run of many steps leaves behind; also the input of its reverse pass.

    Attributes:
        frame_positions: `(n_frames, n_atoms, 3)`, length, after steps save_every, 2 save_every, ...; never wrapped.
        frame_velocities: `(n_frames, n_atoms, 3)`, length/time.
        thermo: `(n_frames, n_systems, 3)`: potential energy, sum over pairs of r.F, conserved energy.
        positions: `(n_atoms, 3)` after the last step.
        velocities: `(n_atoms, 3)` after the last step.
        chain: `(n_systems, 2, tchain)` after the last step: thermostat positions and their rates.
        snapshot_positions: `(n_snapshots, n_atoms, 3)`, after steps 0, snapshot_every, 2 snapshot_every, ...
        snapshot_velocities: `(n_snapshots, n_atoms, 3)`.
        snapshot_chain: `(n_snapshots, n_systems, 2, tchain)`.
        failed_step: first step that left a state not finite or moved an atom farther than the cutoff; -1 when fine.
        batch: the input.
        tables: the input.
        stepper: the input.
        n_steps: the input.
        save_every: the input.
        snapshot_every: the input.
        skin: the input, length.
    """

    frame_positions: Array
    frame_velocities: Array
    thermo: Array
    positions: Array
    velocities: Array
    chain: Array
    snapshot_positions: Array
    snapshot_velocities: Array
    snapshot_chain: Array
    failed_step: int
    batch: Batch
    tables: SplineTables
    stepper: Stepper
    n_steps: int
    save_every: int
    snapshot_every: int
    skin: float


class PairForces(NamedTuple):
    """Energy, forces and virial of given configurations.

    Attributes:
        energy: `(n_systems,)` or `(n_frames, n_systems)`, energy.
        forces: `(n_atoms, 3)` or `(n_frames, n_atoms, 3)`, energy/length.
        virial: `(n_systems, 3, 3)` or `(n_frames, n_systems, 3, 3)`: sum over pairs of the outer product of r and F,
            energy; its trace / (3 V) is the pair part of the pressure.
    """

    energy: Array
    forces: Array
    virial: Array


class RolloutGradient(NamedTuple):
    """Derivatives of a loss with respect to what a run starts from.

    Attributes:
        coefficients: `(n_tables, n_intervals, 4)`.
        positions: `(n_atoms, 3)`.
        velocities: `(n_atoms, 3)`.
        chain: `(n_systems, 2, tchain)`.
    """

    coefficients: Array
    positions: Array
    velocities: Array
    chain: Array
