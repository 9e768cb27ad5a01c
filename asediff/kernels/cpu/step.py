"""Loops over a thread's share of the atoms that time steps and their reverse are made of."""

from __future__ import annotations

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

FAST = {"reassoc", "contract", "nsz"}
"""Sums may be reordered for vector units; not-a-number must stay what it is, for it is tested."""


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
def add_and_keep(state, dt, first, last):  # type: ignore[no-untyped-def]
    """dL/dv += dt dL/dx, kept in the rows KICK as well."""
    q = state.dtype.type(dt)
    for c in range(3):
        x, v, kick = state[GX + c], state[GV + c], state[KICK + c]
        for k in range(first, last):
            g = v[k] + q * x[k]
            v[k] = g
            kick[k] = g


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
