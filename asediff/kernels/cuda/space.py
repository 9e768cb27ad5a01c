"""The memory of a run on the device, and the launches of one step in it.

All arrays of a run live at fixed addresses, so a stretch of steps is recorded as a CUDA graph the second time it is
asked for and replayed from then on. Nothing in a step waits for the host: what must be known afterwards (rows that
were too short, a step that failed) is collected in `status` and read once at the end of a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from asediff.kernels.arrays import Batch, SplineTables, Stepper
from asediff.kernels.cuda import lists as cuda_lists
from asediff.kernels.cuda import pair as cuda_pair
from asediff.kernels.cuda import step as cuda_step
from asediff.kernels.cuda import thermostats as cuda_thermostats
from asediff.kernels.cuda.math import (
    ALLOWED_2,
    CUTOFF_2,
    INVERSE_SPACING,
    N_NUMBERS,
    REACH_2,
    S_LO,
    SANE_2,
    TIMESTEP,
    launch_options,
)
from asediff.kernels.reference.pair import lattice_inverse

CELLS_FROM = 4096
"""Systems of fewer atoms look at all pairs when their rows are remade."""
NEVER = 2**62
GRAPH_STEPS = 64
"""Longest stretch of steps in one graph."""


class Shape(NamedTuple):
    """All that the compiled kernels and the sizes of arrays depend on; spaces of one shape are interchangeable.

    Attributes:
        device: of all arrays.
        dtype: floating-point type of positions.
        counts: atoms of each system.
        n_types: of the tables.
        tables: n_tables, n_intervals.
        kind: of the integrator.
        tchain: length of the thermostat's chain.
        triclinic: any lattice vector off its axis.
        all_images: pairs of the rows may be farther apart than half a height of the box.
        grids: cells along each lattice vector of each system, or None to look at all pairs.
        capacity: entries of a neighbor row.
        cell_capacity: atoms in a cell.
        tape_length: states that can be kept.
        weights: of pairs, 1 first; tables and types are repeated for each.
        n_partners: pairs of other weights, each in the rows of both atoms.
    """

    device: torch.device
    dtype: torch.dtype
    counts: tuple[int, ...]
    n_types: int
    tables: tuple[int, int]
    kind: int
    tchain: int
    triclinic: bool
    all_images: bool
    grids: tuple[tuple[int, int, int], ...] | None
    capacity: int
    cell_capacity: int
    tape_length: int
    weights: tuple[float, ...]
    n_partners: int


class Inputs(NamedTuple):
    """The fixed part of a run, with atoms in the order in which the device keeps them.

    Attributes:
        batch: systems.
        tables: pair potentials.
        stepper: integrator.
        atom_in_system: `(n_atoms,)` int32, index of each atom within its system as the caller numbers it.
        skin: length.
        first_partner: `(n_atoms + 1,)` int32, where each atom's part of `partners` begins.
        partners: `(n_partners, 2)` int32: an atom, and what moves its entry to the type of the pair's weight.
    """

    batch: Batch
    tables: SplineTables
    stepper: Stepper
    atom_in_system: Tensor
    skin: float
    first_partner: Tensor
    partners: Tensor


class Tiling(NamedTuple):
    """How atoms are shared among programs: atoms per program, entries per turn, warps, copies of the table."""

    block: int
    lanes: int
    warps: int
    copies: int


def choose_tiling(device: torch.device, n_atoms: int) -> Tiling:
    """Few atoms: several lanes per atom, so that the chip is filled. The interpreter wants few, large programs."""
    if device.type == "cpu":
        return Tiling(64, 64, 1, 1)
    return Tiling(4, 32, 4, 16) if n_atoms < 50_000 else Tiling(16, 16, 4, 16)


class Space:
    """Arrays of one shape and the launches that work on them; see `Shape` and `Inputs`."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        n, n_systems, device = sum(shape.counts), len(shape.counts), shape.device
        self.n_atoms, self.n_systems = n, n_systems
        self.tiling = choose_tiling(device, n)
        self.graphs: dict[tuple[object, ...], torch.cuda.CUDAGraph | None] = {}
        self.tape_base = -1

        def real(*size: int) -> Tensor:
            return torch.zeros(size, dtype=shape.dtype, device=device)

        def double(*size: int) -> Tensor:
            return torch.zeros(size, dtype=torch.float64, device=device)

        def whole(*size: int) -> Tensor:
            return torch.zeros(size, dtype=torch.int32, device=device)

        def tensor(rows: list[list[int]] | list[int]) -> Tensor:
            return torch.tensor(rows, dtype=torch.int32, device=device)

        starts = [sum(shape.counts[:k]) for k in range(n_systems + 1)]
        blocks = [
            [k, first, starts[k + 1]]
            for k in range(n_systems)
            for first in range(starts[k], starts[k + 1], self.tiling.block)
        ]
        per_system = [math.ceil(count / self.tiling.block) for count in shape.counts]
        self.blocks, self.offsets = tensor(blocks), tensor(starts)
        self.block_system = self.blocks[:, 0].to(torch.int64)
        self.blocks_of_systems = tensor([sum(per_system[:k]) for k in range(n_systems + 1)])
        self.n_blocks = len(blocks)
        counts = torch.tensor(shape.counts, device=device)
        self.system_idx = torch.repeat_interleave(torch.arange(n_systems, device=device), counts)

        self.numbers, self.boxes = double(N_NUMBERS), real(n_systems, 18)
        self.masses, self.types, self.atom_in_system = real(n), whole(n), whole(n)
        self.first_partner, self.partners = whole(n + 1), whole(shape.n_partners, 2)
        self.coefficients = real(*shape.tables, 4)
        self.table_index = whole(n_systems, shape.n_types, shape.n_types)
        self.kT, self.n_dof, self.decay = double(n_systems), double(n_systems), double(n_systems)
        self.chain_masses = double(n_systems, shape.tchain)
        self.seeds = torch.zeros(n_systems, dtype=torch.int64, device=device)
        self.first_step = torch.zeros(1, dtype=torch.int64, device=device)

        self.positions, self.velocities, self.forces, self.reference = (real(n, 3) for _ in range(4))
        self.chain, self.scales = double(n_systems, 2, shape.tchain), double(n_systems, 2)
        self.kinetic = double(n_systems)
        self.block_kinetic, self.counter = double(self.n_blocks), torch.zeros(3, dtype=torch.int64, device=device)
        self.rows, self.row_count, self.moved = whole(n, shape.capacity), whole(n), whole(n_systems)
        self.needed, self.failed = whole(2), torch.full((1,), NEVER, dtype=torch.int64, device=device)
        if shape.grids is not None:
            sizes = [x * y * z for x, y, z in shape.grids]
            self.n_cells = sum(sizes)
            self.grids = tensor([[*grid, sum(sizes[:k])] for k, grid in enumerate(shape.grids)])
            self.cell_count, self.cell_atoms = whole(self.n_cells), whole(self.n_cells, shape.cell_capacity)
            self.cell_system = tensor([k for k, size in enumerate(sizes) for _ in range(size)])

        self.tape_positions, self.tape_velocities = (real(shape.tape_length, n, 3) for _ in range(2))
        self.tape_chain = double(shape.tape_length, n_systems, 2, shape.tchain)
        if shape.tape_length:
            self.by_positions, self.by_velocities, self.kick, self.weights = (real(n, 3) for _ in range(4))
            self.frame_positions, self.frame_velocities = real(n, 3), real(n, 3)
            self.by_chain, self.factors = torch.zeros_like(self.chain), double(n_systems, 3)
            self.frame_overlap, self.reverse_sums = double(n_systems), double(self.n_blocks, 2)
            self.by_table = double(self.tiling.copies, *shape.tables, 3)

    def load(self, inputs: Inputs) -> None:
        """Take over what stays fixed during a run."""
        batch, tables, stepper, atom_in_system, skin = inputs[:5]
        cutoff = tables.cutoff
        numbers = [0.0] * N_NUMBERS
        numbers[S_LO], numbers[INVERSE_SPACING], numbers[TIMESTEP] = tables.s_lo, 1.0 / tables.spacing, stepper.timestep
        numbers[CUTOFF_2], numbers[REACH_2] = cutoff**2, (cutoff + skin) ** 2
        numbers[ALLOWED_2], numbers[SANE_2] = (0.5 * skin) ** 2, (cutoff + 0.5 * skin) ** 2
        self.numbers.copy_(torch.tensor(numbers, dtype=torch.float64))
        inverse = lattice_inverse(batch.cell.to(torch.float64), batch.pbc)
        both = torch.cat([batch.cell.to(torch.float64), inverse], dim=1)
        self.boxes.copy_(both.reshape(self.n_systems, 18))
        self.masses.copy_(batch.masses)
        self.types.copy_(batch.types)
        self.atom_in_system.copy_(atom_in_system)
        self.first_partner.copy_(inputs.first_partner)
        self.partners.copy_(inputs.partners)
        self.coefficients.copy_(tables.coefficients)
        self.table_index.copy_(tables.table_index)
        self.kT.copy_(stepper.kT)
        self.n_dof.copy_(stepper.n_dof)
        self.decay.copy_(torch.exp(-stepper.friction.to(torch.float64) * stepper.timestep))
        self.chain_masses.copy_(stepper.chain_masses)
        self.seeds.copy_(stepper.seeds)
        self.first_step.fill_(stepper.first_step)
        self.needed.zero_()
        self.failed.fill_(NEVER)
        self.tape_base = -1

    def start(self, positions: Tensor, velocities: Tensor, chain: Tensor, step: int, base: int) -> None:
        """Put a state in place, step `step` of a run whose tape begins at step `base`, and compute its forces."""
        self.positions.copy_(positions)
        self.velocities.copy_(velocities)
        self.chain.copy_(chain)
        self.kinetic.copy_(self.twice_kinetic(velocities))
        self.place(step, base)
        self.moved.fill_(1)
        self.sum_forces(kick=False)

    def place(self, step: int, base: int) -> None:
        """Set the step counter, and the step that the first state of the tape belongs to."""
        self.counter.copy_(torch.tensor([step, base, step - 1]))

    def by_system(self, values: Tensor) -> Tensor:
        """Sums over the atoms of each system `(n_systems,)` float64 of values `(n_atoms,)`."""
        zeros = torch.zeros(self.n_systems, dtype=torch.float64, device=self.shape.device)
        return zeros.index_add(0, self.system_idx, values.to(torch.float64))

    def sum_blocks(self, sums: Tensor) -> Tensor:
        """Sums over the blocks of each system, `(n_blocks, 7)` to `(n_systems, 7)`."""
        return sums.new_zeros(self.n_systems, 7).index_add(0, self.block_system, sums)

    def twice_kinetic(self, velocities: Tensor) -> Tensor:
        """Sum of m v² of each system `(n_systems,)` float64."""
        return self.by_system((self.masses[:, None] * velocities * velocities).to(torch.float64).sum(-1))

    def build_rows(self) -> None:
        """Remake the rows of the systems whose atoms have moved."""
        self._list_neighbors()
        if self.shape.n_partners:
            cuda_lists.weigh_rows[(self.n_blocks,)](
                self.rows, self.row_count, self.first_partner, self.partners, self.blocks, self.moved,
                self.shape.capacity, BLOCK=self.tiling.block, LANES=self.tiling.lanes,
                **launch_options(self.tiling.warps),
            )  # fmt: skip

    def _list_neighbors(self) -> None:
        shape, tiling, grid = self.shape, self.tiling, (self.n_blocks,)
        own = (self.positions, self.reference, self.types, self.rows, self.row_count, self.needed)
        if shape.grids is None:
            cuda_lists.rows_of_all_pairs[grid](
                *own, self.boxes, self.numbers, self.blocks, self.offsets, self.moved, shape.capacity,
                BLOCK=tiling.block, LANES=tiling.lanes, TRICLINIC=shape.triclinic, ALL_IMAGES=shape.all_images,
                **launch_options(tiling.warps),
            )  # fmt: skip
            return
        cuda_lists.clear_cells[(math.ceil(self.n_cells / 1024),)](
            self.cell_count, self.cell_system, self.moved, self.n_cells, BLOCK=1024, **launch_options(4)
        )
        cuda_lists.fill_cells[grid](
            self.positions, self.cell_count, self.cell_atoms, self.needed[1:], self.boxes, self.grids, self.blocks,
            self.moved, shape.cell_capacity, BLOCK=tiling.block, TRICLINIC=shape.triclinic, **launch_options(1),
        )  # fmt: skip
        cuda_lists.rows_of_cells[grid](
            *own, self.cell_count, self.cell_atoms, self.boxes, self.grids, self.numbers, self.blocks, self.moved,
            shape.capacity, shape.cell_capacity, BLOCK=tiling.block, LANES=tiling.lanes, TRICLINIC=shape.triclinic,
            **launch_options(tiling.warps),
        )  # fmt: skip

    def sum_forces(self, *, kick: bool) -> None:
        """Forces at the positions; with `kick` they end a step."""
        shape, tiling = self.shape, self.tiling
        self.build_rows()
        cuda_pair.forces_of_rows[(self.n_blocks,)](
            self.positions, self.velocities, self.forces, self.masses, self.types, self.rows, self.row_count,
            self.coefficients, self.table_index, self.boxes, self.numbers, self.blocks, self.moved, self.counter,
            self.block_kinetic, shape.capacity, shape.tables[1], shape.n_types, KICK=kick, BLOCK=tiling.block,
            LANES=tiling.lanes, TRICLINIC=shape.triclinic, MIXED=shape.n_types > 1, **launch_options(tiling.warps),
        )  # fmt: skip

    def sum_energies(self, sums: Tensor) -> None:
        """Energy and virial of each block at the positions that the forces were last computed for, `(n_blocks, 7)`."""
        shape, tiling = self.shape, self.tiling
        cuda_pair.energies_of_rows[(self.n_blocks,)](
            self.positions, self.types, self.rows, self.row_count, self.coefficients, self.table_index, self.boxes,
            self.numbers, self.blocks, sums, shape.capacity, shape.tables[1], shape.n_types, BLOCK=tiling.block,
            LANES=tiling.lanes, TRICLINIC=shape.triclinic, MIXED=shape.n_types > 1, **launch_options(tiling.warps),
        )  # fmt: skip

    def take_steps(self, n_steps: int, *, tape: bool) -> None:
        """Advance the state; before and after, velocities and chain are those of whole steps."""
        for done in range(0, n_steps, GRAPH_STEPS):
            n = min(GRAPH_STEPS, n_steps - done)
            self._repeat(("forward", n, tape), lambda n=n: self._steps(n, tape))  # type: ignore[misc]

    def _steps(self, n_steps: int, tape: bool) -> None:  # noqa: FBT001
        rescaled = cuda_thermostats.rescales(self.shape.kind)
        for step in range(n_steps):
            if rescaled:
                self._move_chain(close=step > 0, opens=True, tape=tape)
            cuda_step.advance[(self.n_blocks,)](
                self.positions, self.velocities, self.forces, self.masses, self.reference, self.moved, self.failed,
                self.counter, self.scales, self.seeds, self.atom_in_system, self.kT, self.decay, self.numbers,
                self.blocks, self.tape_positions, self.tape_velocities, self.first_step, self.n_atoms,
                KIND=self.shape.kind, RESCALED=rescaled, TAPE=tape, BLOCK=self.tiling.block, **launch_options(1),
            )  # fmt: skip
            self.sum_forces(kick=True)
        if rescaled:
            self._move_chain(close=True, opens=False, tape=False)
            cuda_step.rescale[(self.n_blocks,)](
                self.velocities, self.scales, self.blocks, BLOCK=self.tiling.block, **launch_options(1)
            )

    def _move_chain(self, *, close: bool, opens: bool, tape: bool) -> None:
        cuda_thermostats.move_chain[(self.n_systems,)](
            self.chain, self.chain_masses, self.kT, self.n_dof, self.kinetic, self.block_kinetic,
            self.blocks_of_systems, self.scales, self.counter, self.tape_chain, self.numbers, self.n_systems,
            CLOSE=close, OPEN=opens, TAPE=tape, **self._chain_sizes(), **launch_options(1),
        )  # fmt: skip

    def _chain_sizes(self) -> dict[str, int]:
        longest = -(-max(self.shape.counts) // self.tiling.block)
        chunk = min(1024, 1 << (longest - 1).bit_length())
        return {"M": self.shape.tchain, "P": 1 << (self.shape.tchain - 1).bit_length(), "CHUNK": chunk}

    def take_steps_back(self, n_steps: int, *, frame: bool, last: bool) -> None:
        """Pull gradients back over steps; the first state has a frame (`frame`), or is the last of the run (`last`)."""
        for done in range(0, n_steps, GRAPH_STEPS):
            n, begins = min(GRAPH_STEPS, n_steps - done), done == 0
            key = ("reverse", n, frame and begins, last and begins)
            self._repeat(key, lambda n=n, f=frame and begins, e=last and begins: self._steps_back(n, f, e))  # type: ignore[misc]

    def _steps_back(self, n_steps: int, frame: bool, last: bool) -> None:  # noqa: FBT001
        for step in range(n_steps):
            begins = step == 0
            self.pull_back(opens=not (last and begins), closes=True, frame=frame and begins)

    def pull_back(self, *, opens: bool, closes: bool, frame: bool) -> None:
        """Gradients at one state of the tape; `opens`: a step follows it, `closes`: a step led to it."""
        shape, tiling, grid = self.shape, self.tiling, (self.n_blocks,)
        rescaled = cuda_thermostats.rescales(shape.kind)
        if rescaled:
            cuda_thermostats.reverse_chain[(self.n_systems,)](
                self.by_chain, self.chain_masses, self.kT, self.n_dof, self.reverse_sums, self.frame_overlap,
                self.blocks_of_systems, self.factors, self.counter, self.tape_chain, self.numbers, self.n_systems,
                OPEN=opens, CLOSE=closes, FRAME=frame, **self._chain_sizes(), **launch_options(1),
            )  # fmt: skip
        cuda_step.reverse_kicks[grid](
            self.positions, self.by_positions, self.by_velocities, self.kick, self.weights, self.masses,
            self.reference, self.moved, self.failed, self.counter, self.factors, self.frame_positions,
            self.frame_velocities, self.numbers, self.blocks, self.tape_positions, self.tape_velocities,
            self.n_atoms, RESCALED=rescaled, FIRST=not closes, FRAME=frame, BLOCK=tiling.block, **launch_options(1),
        )  # fmt: skip
        self.build_rows()
        self.reverse_forces(drift=closes)

    def reverse_forces(self, *, drift: bool) -> None:
        """Pull `weights` back through the forces, and with `drift` through the drift that led here."""
        shape, tiling, rescaled = self.shape, self.tiling, cuda_thermostats.rescales(self.shape.kind)
        cuda_pair.reverse_of_rows[(self.n_blocks,)](
            self.positions, self.weights, self.by_positions, self.by_velocities, self.kick, self.masses, self.types,
            self.rows, self.row_count, self.coefficients, self.by_table, self.table_index, self.boxes, self.numbers,
            self.blocks, self.moved, self.counter, self.decay, self.tape_velocities, self.reverse_sums,
            shape.capacity, shape.tables[1], shape.n_types, self.n_atoms, 3 * shape.tables[0] * shape.tables[1],
            KIND=shape.kind, RESCALED=rescaled, DRIFT=drift, COPIES=tiling.copies, BLOCK=tiling.block,
            LANES=tiling.lanes, TRICLINIC=shape.triclinic, MIXED=shape.n_types > 1, **launch_options(tiling.warps),
        )  # fmt: skip

    def coefficient_gradient(self) -> Tensor:
        """`(n_tables, n_intervals, 4)`, from the sums of w_ij.d t^k."""
        by_copies = self.by_table.sum(0).unflatten(0, (len(self.shape.weights), -1))
        sums = torch.einsum("w,w...->...", by_copies.new_tensor(self.shape.weights), by_copies)
        factors = -2.0 * self.numbers[INVERSE_SPACING] * torch.arange(4, dtype=torch.float64, device=sums.device)
        return (torch.nn.functional.pad(sums, (1, 0)) * factors).to(self.shape.dtype)

    def _repeat(self, key: tuple[object, ...], body: Callable[[], None]) -> None:
        """Run `body`: the first time as it stands, later as a graph."""
        if self.shape.device.type != "cuda":
            body()
            return
        graph = self.graphs.get(key)
        if graph is None:
            if key not in self.graphs:
                self.graphs[key] = None
                body()
                return
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                body()
            self.graphs[key] = graph
        graph.replay()
