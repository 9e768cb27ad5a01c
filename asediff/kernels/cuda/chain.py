"""Nosé-Hoover chains on the device (Triton): half updates, their exact reverse, one program per system.

The chain of a system is a vector of P >= tchain numbers in registers, all in float64; entries beyond the chain stay
zero. The map and its reverse are those of `asediff.kernels.cpu.step`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from asediff.kernels.cuda.math import TIMESTEP

_TIMESTEP = tl.constexpr(TIMESTEP)


@triton.jit
def _pick(vector, index, j):  # type: ignore[no-untyped-def]
    return tl.sum(tl.where(index == j, vector, 0.0), 0)


@triton.jit
def _put(vector, index, j, value):  # type: ignore[no-untyped-def]
    return tl.where(index == j, value, vector)


@triton.jit
def _pull(j, rates, masses, index, kT, n_dof, twice):  # type: ignore[no-untyped-def]
    """Acceleration of thermostat j; j is a compile-time number."""
    if j == 0:
        pull = (twice - n_dof * kT) / _pick(masses, index, 0)
    else:
        inner = _pick(rates, index, j - 1)
        pull = (_pick(masses, index, j - 1) * inner * inner - kT) / _pick(masses, index, j)
    return pull


@triton.jit
def _push(j, rates, masses, index, kT, n_dof, twice, delta):  # type: ignore[no-untyped-def]
    """Half the friction of the next thermostat, the pull, half the friction again; the last one feels none."""
    friction = tl.exp(-0.25 * delta * _pick(rates, index, j + 1))
    pull = _pull(j, rates, masses, index, kT, n_dof, twice)
    return _put(rates, index, j, (_pick(rates, index, j) * friction + 0.5 * delta * pull) * friction)


@triton.jit
def _half_chain(places, rates, masses, index, kT, n_dof, twice, delta, M: tl.constexpr):  # type: ignore[no-untyped-def]
    """Move a chain by delta; returns places, rates and the factor for the velocities."""
    for k in tl.static_range(M):
        rates = _push(M - 1 - k, rates, masses, index, kT, n_dof, twice, delta)
    scale = tl.exp(-delta * _pick(rates, index, 0))
    places += delta * rates
    for k in tl.static_range(M):
        rates = _push(k, rates, masses, index, kT, n_dof, twice * scale * scale, delta)
    return places, rates, scale


@triton.jit
def _reverse_push(j, before, rates, by_rates, by_twice, masses, index, kT, n_dof, twice, delta):  # type: ignore[no-untyped-def]
    """Undo `_push`, which found rate j at `before`[j], and pull gradients back; returns rates, by_rates, by_twice."""
    own = _pick(before, index, j)
    rates = _put(rates, index, j, own)
    friction = tl.exp(-0.25 * delta * _pick(rates, index, j + 1))
    pull = _pull(j, rates, masses, index, kT, n_dof, twice)
    after = _pick(by_rates, index, j)
    by_rates = _put(by_rates, index, j, after * friction * friction)
    by_friction = after * (2.0 * own * friction + 0.5 * delta * pull)
    # beyond the chain this is a gradient of a rate that is always zero; the caller drops it
    by_rates -= tl.where(index == j + 1, 0.25 * delta * friction * by_friction, 0.0)
    by_pull = after * 0.5 * delta * friction
    if j == 0:
        by_twice += by_pull / _pick(masses, index, 0)
    else:
        inner = 2.0 * _pick(masses, index, j - 1) * _pick(rates, index, j - 1) / _pick(masses, index, j)
        by_rates += tl.where(index == j - 1, by_pull * inner, 0.0)
    return rates, by_rates, by_twice


@triton.jit
def _reverse_half_chain(  # type: ignore[no-untyped-def]
    rates, by_places, by_rates, overlap, masses, index, kT, n_dof, twice, delta, M: tl.constexpr
):
    """Reverse pass of `_half_chain` and of v -> scale v.

    `overlap` is the sum of dL/dv(after).v(before), `rates` and `twice` are those before the update. Returns by_rates,
    scale and beta, with dL/dv(before) = scale dL/dv(after) + beta m v(before); by_places does not change.
    """
    first = rates
    for k in tl.static_range(M):
        rates = _push(M - 1 - k, rates, masses, index, kT, n_dof, twice, delta)
    scale = tl.exp(-delta * _pick(rates, index, 0))
    second = rates
    slowed = twice * scale * scale
    for k in tl.static_range(M):
        rates = _push(k, rates, masses, index, kT, n_dof, slowed, delta)

    by_slowed = 0.0 * twice
    for k in tl.static_range(M):
        rates, by_rates, by_slowed = _reverse_push(
            M - 1 - k, second, rates, by_rates, by_slowed, masses, index, kT, n_dof, slowed, delta
        )
    by_scale = overlap + by_slowed * 2.0 * twice * scale
    by_twice = by_slowed * scale * scale
    by_rates += delta * by_places
    by_rates -= tl.where(index == 0, delta * scale * by_scale, 0.0)
    for k in tl.static_range(M):
        rates, by_rates, by_twice = _reverse_push(
            k, first, rates, by_rates, by_twice, masses, index, kT, n_dof, twice, delta
        )
    return tl.where(index < M, by_rates, 0.0), scale, 2.0 * by_twice


@triton.jit
def _block_sum(sums, blocks_of_systems, system, STRIDE: tl.constexpr, CHUNK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Sum of a column of the blocks' sums over the blocks of a system, always in the same order."""
    total = tl.zeros([CHUNK], dtype=tl.float64)
    last = tl.load(blocks_of_systems + system + 1)
    for start in range(tl.load(blocks_of_systems + system), last, CHUNK):
        block = start + tl.arange(0, CHUNK)
        total += tl.load(sums + STRIDE * block, mask=block < last, other=0.0)
    return tl.sum(total, 0)


