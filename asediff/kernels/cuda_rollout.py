"""Runs of many time steps on the device and their exact reverse pass.

The forward pass keeps a snapshot every `snapshot_every` steps and, on a tape, all states since the last one. The
reverse pass walks the tape backward; for earlier stretches it takes the steps from their snapshot again. So memory is
that of `snapshot_every` states plus the snapshots, whatever the number of steps, and no state is computed backward.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import torch
from torch import Tensor

from asediff.kernels.arrays import Batch, PairForces, RolloutGradient, SplineTables, Stepper
from asediff.kernels.cuda_math import ATOM_BITS, MAX_TYPES
from asediff.kernels.cuda_space import CELLS_FROM, NEVER, Inputs, Shape, Space
from asediff.kernels.reference import PairGradient, lattice_inverse

ROW_MULTIPLE = 32
SPARE = 1.3
"""Rows are this much longer than a uniform density needs; a run that needs more is taken again with longer ones."""
KEPT_SPACES = 8
LARGEST_KEPT = 2**30

_idle: dict[Shape, list[Space]] = {}
_known: dict[Shape, tuple[int, int]] = {}


@dataclass(frozen=True, eq=False)
class DeviceRollout:
    """What a run leaves behind; fields as in `asediff.kernels.arrays.Rollout`, and what its reverse pass needs.

    Attributes:
        order: `(n_atoms,)`, the caller's number of each atom as the device keeps them, or None if they agree.
    """

    frame_positions: Tensor
    frame_velocities: Tensor
    thermo: Tensor
    positions: Tensor
    velocities: Tensor
    chain: Tensor
    snapshots: list[tuple[Tensor, Tensor, Tensor]]
    failed_step: int
    inputs: Inputs
    order: Tensor | None
    n_steps: int
    save_every: int
    snapshot_every: int
    space: list[Space]


def release_memory() -> None:
    """Forget all memory kept for later runs of the same shape."""
    _idle.clear()


def rollout(
    positions: Tensor,
    velocities: Tensor,
    chain: Tensor,
    batch: Batch,
    tables: SplineTables,
    stepper: Stepper,
    n_steps: int,
    save_every: int,
    *,
    snapshot_every: int = 0,
    skin: float,
    sort: bool | None = None,
) -> DeviceRollout:
    """Take `n_steps` steps on the device of `positions`.

    Args:
        positions: `(n_atoms, 3)`, length.
        velocities: `(n_atoms, 3)`, length/time.
        chain: `(n_systems, 2, tchain)`.
        batch: the systems, as tensors.
        tables: the pair potentials, as tensors.
        stepper: the integrator, as tensors.
        n_steps: at least 1.
        save_every: steps between frames.
        snapshot_every: steps between snapshots; 0 if there will be no reverse pass, 1 to keep every state.
        skin: margin of the neighbor rows, length.
        sort: keep atoms sorted in space; default: if there are many.
    """
    every = n_steps if snapshot_every == 1 else min(snapshot_every, n_steps)
    shape, skin = _shape(positions, batch, tables, stepper, skin, every + 1 if every else 0)
    order = _spatial_order(positions, batch, shape) if sort or (sort is None and shape.grids is not None) else None
    inputs = _inputs(batch, tables, stepper, skin, order)
    x, v = (_sorted(t.detach(), order) for t in (positions, velocities))
    while True:
        space = _acquire(shape)
        space.load(inputs)
        run = _run(space, inputs, order, x, v, chain.detach(), n_steps, save_every, every)
        larger = _larger(space)
        if larger is None:
            break
        shape = larger
    if run.snapshots:
        run.space.append(space)
        weakref.finalize(run, _release, space)
    else:
        _release(space)
    return run


def rollout_vjp(
    run: DeviceRollout,
    by_frame_positions: Tensor,
    by_frame_velocities: Tensor,
    by_positions: Tensor,
    by_velocities: Tensor,
    by_chain: Tensor,
) -> RolloutGradient:
    """Reverse pass of `rollout`, given dL/d of its outputs; may be called again."""
    frames = [_sorted(t, run.order, dim=1) for t in (by_frame_positions, by_frame_velocities)]
    final = [_sorted(t, run.order) for t in (by_positions, by_velocities)]
    while True:
        space = run.space[0]
        result = _reverse(run, space, frames, final, by_chain)
        larger = _larger(space)
        if larger is None:
            return result
        run.space[0] = _acquire(larger)
        run.space[0].load(run.inputs)
        weakref.finalize(run, _release, run.space[0])


def pair_forces(positions: Tensor, batch: Batch, tables: SplineTables, *, skin: float = 0.0) -> PairForces:
    """Energy, forces and virial of one configuration; see `asediff.kernels.reference.pair_forces`."""
    space = _at_rest(positions, None, batch, tables, skin)
    sums = torch.zeros(space.n_blocks, 7, dtype=torch.float64, device=positions.device)
    space.sum_energies(sums)
    total = _per_system(space, sums).to(positions.dtype)
    virial = total[:, [[1, 6, 5], [6, 2, 4], [5, 4, 3]]]
    result = PairForces(total[:, 0].clone(), space.forces.clone(), virial)
    _release(space)
    return result


def pair_vjp(
    positions: Tensor, batch: Batch, tables: SplineTables, w_forces: Tensor, *, skin: float = 0.0
) -> PairGradient:
    """Derivatives of sum_i w_i.F_i; see `asediff.kernels.reference.pair_vjp`."""
    space = _at_rest(positions, w_forces, batch, tables, skin)
    space.reverse_forces(drift=False)
    result = PairGradient(space.by_positions.clone(), space.coefficient_gradient())
    _release(space)
    return result


def _at_rest(positions: Tensor, weights: Tensor | None, batch: Batch, tables: SplineTables, skin: float) -> Space:
    """A space with rows and forces for given positions, and gradients set to zero if there are weights."""
    n_systems, x = batch.n_systems, positions.detach()
    zero, none = torch.zeros(n_systems, device=x.device), torch.zeros(n_systems, 0, device=x.device)
    stepper = Stepper(0, 0.0, zero, zero, none, zero, zero.to(torch.int64), 0)
    shape, skin = _shape(x, batch, tables, stepper, skin, 0 if weights is None else 1)
    while True:
        space = _acquire(shape)
        space.load(_inputs(batch, tables, stepper, skin, None))
        space.start(x, torch.zeros_like(x), space.chain, 0, 0)
        larger = _larger(space)
        if larger is None:
            break
        shape = larger
    if weights is not None:
        space.weights.copy_(weights)
        space.by_positions.zero_()
        space.by_table.zero_()
    return space


def _shape(
    positions: Tensor, batch: Batch, tables: SplineTables, stepper: Stepper, skin: float, tape_length: int
) -> tuple[Shape, float]:
    """The shape of a run, and its skin, which is at most what the smallest box allows."""
    counts = tuple(int(n) for n in (batch.offsets[1:] - batch.offsets[:-1]).tolist())
    n_types = tables.table_index.shape[-1]
    if sum(counts) >= 1 << ATOM_BITS:
        raise ValueError(f"positions: {sum(counts)} atoms are too many for one run on a GPU; split the batch")
    if n_types > MAX_TYPES:
        raise ValueError(f"tables: {n_types} types are too many for a GPU; use at most {MAX_TYPES}")
    cell = batch.cell.detach().to("cpu", torch.float64)
    pbc = batch.pbc.to("cpu")
    heights = torch.where(pbc, 1.0 / lattice_inverse(cell, pbc).norm(dim=1), torch.inf)
    lowest = float(heights.min())
    skin = min(skin, lowest - tables.cutoff)
    reach = tables.cutoff + skin
    grids = None
    if max(counts) >= CELLS_FROM:
        sizes = torch.where(pbc, heights / reach, 1.0).floor().to(torch.int64).clamp(min=1)
        if bool(((sizes > 2) | ~pbc).all()):
            grids = tuple((int(a), int(b), int(c)) for a, b, c in sizes.tolist())
    volumes = torch.linalg.det(cell).abs()
    densities = torch.where(pbc.all(-1), torch.tensor(counts) / volumes, torch.zeros(()))
    density = float(densities.max())
    shape = Shape(
        device=positions.device,
        dtype=positions.dtype,
        counts=counts,
        n_types=n_types,
        tables=(tables.coefficients.shape[0], tables.coefficients.shape[1]),
        kind=stepper.kind,
        tchain=stepper.chain_masses.shape[-1],
        triclinic=bool((cell != torch.diag_embed(cell.diagonal(dim1=1, dim2=2))).any()),
        all_images=reach > 0.5 * lowest,
        grids=grids,
        capacity=0,
        cell_capacity=0,
        tape_length=tape_length,
    )
    row = min(SPARE * 4.0 / 3.0 * torch.pi * reach**3 * density + ROW_MULTIPLE, max(counts) - 1)
    in_cell = 0.0
    if grids is not None:
        n_cells = torch.tensor([x * y * z for x, y, z in grids])
        in_cell = 2.0 * float((torch.tensor(counts) / n_cells).max()) + 8.0
    known = _known.get(shape, (0, 0))
    capacity = max(_round_up(row), known[0])
    return shape._replace(capacity=capacity, cell_capacity=max(_round_up(in_cell), known[1])), skin


def _round_up(entries: float) -> int:
    return ROW_MULTIPLE * max(1, -(-int(entries) // ROW_MULTIPLE))


def _larger(space: Space) -> Shape | None:
    """The shape to repeat a run with if its rows or cells were too short, else None. Waits for the device."""
    row, in_cell = (int(n) for n in space.needed.tolist())
    shape = space.shape
    if row <= shape.capacity and in_cell <= shape.cell_capacity:
        return None
    capacity = max(_round_up(1.1 * row), shape.capacity)
    cell_capacity = max(_round_up(1.2 * in_cell), shape.cell_capacity)
    _known[shape._replace(capacity=0, cell_capacity=0)] = (capacity, cell_capacity)
    return shape._replace(capacity=capacity, cell_capacity=cell_capacity)


def _acquire(shape: Shape) -> Space:
    spaces = _idle.get(shape)
    if not spaces:
        return Space(shape)
    space = spaces.pop()
    if not spaces:
        del _idle[shape]
    return space


def _release(space: Space) -> None:
    """Keep the memory, and the graphs recorded in it, for the next run of this shape."""
    if 2 * space.tape_positions.nbytes > LARGEST_KEPT:
        return
    _idle.setdefault(space.shape, []).append(space)
    while sum(len(spaces) for spaces in _idle.values()) > KEPT_SPACES:
        oldest = next(iter(_idle))
        _idle[oldest].pop()
        if not _idle[oldest]:
            del _idle[oldest]


def _spatial_order(positions: Tensor, batch: Batch, shape: Shape) -> Tensor:
    """Atoms of each system ordered by small cells along its lattice vectors, `(n_atoms,)` int64."""
    counts = torch.tensor(shape.counts, device=positions.device)
    system = torch.repeat_interleave(torch.arange(len(counts), device=positions.device), counts)
    inverse = lattice_inverse(batch.cell.to(torch.float64), batch.pbc)
    inside = (positions.detach().to(torch.float64)[:, None, :] @ inverse[system])[:, 0]
    inside = inside - inside.floor()
    n_cells = (counts.to(torch.float64) / 4.0).pow(1.0 / 3.0).ceil().to(torch.int64)[system][:, None]
    place = torch.minimum((inside * n_cells).to(torch.int64), n_cells - 1)
    key = (place[:, 0] * n_cells[:, 0] + place[:, 1]) * n_cells[:, 0] + place[:, 2]
    return torch.argsort(system * (int(key.max()) + 1) + key, stable=True)


def _sorted(values: Tensor, order: Tensor | None, dim: int = 0) -> Tensor:
    return values if order is None else values.index_select(dim, order)


def _unsorted(values: Tensor, order: Tensor | None, dim: int = 0) -> Tensor:
    return values if order is None else torch.empty_like(values).index_copy_(dim, order, values)


def _inputs(batch: Batch, tables: SplineTables, stepper: Stepper, skin: float, order: Tensor | None) -> Inputs:
    n = len(batch.masses)
    atoms = torch.arange(n, device=batch.masses.device)
    start = torch.repeat_interleave(batch.offsets[:-1], batch.offsets[1:] - batch.offsets[:-1])
    atom_in_system = _sorted((atoms - start).to(torch.int32), order)
    batch = batch._replace(masses=_sorted(batch.masses, order), types=_sorted(batch.types, order))
    # the caller may change its tables while the run waits for its reverse pass
    tables = tables._replace(coefficients=tables.coefficients.detach().clone())
    return Inputs(batch, tables, stepper, atom_in_system, skin)


def _run(
    space: Space,
    inputs: Inputs,
    order: Tensor | None,
    positions: Tensor,
    velocities: Tensor,
    chain: Tensor,
    n_steps: int,
    save_every: int,
    every: int,
) -> DeviceRollout:
    n_frames, like = n_steps // save_every, {"dtype": positions.dtype, "device": positions.device}
    x = torch.empty(n_frames, space.n_atoms, 3, **like)
    v = torch.empty_like(x)
    block_sums = torch.zeros(space.n_blocks, 7, dtype=torch.float64, device=positions.device)
    sums = torch.zeros(n_frames, space.n_systems, 7, dtype=torch.float64, device=positions.device)
    chains = torch.zeros(n_frames, *space.chain.shape, dtype=torch.float64, device=positions.device)
    kinetic = torch.zeros(n_frames, space.n_systems, dtype=torch.float64, device=positions.device)
    snapshots = []
    space.start(positions, velocities, chain, 0, 0)
    n = 0
    while n < n_steps:
        if every and n % every == 0:
            snapshots.append((space.positions.clone(), space.velocities.clone(), space.chain.clone()))
            space.place(n, n)
            space.tape_base = n
        m = min((n // step + 1) * step for step in (save_every, every or n_steps, n_steps))
        m = min(m, n_steps)
        space.take_steps(m - n, tape=every > 0)
        n = m
        if n % save_every == 0:
            k = n // save_every - 1
            space.sum_energies(block_sums)
            sums[k] = _per_system(space, block_sums)
            x[k], v[k], chains[k] = space.positions, space.velocities, space.chain
            kinetic[k] = space.twice_kinetic(space.velocities)
    if every:
        _keep_last(space, n_steps)
    failed = int(space.failed)
    return DeviceRollout(
        frame_positions=_unsorted(x, order, 1),
        frame_velocities=_unsorted(v, order, 1),
        thermo=_thermo(space, sums, chains, kinetic).to(positions.dtype),
        positions=_unsorted(space.positions.clone(), order),
        velocities=_unsorted(space.velocities.clone(), order),
        chain=space.chain.to(positions.dtype, copy=True),
        snapshots=snapshots,
        failed_step=failed if failed < NEVER else _not_finite(space, n_steps),
        inputs=inputs,
        order=order,
        n_steps=n_steps,
        save_every=save_every,
        snapshot_every=every,
        space=[],
    )


def _not_finite(space: Space, n_steps: int) -> int:
    final = (space.positions, space.velocities, space.chain)
    return -1 if all(bool(torch.isfinite(t).all()) for t in final) else n_steps


def _keep_last(space: Space, step: int) -> None:
    """Put the present state behind the last one on the tape; it is that after `step` steps."""
    slot = step - space.tape_base
    space.tape_positions[slot], space.tape_velocities[slot] = space.positions, space.velocities
    space.tape_chain[slot] = space.chain


def _per_system(space: Space, sums: Tensor) -> Tensor:
    """Sums over the blocks of each system, `(n_blocks, 7)` to `(n_systems, 7)`."""
    return sums.new_zeros(space.n_systems, 7).index_add(0, space.block_system, sums)


def _thermo(space: Space, sums: Tensor, chains: Tensor, kinetic: Tensor) -> Tensor:
    """Energy, sum over pairs of r.F and conserved energy `(n_frames, n_systems, 3)`."""
    energy, virial = sums[..., 0], sums[..., 1:4].sum(-1)
    conserved = energy + 0.5 * kinetic
    places, rates = chains.unbind(-2)
    if space.shape.tchain:
        conserved = conserved + 0.5 * (space.chain_masses * rates**2).sum(-1)
        conserved = conserved + space.kT * (space.n_dof * places[..., 0] + places[..., 1:].sum(-1))
    return torch.stack([energy, virial, conserved], -1)


def _reverse(
    run: DeviceRollout, space: Space, frames: list[Tensor], final: list[Tensor], by_chain: Tensor
) -> RolloutGradient:
    n, every = run.n_steps, run.snapshot_every
    for zeroed in (space.by_positions, space.kick, space.by_table, space.needed):
        zeroed.zero_()
    space.by_chain.copy_(by_chain)
    for begin in reversed(range(0, n, every)):
        end = min(begin + every, n)
        if space.tape_base != begin:
            _replay(run, space, begin, end)
        space.place(end, begin)
        if end == n:
            _start_sums(run, space)
        at = end
        while at > begin:
            has_frame = _set_frame(run, space, at, frames, final)
            following = max((at - 1) // run.save_every * run.save_every, begin)
            space.take_steps_back(at - following, frame=has_frame, last=at == n)
            at = following
    space.pull_back(opens=True, closes=False, frame=False)
    return RolloutGradient(
        coefficients=space.coefficient_gradient(),
        positions=_unsorted(space.by_positions.clone(), run.order),
        velocities=_unsorted(space.by_velocities.clone(), run.order),
        chain=space.by_chain.to(space.shape.dtype, copy=True),
    )


def _replay(run: DeviceRollout, space: Space, begin: int, end: int) -> None:
    """Take the steps of an earlier stretch again. Its last state is the first of the stretch that follows."""
    space.start(*run.snapshots[begin // run.snapshot_every], begin, begin)
    space.tape_base = begin
    space.take_steps(end - begin, tape=True)
    _keep_last(space, end)


def _start_sums(run: DeviceRollout, space: Space) -> None:
    """Sums of k.v and m v² at the last state, where no step follows."""
    space.reverse_sums.zero_()
    first = space.blocks_of_systems[:-1].to(torch.int64)
    space.reverse_sums[first, 1] = space.twice_kinetic(space.tape_velocities[run.n_steps - space.tape_base])


def _set_frame(run: DeviceRollout, space: Space, at: int, frames: list[Tensor], final: list[Tensor]) -> bool:
    """Gradients that enter at the state after `at` steps; False if there are none."""
    saved, last = at % run.save_every == 0, at == run.n_steps
    if not saved and not last:
        return False
    k = at // run.save_every - 1
    for target, by_frames, by_final in zip((space.frame_positions, space.frame_velocities), frames, final, strict=True):
        if saved and last:
            torch.add(by_frames[k], by_final, out=target)
        else:
            target.copy_(by_final if last else by_frames[k])
    velocities = space.tape_velocities[at - space.tape_base]
    space.frame_overlap.copy_(space.by_system((space.frame_velocities * velocities).sum(-1)))
    return True
