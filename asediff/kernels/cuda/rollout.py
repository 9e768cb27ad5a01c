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

from asediff.kernels.arrays import Batch, RolloutGradient, SplineTables, Stepper
from asediff.kernels.cuda.pool import acquire, choose_shape, in_order, larger_shape, make_inputs, release
from asediff.kernels.cuda.space import NEVER, Inputs, Shape, Space
from asediff.kernels.cuda.thermostats import bath_energy
from asediff.kernels.reference.pair import lattice_inverse


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
    shape, skin = choose_shape(positions, batch, tables, stepper, skin, every + 1 if every else 0)
    order = _spatial_order(positions, batch, shape) if sort or (sort is None and shape.grids is not None) else None
    inputs = make_inputs(batch, tables, stepper, skin, order)
    x, v = (in_order(t.detach(), order) for t in (positions, velocities))
    while True:
        space = acquire(shape)
        space.load(inputs)
        run = _run(space, inputs, order, x, v, chain.detach(), n_steps, save_every, every)
        larger = larger_shape(space)
        if larger is None:
            break
        shape = larger
    if run.snapshots:
        run.space.append(space)
        weakref.finalize(run, release, space)
    else:
        release(space)
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
    frames = [in_order(t, run.order, dim=1) for t in (by_frame_positions, by_frame_velocities)]
    final = [in_order(t, run.order) for t in (by_positions, by_velocities)]
    while True:
        space = run.space[0]
        result = _reverse(run, space, frames, final, by_chain)
        larger = larger_shape(space)
        if larger is None:
            return result
        run.space[0] = acquire(larger)
        run.space[0].load(run.inputs)
        weakref.finalize(run, release, run.space[0])


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


def _unsorted(values: Tensor, order: Tensor | None, dim: int = 0) -> Tensor:
    return values if order is None else torch.empty_like(values).index_copy_(dim, order, values)


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
    n_frames = n_steps // save_every
    x = positions.new_empty(n_frames, space.n_atoms, 3)
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
            sums[k] = space.sum_blocks(block_sums)
            x[k], v[k], chains[k] = space.positions, space.velocities, space.chain
            kinetic[k] = space.twice_kinetic(space.velocities)
    if every:
        _keep_last(space, n_steps)
    failed = int(space.failed)
    return DeviceRollout(
        frame_positions=_unsorted(x, order, 1), frame_velocities=_unsorted(v, order, 1),
        thermo=_thermo(space, sums, chains, kinetic).to(positions.dtype),
        positions=_unsorted(space.positions.clone(), order), velocities=_unsorted(space.velocities.clone(), order),
        chain=space.chain.to(positions.dtype, copy=True), snapshots=snapshots,
        failed_step=failed if failed < NEVER else _not_finite(space, n_steps), inputs=inputs, order=order,
        n_steps=n_steps, save_every=save_every, snapshot_every=every, space=[],
    )  # fmt: skip


def _not_finite(space: Space, n_steps: int) -> int:
    final = (space.positions, space.velocities, space.chain)
    return -1 if all(bool(torch.isfinite(t).all()) for t in final) else n_steps


def _keep_last(space: Space, step: int) -> None:
    """Put the present state behind the last one on the tape; it is that after `step` steps."""
    slot = step - space.tape_base
    space.tape_positions[slot], space.tape_velocities[slot] = space.positions, space.velocities
    space.tape_chain[slot] = space.chain


def _thermo(space: Space, sums: Tensor, chains: Tensor, kinetic: Tensor) -> Tensor:
    """Energy, sum over pairs of r.F and conserved energy `(n_frames, n_systems, 3)`."""
    energy, virial = sums[..., 0], sums[..., 1:4].sum(-1)
    conserved = energy + 0.5 * kinetic + bath_energy(chains, space.chain_masses, space.kT, space.n_dof)
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
