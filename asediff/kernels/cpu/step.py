"""Pieces of one time step on a thread's share of the atoms, and their reverse: chain, kicks, drifts, noise.

The Nosé-Hoover chain is a handful of numbers, so every thread of a team updates its own copy of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from asediff.kernels.arrays import Array
from asediff.kernels.cpu.simd import LANES
from asediff.kernels.cpu.space import (
    CUTOFF,
    GV,
    GX,
    INVERSE_MASS,
    KICK,
    MASS,
    RADIUS,
    REFERENCE,
    SKIN,
    SLOT_OF,
    V,
    W,
    X,
)
from asediff.kernels.cpu.team import inner, meet, share
from asediff.kernels.noise import philox_normal_scalar

FAST = {"reassoc", "contract", "nsz"}
"""Sums may be reordered for vector units; not-a-number must stay what it is, for it is tested."""


class Step(NamedTuple):
    """One integrator for one system, in float64.

    Attributes:
        kind: `NVE`, `NOSE_HOOVER` or `LANGEVIN`.
        timestep: time.
        kT: energy.
        n_dof: degrees of freedom that the thermostat counts.
        chain_masses: `(tchain,)`.
        decay: exp(-friction timestep).
        seed: uint64.
        first_step: int64, number of the first step.
    """

    kind: int
    timestep: float
    kT: float
    n_dof: float
    chain_masses: Array
    decay: float
    seed: np.uint64
    first_step: int


@inner()
def _pull(j, rates, masses, kT, n_dof, twice_kinetic):  # type: ignore[no-untyped-def]
    if j == 0:
        return (twice_kinetic - n_dof * kT) / masses[0]
    return (masses[j - 1] * rates[j - 1] ** 2 - kT) / masses[j]


@inner()
def _push(j, rates, step, twice_kinetic, delta):  # type: ignore[no-untyped-def]
    """Update rate j: half the friction of the next one, the pull, half the friction again."""
    friction = 1.0
    if j + 1 < rates.shape[0]:
        friction = np.exp(-0.25 * delta * rates[j + 1])
    pull = _pull(j, rates, step.chain_masses, step.kT, step.n_dof, twice_kinetic)
    rates[j] = (rates[j] * friction + 0.5 * delta * pull) * friction


@inner()
def half_chain(places, rates, step, twice_kinetic, delta):  # type: ignore[no-untyped-def]
    """Move a chain by delta in place; returns the factor for the velocities. -delta is the exact inverse.

    Args:
        places: `(tchain,)`, xi.
        rates: `(tchain,)`, their time derivatives.
        step: the integrator.
        twice_kinetic: sum of m v² of the velocities that the factor is for.
        delta: half a time step.
    """
    m = rates.shape[0]
    for j in range(m - 1, -1, -1):
        _push(j, rates, step, twice_kinetic, delta)
    scale = np.exp(-delta * rates[0])
    for j in range(m):
        places[j] += delta * rates[j]
    for j in range(m):
        _push(j, rates, step, twice_kinetic * scale * scale, delta)
    return scale


@inner()
def _reverse_push(j, rates, before, step, twice_kinetic, delta, gradient):  # type: ignore[no-untyped-def]
    """Undo `_push` (the rate becomes `before`) and pull the gradient back; returns dL/d(twice_kinetic)."""
    m = rates.shape[0]
    rates[j] = before
    friction = 1.0
    if j + 1 < m:
        friction = np.exp(-0.25 * delta * rates[j + 1])
    pull = _pull(j, rates, step.chain_masses, step.kT, step.n_dof, twice_kinetic)
    after = gradient[j]
    gradient[j] = after * friction * friction
    if j + 1 < m:
        by_friction = after * (2.0 * before * friction + 0.5 * delta * pull)
        gradient[j + 1] -= 0.25 * delta * friction * by_friction
    by_pull = after * 0.5 * delta * friction
    if j == 0:
        return by_pull / step.chain_masses[0]
    gradient[j - 1] += by_pull * 2.0 * step.chain_masses[j - 1] * rates[j - 1] / step.chain_masses[j]
    return 0.0


@inner()
def reverse_half_chain(rates, step, twice_kinetic, delta, by_places, by_rates, overlap):  # type: ignore[no-untyped-def]
    """Reverse pass of `half_chain` and of v -> scale v.

    Args:
        rates: `(tchain,)` before the update; left as they were.
        step: the integrator.
        twice_kinetic: before the update.
        delta: half a time step.
        by_places: `(tchain,)`, dL/dxi after the update; becomes that before.
        by_rates: `(tchain,)`, likewise.
        overlap: sum of dL/dv(after) . v(before) over the atoms.

    Returns:
        scale and beta: dL/dv(before) = scale dL/dv(after) + beta m v(before).
    """
    m = rates.shape[0]
    before = np.empty(2 * m)
    for j in range(m - 1, -1, -1):
        before[j] = rates[j]
        _push(j, rates, step, twice_kinetic, delta)
    scale = np.exp(-delta * rates[0])
    slowed = twice_kinetic * scale * scale
    for j in range(m):
        before[m + j] = rates[j]
        _push(j, rates, step, slowed, delta)

    by_slowed = 0.0
    for j in range(m - 1, -1, -1):
        by_slowed += _reverse_push(j, rates, before[m + j], step, slowed, delta, by_rates)
    by_scale = overlap + by_slowed * 2.0 * twice_kinetic * scale
    by_kinetic = by_slowed * scale * scale
    for j in range(m):
        by_rates[j] += delta * by_places[j]
    by_rates[0] -= delta * scale * by_scale
    for j in range(m):
        by_kinetic += _reverse_push(j, rates, before[j], step, twice_kinetic, delta, by_rates)
    return scale, 2.0 * by_kinetic


@inner()
def team_sum(partial, column, n_threads):  # type: ignore[no-untyped-def]
    """Sum of one column of the team's partial sums, in the order of ranks."""
    result = 0.0
    for member in range(n_threads):
        result += partial[member, column]
    return result


