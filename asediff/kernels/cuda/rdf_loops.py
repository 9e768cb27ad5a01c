"""Loops over all pairs of a system (Triton) for histograms of distances and their gradient; see `cuda_rdf`.

A program takes a block of atoms of one frame; the grid is (blocks, frames). All arithmetic is in float64. Each pair is
met in its nearest image and, with IMAGES = 8, in the seven next ones, which covers distances up to the height of a box.
EXCLUDED leaves out the nearest image of each atom's partners, rows of `partner`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from asediff.kernels.cuda.math import components, lattice_sum, load_box, load_vector, nearest_image, own_atoms
from asediff.kernels.cuda.shells import N_MOMENTS

LOW_2, HIGH_2, ORIGIN, PER_WIDTH, N_LIMITS = range(5)
"""Places in `limits`: smallest and largest squared distance that count, lower edge of the bins, 1/width of a bin."""
_LOW_2, _HIGH_2, _ORIGIN, _PER_WIDTH = (
    tl.constexpr(LOW_2),
    tl.constexpr(HIGH_2),
    tl.constexpr(ORIGIN),
    tl.constexpr(PER_WIDTH),
)
_N_MOMENTS = tl.constexpr(N_MOMENTS)


@triton.jit
def _load(positions, index, mask):  # type: ignore[no-untyped-def]
    x, y, z = load_vector(positions, index, mask)
    return x.to(tl.float64), y.to(tl.float64), z.to(tl.float64)


@triton.jit
def _image(x, y, z, corner, box, TRICLINIC: tl.constexpr):  # type: ignore[no-untyped-def]
    """The nearest image moved by one lattice vector along the directions in the bits of `corner`, past the origin."""
    a, b, c = components(x, y, z, box, TRICLINIC)
    a = tl.where(a < 0, -1.0, 1.0).to(tl.float64) * (corner & 1)
    b = tl.where(b < 0, -1.0, 1.0).to(tl.float64) * (corner >> 1 & 1)
    c = tl.where(c < 0, -1.0, 1.0).to(tl.float64) * (corner >> 2)
    i, j, k = lattice_sum(a, b, c, box, TRICLINIC)
    return x - i, y - j, z - k


@triton.jit
def _channel(channels, types, n_types, own_type, other, wanted):  # type: ignore[no-untyped-def]
    """Histogram of each pair of a tile, -1 for none."""
    other_type = tl.load(types + other, mask=other >= 0, other=-1)
    wanted = wanted & (own_type[:, None] >= 0) & (other_type[None, :] >= 0)
    return tl.load(channels + own_type[:, None] * n_types + other_type[None, :], mask=wanted, other=-1)


@triton.jit
def _excluded_square(  # type: ignore[no-untyped-def]
    first_partner, partner, atom, real, other, x, y, z, box, IMAGES: tl.constexpr, TRICLINIC: tl.constexpr
):
    """The squared distance up to which each pair of a tile is left out: that of its nearest image, -1 for most."""
    first = tl.load(first_partner + atom, mask=real, other=0)
    n_partners = tl.load(first_partner + atom + 1, mask=real, other=0) - first
    nearest = x * x + y * y + z * z
    excluded = nearest < 0.0
    for k in range(tl.max(n_partners, 0)):
        own = tl.load(partner + first + k, mask=k < n_partners, other=-1)
        excluded = excluded | (other[None, :] == own[:, None])
    for corner in range(1, IMAGES):
        d_x, d_y, d_z = _image(x, y, z, corner, box, TRICLINIC)
        nearest = tl.minimum(nearest, d_x * d_x + d_y * d_y + d_z * d_z)
    return tl.where(excluded, nearest * (1.0 + 1e-12), -1.0)


@triton.jit
def add_moments(  # type: ignore[no-untyped-def]
    positions, types, channels, first_partner, partner, moments, boxes, limits, blocks, offsets, n_atoms, n_systems,
    n_types, n_channels, n_bins, SMEARED: tl.constexpr, EXCLUDED: tl.constexpr, IMAGES:
    tl.constexpr, BLOCK: tl.constexpr, LANES: tl.constexpr, TRICLINIC: tl.constexpr,
):  # fmt: skip
    """Add each pair to its bin in `moments` `(n_frames, n_systems, n_channels, n_bins, N_MOMENTS)`.

    SMEARED adds the powers of its place t in the bin, -1 <= t < 1; else `moments` are counts, with no last dimension.
    """
    system, atom, real = own_atoms(blocks, BLOCK)
    frame = tl.program_id(1)
    positions += frame.to(tl.int64) * 3 * n_atoms
    box = load_box(boxes, system)
    low, high = tl.load(limits + _LOW_2), tl.load(limits + _HIGH_2)
    origin, per_width = tl.load(limits + _ORIGIN), tl.load(limits + _PER_WIDTH)
    x, y, z = _load(positions, atom, real)
    own_type = tl.load(types + atom, mask=real, other=-1)
    first_bin = (frame * n_systems + system).to(tl.int64) * n_channels
    last = tl.load(offsets + system + 1)
    for start in range(tl.load(blocks + 3 * tl.program_id(0) + 1), last, LANES):
        other = start + tl.arange(0, LANES)
        exists = other < last
        a, b, c = _load(positions, other, exists)
        wanted = exists[None, :] & (other[None, :] > atom[:, None]) & real[:, None]
        channel = _channel(channels, types, n_types, own_type, tl.where(exists, other, -1), wanted)
        x_0, y_0, z_0 = nearest_image(
            x[:, None] - a[None, :], y[:, None] - b[None, :], z[:, None] - c[None, :], box, TRICLINIC
        )
        if EXCLUDED:
            left_out = _excluded_square(
                first_partner, partner, atom, real, other, x_0, y_0, z_0, box, IMAGES, TRICLINIC
            )
        for corner in range(IMAGES):
            d_x, d_y, d_z = _image(x_0, y_0, z_0, corner, box, TRICLINIC)
            s = d_x * d_x + d_y * d_y + d_z * d_z
            counted = (channel >= 0) & (s >= low) & (s < high)
            if EXCLUDED:
                counted = counted & (s > left_out)
            place = tl.sqrt(s)
            place = (tl.where(counted, place, origin) - origin) * per_width
            bin_ = tl.minimum(place.to(tl.int32), n_bins - 1)
            target = (first_bin + channel) * n_bins + bin_
            if SMEARED:
                t = 2.0 * (place - bin_.to(tl.float64)) - 1.0
                power = tl.full(t.shape, 1.0, dtype=tl.float64)
                for m in tl.static_range(_N_MOMENTS):
                    tl.atomic_add(moments + target * _N_MOMENTS + m, power, mask=counted)
                    power *= t
            else:
                tl.atomic_add(moments + target, tl.full(s.shape, 1, dtype=tl.int64), mask=counted)


@triton.jit
def sum_slopes(  # type: ignore[no-untyped-def]
    positions, types, channels, first_partner, partner, slopes, gradient, boxes, limits, blocks, offsets, n_atoms,
    n_systems, n_types, n_channels, n_bins, EXCLUDED: tl.constexpr, IMAGES: tl.constexpr, BLOCK: tl.constexpr, LANES:
    tl.constexpr, TRICLINIC: tl.constexpr,
):  # fmt: skip
    """dL/dpositions from dL/dr of a pair, a polynomial in t in each bin: `slopes`, shaped as smeared moments."""
    system, atom, real = own_atoms(blocks, BLOCK)
    frame = tl.program_id(1)
    positions += frame.to(tl.int64) * 3 * n_atoms
    gradient += frame.to(tl.int64) * 3 * n_atoms
    box = load_box(boxes, system)
    low, high = tl.load(limits + _LOW_2), tl.load(limits + _HIGH_2)
    origin, per_width = tl.load(limits + _ORIGIN), tl.load(limits + _PER_WIDTH)
    x, y, z = _load(positions, atom, real)
    own_type = tl.load(types + atom, mask=real, other=-1)
    first_bin = (frame * n_systems + system).to(tl.int64) * n_channels
    last = tl.load(offsets + system + 1)
    g_x = tl.zeros([BLOCK, LANES], dtype=tl.float64)
    g_y = tl.zeros([BLOCK, LANES], dtype=tl.float64)
    g_z = tl.zeros([BLOCK, LANES], dtype=tl.float64)
    for start in range(tl.load(offsets + system), last, LANES):
        other = start + tl.arange(0, LANES)
        exists = other < last
        a, b, c = _load(positions, other, exists)
        wanted = exists[None, :] & (other[None, :] != atom[:, None]) & real[:, None]
        channel = _channel(channels, types, n_types, own_type, tl.where(exists, other, -1), wanted)
        x_0, y_0, z_0 = nearest_image(
            x[:, None] - a[None, :], y[:, None] - b[None, :], z[:, None] - c[None, :], box, TRICLINIC
        )
        if EXCLUDED:
            left_out = _excluded_square(
                first_partner, partner, atom, real, other, x_0, y_0, z_0, box, IMAGES, TRICLINIC
            )
        for corner in range(IMAGES):
            d_x, d_y, d_z = _image(x_0, y_0, z_0, corner, box, TRICLINIC)
            s = d_x * d_x + d_y * d_y + d_z * d_z
            counted = (channel >= 0) & (s >= low) & (s < high) & (s > 0.0)
            if EXCLUDED:
                counted = counted & (s > left_out)
            r = tl.sqrt(tl.where(counted, s, 1.0))
            place = (tl.where(counted, r, origin) - origin) * per_width
            bin_ = tl.minimum(place.to(tl.int32), n_bins - 1)
            target = slopes + ((first_bin + channel) * n_bins + bin_) * _N_MOMENTS
            t = 2.0 * (place - bin_.to(tl.float64)) - 1.0
            slope = tl.load(target + _N_MOMENTS - 2, mask=counted, other=0.0)
            for m in tl.static_range(3, _N_MOMENTS + 1):
                slope = slope * t + tl.load(target + _N_MOMENTS - m, mask=counted, other=0.0)
            slope = slope / r
            g_x += slope * d_x
            g_y += slope * d_y
            g_z += slope * d_z
    start_of_atom = gradient + 3 * atom
    tl.store(start_of_atom, tl.sum(g_x, 1), mask=real)
    tl.store(start_of_atom + 1, tl.sum(g_y, 1), mask=real)
    tl.store(start_of_atom + 2, tl.sum(g_z, 1), mask=real)
