"""All that a thermostat is to the compiled loops of the CPU: its drift and noise, its chain, their inverse and reverse.

A thermostat that acts on each atom by itself, as Langevin's, is a branch of `drift`, `drift_back` and `pull_drift`. One
that scales all velocities before and after each step, as a Nosé-Hoover chain, is a branch of `half_chain` and
`reverse_half_chain`, and of `rescales`. Such a chain is a handful of numbers, so every thread updates its own copy.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from asediff.kernels.arrays import LANGEVIN, NOSE_HOOVER, Array, Stepper
from asediff.kernels.cpu.space import GV, GX, INVERSE_MASS, ORDER, V, X
from asediff.kernels.cpu.step import add, add_and_keep, multiply
from asediff.kernels.cpu.team import inner
from asediff.kernels.noise import philox_normal_scalar


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


def make_step(stepper: Stepper, system: int, first_step: int) -> Step:
    """The integrator of one system, for the compiled functions."""
    return Step(
        kind=int(stepper.kind), timestep=float(stepper.timestep), kT=float(stepper.kT[system]),
        n_dof=float(stepper.n_dof[system]),
        chain_masses=np.ascontiguousarray(stepper.chain_masses[system], dtype=np.float64),
        decay=math.exp(-float(stepper.friction[system]) * float(stepper.timestep)),
        seed=np.uint64(stepper.seeds[system]), first_step=int(first_step),
    )  # fmt: skip


@inner()
def rescales(step):  # type: ignore[no-untyped-def]
    """Whether all velocities are scaled, by `half_chain`, before and after each step."""
    return step.kind == NOSE_HOOVER


@inner()
def bath_energy(step, places, rates):  # type: ignore[no-untyped-def]
    """What the conserved energy has beside kinetic and potential energy."""
    energy = 0.0
    for j in range(rates.shape[0]):
        energy += 0.5 * step.chain_masses[j] * rates[j] ** 2
        energy += step.kT * places[j] * (step.n_dof if j == 0 else 1.0)
    return energy


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


@inner()
def drift(space, step, number, first, last):  # type: ignore[no-untyped-def]
    """Positions of a step, between its half kicks; `number` counts steps, for the noise."""
    dt = step.timestep
    if step.kind == LANGEVIN:
        add(space.state, X, 0.5 * dt, V, first, last)
        refresh(space.state, space.atoms[ORDER], step, number, 1, first, last)
        add(space.state, X, 0.5 * dt, V, first, last)
    else:
        add(space.state, X, dt, V, first, last)


@inner()
def drift_back(space, step, number, first, last):  # type: ignore[no-untyped-def]
    """The inverse of `drift`."""
    dt = step.timestep
    if step.kind == LANGEVIN:
        add(space.state, X, -0.5 * dt, V, first, last)
        refresh(space.state, space.atoms[ORDER], step, number, -1, first, last)
        add(space.state, X, -0.5 * dt, V, first, last)
    else:
        add(space.state, X, -dt, V, first, last)


@inner()
def pull_drift(space, step, first, last):  # type: ignore[no-untyped-def]
    """dL/dv through `drift`, from before the last half kick to after the first one."""
    dt = step.timestep
    if step.kind == LANGEVIN:
        add(space.state, GV, 0.5 * dt, GX, first, last)
        multiply(space.state, GV, step.decay, first, last)
        add_and_keep(space.state, 0.5 * dt, first, last)
    else:
        add_and_keep(space.state, dt, first, last)


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