@inner(fastmath=FAST)
def twice_kinetic(state, first, last):  # type: ignore[no-untyped-def]
    """Sum of m v² over slots."""
    result = 0.0
    for c in range(3):
        v, m = state[V + c], state[MASS]
        for k in range(first, last):
            result += m[k] * v[k] * v[k]
    return result


@inner(fastmath=FAST)
def chain_sums(state, first, last):  # type: ignore[no-untyped-def]
    """Sums over slots of m v² and of dL/dv . v."""
    squares, products = 0.0, 0.0
    mass = state[MASS]
    for c in range(3):
        v, g = state[V + c], state[GV + c]
        for k in range(first, last):
            squares += mass[k] * v[k] * v[k]
            products += g[k] * v[k]
    return squares, products


@inner(fastmath=FAST)
def multiply(state, row, factor, first, last):  # type: ignore[no-untyped-def]
    """Scale a field."""
    q = state.dtype.type(factor)
    for c in range(3):
        y = state[row + c]
        for k in range(first, last):
            y[k] *= q


@inner(fastmath=FAST)
def add(state, row, factor, other, first, last):  # type: ignore[no-untyped-def]
    """field += factor other."""
    q = state.dtype.type(factor)
    for c in range(3):
        y, x = state[row + c], state[other + c]
        for k in range(first, last):
            y[k] += q * x[k]


@inner(fastmath=FAST)
def combine(state, row, scale, factor, other, weight, first, last):  # type: ignore[no-untyped-def]
    """field = scale field + factor weight other; `weight` is one row, one number per atom."""
    p, q = state.dtype.type(scale), state.dtype.type(factor)
    w = state[weight]
    for c in range(3):
        y, x = state[row + c], state[other + c]
        for k in range(first, last):
            y[k] = p * y[k] + q * w[k] * x[k]


@inner(fastmath=FAST)
def field_of_kicks(state, half, factor, first, last):  # type: ignore[no-untyped-def]
    """The field of a sweep from both half kicks: W = half / m (KICK + factor dL/dv)."""
    h, q = state.dtype.type(half), state.dtype.type(factor)
    inverse_mass = state[INVERSE_MASS]
    for c in range(3):
        w, kick, gradient = state[W + c], state[KICK + c], state[GV + c]
        for k in range(first, last):
            w[k] = h * inverse_mass[k] * (kick[k] + q * gradient[k])


@inner(fastmath=FAST)
def apply_pull(state, slow, scale, beta, half, first, last):  # type: ignore[no-untyped-def]
    """In one pass dL/dv = scale dL/dv + beta m v, then v = slow v, and `field_of_kicks` of both."""
    kind = state.dtype.type
    h, slow, scale, beta = kind(half), kind(slow), kind(scale), kind(beta)
    mass, inverse_mass = state[MASS], state[INVERSE_MASS]
    for c in range(3):
        w, kick, gradient, v = state[W + c], state[KICK + c], state[GV + c], state[V + c]
        for k in range(first, last):
            g = scale * gradient[k] + beta * mass[k] * v[k]
            w[k] = h * inverse_mass[k] * (kick[k] + g)
            gradient[k] = g
            v[k] *= slow


