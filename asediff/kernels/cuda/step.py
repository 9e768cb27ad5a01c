"""What happens to each atom between two force evaluations (Triton): kicks, drift, and the way back."""

from __future__ import annotations

import triton
import triton.language as tl

from asediff.kernels.cuda.math import TIMESTEP, load_vector, own_atoms, store_vector, watch
from asediff.kernels.cuda.thermostats import drift

_TIMESTEP = tl.constexpr(TIMESTEP)


@triton.jit
def advance(  # type: ignore[no-untyped-def]
    positions, velocities, forces, masses, reference, moved, failed, counter, scales, seeds, atom_in_system, kT, decay,
    numbers, blocks, tape_positions, tape_velocities, first_step, n_atoms, KIND: tl.constexpr, RESCALED: tl.constexpr,
    TAPE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """First half kick and drift; RESCALED velocities are those times `scales` before."""
    system, atom, real = own_atoms(blocks, BLOCK)
    x, y, z = load_vector(positions, atom, real)
    v_x, v_y, v_z = load_vector(velocities, atom, real)
    f_x, f_y, f_z = load_vector(forces, atom, real)
    mass = tl.load(masses + atom, mask=real, other=1.0)
    step = tl.load(counter)
    dt = tl.load(numbers + _TIMESTEP).to(x.dtype)
    half = 0.5 * dt
    if RESCALED:
        scale = tl.load(scales + 2 * system).to(x.dtype)
        v_x, v_y, v_z = scale * v_x, scale * v_y, scale * v_z
    if TAPE:
        start = (step - tl.load(counter + 1)) * 3 * n_atoms
        store_vector(tape_positions + start, atom, x, y, z, real)
        store_vector(tape_velocities + start, atom, v_x, v_y, v_z, real)
    if RESCALED:
        scale = tl.load(scales + 2 * system + 1).to(x.dtype)
        v_x, v_y, v_z = scale * v_x, scale * v_y, scale * v_z
    kick = half / mass
    v_x, v_y, v_z = v_x + kick * f_x, v_y + kick * f_y, v_z + kick * f_z
    x, y, z, v_x, v_y, v_z = drift(
        x, y, z, v_x, v_y, v_z, mass, atom, real, system, tl.load(first_step) + step, seeds, atom_in_system, kT, decay,
        numbers, KIND,
    )  # fmt: skip
    store_vector(positions, atom, x, y, z, real)
    store_vector(velocities, atom, v_x, v_y, v_z, real)
    watch(x, y, z, atom, real, system, step, reference, moved, failed, numbers)


@triton.jit
def rescale(velocities, scales, blocks, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Multiply velocities by the factor of a chain's last half update."""
    system, atom, real = own_atoms(blocks, BLOCK)
    x, y, z = load_vector(velocities, atom, real)
    scale = tl.load(scales + 2 * system).to(x.dtype)
    store_vector(velocities, atom, scale * x, scale * y, scale * z, real)


@triton.jit
def reverse_kicks(  # type: ignore[no-untyped-def]
    positions, by_positions, by_velocities, kick, weights, masses, reference, moved, failed, counter, factors,
    frame_positions, frame_velocities, numbers, blocks, tape_positions, tape_velocities, n_atoms, RESCALED:
    tl.constexpr, FIRST: tl.constexpr, FRAME: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients at a state of the tape, and the field w that both half kicks at its positions pull back.

    `kick` is the gradient with respect to the velocities after the first half kick of the step that follows.
    `by_velocities` becomes the one with respect to those before the last half kick of the step that led here, or, with
    FIRST (no step did), with respect to the velocities of the state. FRAME adds the gradients of a frame.
    """
    system, atom, real = own_atoms(blocks, BLOCK)
    step = tl.load(counter)
    start = (step - tl.load(counter + 1)) * 3 * n_atoms
    x, y, z = load_vector(tape_positions + start, atom, real)
    store_vector(positions, atom, x, y, z, real)
    watch(x, y, z, atom, real, system, step, reference, moved, failed, numbers)

    k_x, k_y, k_z = load_vector(kick, atom, real)
    g_x, g_y, g_z = k_x, k_y, k_z
    mass = tl.load(masses + atom, mask=real, other=1.0)
    if RESCALED:
        own = factors + 3 * system
        by_kick, by_momentum = tl.load(own).to(x.dtype), tl.load(own + 1).to(x.dtype) * mass
        v_x, v_y, v_z = load_vector(tape_velocities + start, atom, real)
        g_x = by_kick * g_x + by_momentum * v_x
        g_y = by_kick * g_y + by_momentum * v_y
        g_z = by_kick * g_z + by_momentum * v_z
    if FRAME:
        f_x, f_y, f_z = load_vector(frame_velocities, atom, real)
        if RESCALED:
            by_frame = tl.load(factors + 3 * system + 2).to(x.dtype)
            f_x, f_y, f_z = by_frame * f_x, by_frame * f_y, by_frame * f_z
        g_x, g_y, g_z = g_x + f_x, g_y + f_y, g_z + f_z
        a, b, c = load_vector(by_positions, atom, real)
        f_x, f_y, f_z = load_vector(frame_positions, atom, real)
        store_vector(by_positions, atom, a + f_x, b + f_y, c + f_z, real)
    store_vector(by_velocities, atom, g_x, g_y, g_z, real)
    half = 0.5 * tl.load(numbers + _TIMESTEP).to(x.dtype) / mass
    if FIRST:
        store_vector(weights, atom, half * k_x, half * k_y, half * k_z, real)
    else:
        store_vector(weights, atom, half * (k_x + g_x), half * (k_y + g_y), half * (k_z + g_z), real)
    if tl.program_id(0) == 0:
        tl.store(counter + 2, step - 1)
