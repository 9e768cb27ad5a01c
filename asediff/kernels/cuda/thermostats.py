"""All that a thermostat is to the kernels of the GPU (Triton): its drift and noise, its chain, and the reverse of both.

A thermostat that acts on each atom by itself, as Langevin's, is a branch of `drift` and `pull_drift`. One that scales
all velocities before and after each step, as a Nosé-Hoover chain, is a branch of `move_chain`, `reverse_chain` and
`bath_energy`, and of `rescales`; one program works on one system. The chain of a system is a vector of P >= tchain
numbers in registers, all in float64; entries beyond the chain stay zero.

The maps and their reverse are those of `asediff.kernels.cpu.thermostats`.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl
from torch import Tensor

from asediff.kernels.arrays import LANGEVIN, NOSE_HOOVER
from asediff.kernels.cuda.math import TIMESTEP

_LANGEVIN, _TIMESTEP = tl.constexpr(LANGEVIN), tl.constexpr(TIMESTEP)
_UNIT, _TWO_PI = tl.constexpr(2.0**-32), tl.constexpr(2.0 * math.pi)


def rescales(kind: int) -> bool:
    """Whether all velocities are scaled, by a chain, before and after each step."""
    return kind == NOSE_HOOVER


def bath_energy(chains: Tensor, chain_masses: Tensor, kT: Tensor, n_dof: Tensor) -> Tensor:
    """What the conserved energy has beside kinetic and potential energy, for chains `(..., n_systems, 2, tchain)`."""
    places, rates = chains.unbind(-2)
    energy = 0.5 * (chain_masses * rates**2).sum(-1)
    return energy + kT * (n_dof * places[..., :1].sum(-1) + places[..., 1:].sum(-1))


@triton.jit
def _noise(seed, atom, step):  # type: ignore[no-untyped-def]
    """Three normal numbers for each atom, those of `asediff.kernels.noise.philox_normal`."""
    zero = tl.zeros_like(atom)
    low = (step & 0xFFFFFFFF).to(tl.uint32, bitcast=False) + zero.to(tl.uint32)
    high = (step >> 32).to(tl.uint32) + zero.to(tl.uint32)
    key = seed + zero.to(tl.uint64)
    w0, w1, w2, w3 = tl.philox(key, atom.to(tl.uint32), low, high, zero.to(tl.uint32))
    radius = tl.sqrt(-2.0 * tl.log((w0.to(tl.float64) + 0.5) * _UNIT))
    other = tl.sqrt(-2.0 * tl.log((w2.to(tl.float64) + 0.5) * _UNIT))
    angle = _TWO_PI * ((w1.to(tl.float64) + 0.5) * _UNIT)
    angle_z = _TWO_PI * ((w3.to(tl.float64) + 0.5) * _UNIT)
    return radius * tl.cos(angle), radius * tl.sin(angle), other * tl.cos(angle_z)


@triton.jit
def drift(  # type: ignore[no-untyped-def]
    x, y, z, v_x, v_y, v_z, mass, atom, real, system, step, seeds, atom_in_system, kT, decay, numbers,
    KIND: tl.constexpr,
):  # fmt: skip
    """Positions and velocities after a drift, of which `step` is the number, for the noise."""
    dt = tl.load(numbers + _TIMESTEP).to(x.dtype)
    half = 0.5 * dt
    if KIND == _LANGEVIN:
        x, y, z = x + half * v_x, y + half * v_y, z + half * v_z
        kept = tl.load(decay + system)
        spread = tl.sqrt(tl.load(kT + system) * (1.0 - kept * kept) / mass.to(tl.float64))
        own = tl.load(atom_in_system + atom, mask=real, other=0)
        n_x, n_y, n_z = _noise(tl.load(seeds + system).to(tl.uint64), own, step)
        c = kept.to(x.dtype)
        v_x = c * v_x + (spread * n_x).to(x.dtype)
        v_y = c * v_y + (spread * n_y).to(x.dtype)
        v_z = c * v_z + (spread * n_z).to(x.dtype)
        x, y, z = x + half * v_x, y + half * v_y, z + half * v_z
    else:
        x, y, z = x + dt * v_x, y + dt * v_y, z + dt * v_z
    return x, y, z, v_x, v_y, v_z


@triton.jit
def pull_drift(k, g, system, decay, numbers, KIND: tl.constexpr):  # type: ignore[no-untyped-def]
    """One component of dL/dv through `drift`, to after the first half kick; g is dL/dx."""
    dt = tl.load(numbers + _TIMESTEP).to(k.dtype)
    if KIND == _LANGEVIN:
        half = 0.5 * dt
        k = tl.load(decay + system).to(k.dtype) * (k + half * g) + half * g
    else:
        k = k + dt * g
    return k


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
    chain, chain_masses, kT, n_dof, kinetic, block_kinetic, blocks_of_systems, scales, counter, tape_chain, numbers,
    n_systems, CLOSE: tl.constexpr, OPEN: tl.constexpr, TAPE: tl.constexpr, M: tl.constexpr, P: tl.constexpr, CHUNK:
    tl.constexpr,
):  # fmt: skip
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
    by_chain, chain_masses, kT, n_dof, sums, frame_overlap, blocks_of_systems, factors, counter, tape_chain, numbers,
    n_systems, OPEN: tl.constexpr, CLOSE: tl.constexpr, FRAME: tl.constexpr, M: tl.constexpr, P: tl.constexpr, CHUNK:
    tl.constexpr,
):  # fmt: skip
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
            rates, by_places, by_rates, overlap * back, masses, index, temperature, dof, twice * back * back, half, M,
        )  # fmt: skip
        by_kick *= scale
        by_momentum = scale * by_momentum + beta * back
        by_frame *= scale
    tl.store(factors + 3 * system, by_kick)
    tl.store(factors + 3 * system + 1, by_momentum)
    tl.store(factors + 3 * system + 2, by_frame)
    tl.store(own + M, by_rates, mask=used)