@inner(fastmath=FAST)
def pull_drift(state, dt, first, last):  # type: ignore[no-untyped-def]
    """dL/dv += dt dL/dx, kept in the rows KICK as well."""
    q = state.dtype.type(dt)
    for c in range(3):
        x, v, kick = state[GX + c], state[GV + c], state[KICK + c]
        for k in range(first, last):
            g = v[k] + q * x[k]
            v[k] = g
            kick[k] = g


@inner()
def refresh(state, order, step, number, sign, first, last):  # type: ignore[no-untyped-def]
    """The middle of a Langevin step, v -> decay v + spread eta; `sign` = -1 undoes it."""
    kind = state.dtype.type
    decay = kind(step.decay)
    strength = np.sqrt(step.kT * (1.0 - step.decay * step.decay))
    for k in range(first, last):
        spread = kind(strength * np.sqrt(state[INVERSE_MASS, k]))
        a, b, c = philox_normal_scalar(step.seed, np.uint64(order[k]), np.uint64(number))
        if sign > 0:
            state[V, k] = decay * state[V, k] + spread * kind(a)
            state[V + 1, k] = decay * state[V + 1, k] + spread * kind(b)
            state[V + 2, k] = decay * state[V + 2, k] + spread * kind(c)
        else:
            state[V, k] = (state[V, k] - spread * kind(a)) / decay
            state[V + 1, k] = (state[V + 1, k] - spread * kind(b)) / decay
            state[V + 2, k] = (state[V + 2, k] - spread * kind(c)) / decay


@inner(fastmath=FAST)
def count_moved(space, first, last):  # type: ignore[no-untyped-def]
    """How many atoms of these slots left the reach of the list, and how many are absurdly far or not a number."""
    kind = space.state.dtype.type
    moved, absurd = 0, 0
    allowed = kind((0.5 * space.geometry[RADIUS, SKIN]) ** 2)
    sane = kind((space.geometry[RADIUS, CUTOFF] + 0.5 * space.geometry[RADIUS, SKIN]) ** 2)
    x, y, z = space.state[X], space.state[X + 1], space.state[X + 2]
    a, b, c = space.state[REFERENCE], space.state[REFERENCE + 1], space.state[REFERENCE + 2]
    for k in range(first, last):
        dx, dy, dz = x[k] - a[k], y[k] - b[k], z[k] - c[k]
        distance = dx * dx + dy * dy + dz * dz
        moved += not distance <= allowed
        absurd += not distance <= sane
    return moved, absurd


@inner()
def check_moved(space, first, last, rank, n_threads):  # type: ignore[no-untyped-def]
    """Team-wide counts of `count_moved`; all members call it together."""
    moved, absurd = count_moved(space, first, last)
    space.partial[rank, 0], space.partial[rank, 1] = moved, absurd
    meet(space.control, n_threads)
    return team_sum(space.partial, 0, n_threads), team_sum(space.partial, 1, n_threads)


@inner()
def write(space, row, target, index, begin, rank, n_threads):  # type: ignore[no-untyped-def]
    """Three rows of the state to target[index], `(n_atoms_of_all_systems, 3)`, in the order of atoms."""
    first, last = share(space.atoms.shape[1], rank, n_threads, LANES)
    slots = space.atoms[SLOT_OF]
    x, y, z = space.state[row], space.state[row + 1], space.state[row + 2]
    here = target[index]
    for atom in range(first, last):
        k = slots[atom]
        here[begin + atom, 0] = x[k]
        here[begin + atom, 1] = y[k]
        here[begin + atom, 2] = z[k]


@inner()
def read(space, row, source, index, begin, rank, n_threads, added):  # type: ignore[no-untyped-def]
    """Set three rows of the state from source[index], the inverse of `write`; or add to them (`added`)."""
    first, last = share(space.atoms.shape[1], rank, n_threads, LANES)
    slots = space.atoms[SLOT_OF]
    x, y, z = space.state[row], space.state[row + 1], space.state[row + 2]
    here = source[index]
    if added:
        for atom in range(first, last):
            k = slots[atom]
            x[k] += here[begin + atom, 0]
            y[k] += here[begin + atom, 1]
            z[k] += here[begin + atom, 2]
    else:
        for atom in range(first, last):
            k = slots[atom]
            x[k] = here[begin + atom, 0]
            y[k] = here[begin + atom, 1]
            z[k] = here[begin + atom, 2]
