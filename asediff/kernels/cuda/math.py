"""Pieces shared by the Triton kernels: vectors in memory, nearest images, and where the run's numbers lie.

Numbers of a run are read from a float64 tensor, since Triton would pass a Python float as float32. Programs work on
blocks of atoms of one system each; `blocks` holds system, first atom and last atom + 1 of every block.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

S_LO, INVERSE_SPACING, CUTOFF_2, REACH_2, ALLOWED_2, SANE_2, TIMESTEP, N_NUMBERS = range(8)
"""Places in `numbers`: s_lo, 1/spacing, cutoff², (cutoff + skin)², (skin/2)², (cutoff + skin/2)², time step."""

_S_LO, _INVERSE_SPACING, _CUTOFF_2 = tl.constexpr(S_LO), tl.constexpr(INVERSE_SPACING), tl.constexpr(CUTOFF_2)
_ALLOWED_2, _SANE_2 = tl.constexpr(ALLOWED_2), tl.constexpr(SANE_2)
ATOM_BITS = 25
"""An entry of a neighbor row holds the atom in its low bits and the atom's type above them."""
MAX_TYPES = 1 << (31 - ATOM_BITS)
_ATOM_BITS, _ATOM_MASK = tl.constexpr(ATOM_BITS), tl.constexpr((1 << ATOM_BITS) - 1)


def launch_options(warps: int) -> dict[str, Any]:
    """Options of every launch; multiplications and additions may be fused, whatever Triton's default is."""
    return {"num_warps": warps, "enable_fp_fusion": True}


@triton.jit
def load_vector(pointer, index, mask):  # type: ignore[no-untyped-def]
    """Components of the vectors `index` of an array `(n, 3)`."""
    start = pointer + 3 * index
    x = tl.load(start, mask=mask, other=0.0)
    y = tl.load(start + 1, mask=mask, other=0.0)
    z = tl.load(start + 2, mask=mask, other=0.0)
    return x, y, z


@triton.jit
def store_vector(pointer, index, x, y, z, mask):  # type: ignore[no-untyped-def]
    """Inverse of `load_vector`."""
    start = pointer + 3 * index
    tl.store(start, x, mask=mask)
    tl.store(start + 1, y, mask=mask)
    tl.store(start + 2, z, mask=mask)


@triton.jit
def own_atoms(blocks, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """This program's system, its atoms, and which of them exist."""
    entry = blocks + 3 * tl.program_id(0)
    atom = tl.load(entry + 1) + tl.arange(0, BLOCK)
    return tl.load(entry), atom, atom < tl.load(entry + 2)


@triton.jit
def load_box(boxes, system):  # type: ignore[no-untyped-def]
    """Lattice vectors and their inverse, row by row, as 18 numbers."""
    p = boxes + 18 * system
    return (
        tl.load(p), tl.load(p + 1), tl.load(p + 2), tl.load(p + 3), tl.load(p + 4), tl.load(p + 5), tl.load(p + 6),
        tl.load(p + 7), tl.load(p + 8), tl.load(p + 9), tl.load(p + 10), tl.load(p + 11), tl.load(p + 12),
        tl.load(p + 13), tl.load(p + 14), tl.load(p + 15), tl.load(p + 16), tl.load(p + 17),
    )  # fmt: skip


@triton.jit
def _times(x, y, z, box, FIRST: tl.constexpr, TRICLINIC: tl.constexpr):  # type: ignore[no-untyped-def]
    """The row (x, y, z) times the matrix whose nine numbers begin at FIRST; its diagonal alone if not TRICLINIC."""
    if TRICLINIC:
        a = x * box[FIRST] + y * box[FIRST + 3] + z * box[FIRST + 6]
        b = x * box[FIRST + 1] + y * box[FIRST + 4] + z * box[FIRST + 7]
        c = x * box[FIRST + 2] + y * box[FIRST + 5] + z * box[FIRST + 8]
    else:
        a, b, c = x * box[FIRST], y * box[FIRST + 4], z * box[FIRST + 8]
    return a, b, c


@triton.jit
def components(x, y, z, box, TRICLINIC: tl.constexpr):  # type: ignore[no-untyped-def]
    """How many lattice vectors a vector spans."""
    return _times(x, y, z, box, 9, TRICLINIC)


@triton.jit
def lattice_sum(a, b, c, box, TRICLINIC: tl.constexpr):  # type: ignore[no-untyped-def]
    """Inverse of `components`."""
    return _times(a, b, c, box, 0, TRICLINIC)


@triton.jit
def nearest_image(x, y, z, box, TRICLINIC: tl.constexpr):  # type: ignore[no-untyped-def]
    """A separation moved by lattice vectors; the nearest image wherever that is closer than half of each height."""
    a, b, c = components(x, y, z, box, TRICLINIC)
    i, j, k = lattice_sum(tl.floor(a + 0.5), tl.floor(b + 0.5), tl.floor(c + 0.5), box, TRICLINIC)
    return x - i, y - j, z - k


@triton.jit
def locate(s, numbers, n_intervals):  # type: ignore[no-untyped-def]
    """Interval of s, place t >= 0 in it, and how far s lies below the first knot, in intervals (<= 0)."""
    low = tl.load(numbers + _S_LO).to(s.dtype)
    place = (s - low) * tl.load(numbers + _INVERSE_SPACING).to(s.dtype)
    inside = tl.maximum(place, 0.0)
    interval = tl.minimum(inside.to(tl.int32), n_intervals - 1)
    return interval, inside - interval.to(s.dtype), tl.minimum(place, 0.0)


@triton.jit
def watch(x, y, z, atom, real, system, step, reference, moved, failed, numbers):  # type: ignore[no-untyped-def]
    """Note that this system's rows no longer serve, or that a step threw an atom absurdly far."""
    a, b, c = load_vector(reference, atom, real)
    distance = (x - a) * (x - a) + (y - b) * (y - b) + (z - c) * (z - c)
    allowed = tl.load(numbers + _ALLOWED_2).to(distance.dtype)
    sane = tl.load(numbers + _SANE_2).to(distance.dtype)
    # not-a-number is not within anything
    far = tl.max((real & ~(distance <= allowed)).to(tl.int32), 0)
    absurd = tl.max((real & ~(distance <= sane)).to(tl.int32), 0)
    tl.atomic_max(moved + system, far, mask=far > 0)
    tl.atomic_min(failed, step + 1, mask=absurd > 0)