@triton.jit
def move_chain(  # type: ignore[no-untyped-def]
    chain,
    chain_masses,
    kT,
    n_dof,
    kinetic,
    block_kinetic,
    blocks_of_systems,
    scales,
    counter,
    tape_chain,
    numbers,
    n_systems,
    CLOSE: tl.constexpr,
    OPEN: tl.constexpr,
    TAPE: tl.constexpr,
    M: tl.constexpr,
    P: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """The chain's share between two force evaluations: the last half update of a step and the first of the next.

    `scales` `(n_systems, 2)` gets the factors of the velocities. CLOSE ends a step with the blocks' sums of m v²; OPEN
    begins one, and with TAPE keeps the chain in between. Without CLOSE the sum of m v² is `kinetic`, which CLOSE alone
    leaves behind.
    """
    system = tl.program_id(0)
    index = tl.arange(0, P)
    used = index < M
    own = chain + 2 * M * system + index
    places = tl.load(own, mask=used, other=0.0)
    rates = tl.load(own + M, mask=used, other=0.0)
    masses = tl.load(chain_masses + M * system + index, mask=used, other=1.0)
    temperature, dof = tl.load(kT + system), tl.load(n_dof + system)
    half = 0.5 * tl.load(numbers + _TIMESTEP)
    if CLOSE:
        twice = _block_sum(block_kinetic, blocks_of_systems, system, 1, CHUNK)
        places, rates, scale = _half_chain(places, rates, masses, index, temperature, dof, twice, half, M)
        tl.store(scales + 2 * system, scale)
        twice *= scale * scale
    else:
        twice = tl.load(kinetic + system)
        tl.store(scales + 2 * system, 0.0 * twice + 1.0)
    if OPEN:
        if TAPE:
            slot = tl.load(counter) - tl.load(counter + 1)
            target = tape_chain + (slot * n_systems + system) * 2 * M + index
            tl.store(target, places, mask=used)
            tl.store(target + M, rates, mask=used)
        places, rates, scale = _half_chain(places, rates, masses, index, temperature, dof, twice, half, M)
        tl.store(scales + 2 * system + 1, scale)
    else:
        tl.store(kinetic + system, twice)
    tl.store(own, places, mask=used)
    tl.store(own + M, rates, mask=used)


@triton.jit
def reverse_chain(  # type: ignore[no-untyped-def]
    by_chain,
    chain_masses,
    kT,
    n_dof,
    sums,
    frame_overlap,
    blocks_of_systems,
    factors,
    counter,
    tape_chain,
    numbers,
    n_systems,
    OPEN: tl.constexpr,
    CLOSE: tl.constexpr,
    FRAME: tl.constexpr,
    M: tl.constexpr,
    P: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Pull gradients back through `move_chain` around the state of this step.

    OPEN: a step follows this state; CLOSE: a step led to it. With k the gradient with respect to the velocities that
    OPEN left, f that of the frame and v the velocities of the state, the gradient with respect to the velocities that
    CLOSE found is factors[0] k + factors[1] m v + factors[2] f. `sums` holds k.v and m v² of the blocks,
    `frame_overlap` f.v of the systems.
    """
    system = tl.program_id(0)
    index = tl.arange(0, P)
    used = index < M
    own = by_chain + 2 * M * system + index
    by_places = tl.load(own, mask=used, other=0.0)
    by_rates = tl.load(own + M, mask=used, other=0.0)
    slot = tl.load(counter) - tl.load(counter + 1)
    kept = tape_chain + (slot * n_systems + system) * 2 * M + index
    places = tl.load(kept, mask=used, other=0.0)
    rates = tl.load(kept + M, mask=used, other=0.0)
    masses = tl.load(chain_masses + M * system + index, mask=used, other=1.0)
    temperature, dof = tl.load(kT + system), tl.load(n_dof + system)
    half = 0.5 * tl.load(numbers + _TIMESTEP)
    overlap = _block_sum(sums, blocks_of_systems, system, 2, CHUNK)
    twice = _block_sum(sums + 1, blocks_of_systems, system, 2, CHUNK)
    by_kick, by_momentum = 0.0 * twice + 1.0, 0.0 * twice
    by_frame = by_kick
    if OPEN:
        by_rates, scale, beta = _reverse_half_chain(
            rates, by_places, by_rates, overlap, masses, index, temperature, dof, twice, half, M
        )
        by_kick *= scale
        by_momentum += beta
        overlap = scale * overlap + beta * twice
    if FRAME:
        overlap += tl.load(frame_overlap + system)
    if CLOSE:
        _, rates, back = _half_chain(places, rates, masses, index, temperature, dof, twice, -half, M)
        by_rates, scale, beta = _reverse_half_chain(
            rates,
            by_places,
            by_rates,
            overlap * back,
            masses,
            index,
            temperature,
            dof,
            twice * back * back,
            half,
            M,
        )
        by_kick *= scale
        by_momentum = scale * by_momentum + beta * back
        by_frame *= scale
    tl.store(factors + 3 * system, by_kick)
    tl.store(factors + 3 * system + 1, by_momentum)
    tl.store(factors + 3 * system + 2, by_frame)
    tl.store(own + M, by_rates, mask=used)
