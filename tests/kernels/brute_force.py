"""Plain numpy definitions that the compiled engine is tested against: all pairs, all images, one step at a time."""

import itertools

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from asediff.kernels.arrays import LANGEVIN, NOSE_HOOVER, Batch, Exclusions, SplineTables, Stepper
from asediff.kernels.noise import philox_normal


def tables(n_tables=1, *, table_index=((0,),), n_systems=1, cutoff=2.5, n_intervals=400, s_lo=0.5, dtype=np.float64):
    """Soft-shifted Lennard-Jones potentials of different sizes, with force and its slope zero at the cutoff."""
    spacing = (cutoff**2 - s_lo) / n_intervals
    s = s_lo + spacing * np.arange(n_intervals + 1)
    coefficients = []
    for k in range(n_tables):
        q = (1.0 + 0.1 * k) ** 6 / s**3
        c = CubicSpline(s, 4.0 * (1.0 - 0.2 * k) * (q * q - q) * (1.0 - (s / cutoff**2) ** 4) ** 3).c
        coefficients.append(np.stack([c[3], c[2] * spacing, c[1] * spacing**2, c[0] * spacing**3], axis=-1))
    index = np.broadcast_to(np.array(table_index, dtype=np.int32), (n_systems, *np.shape(table_index)))
    return SplineTables(np.array(coefficients).astype(dtype), index, s_lo, spacing, cutoff)


def lattice(n, density, cell=None, *, seed=0, noise=0.08):
    """About n³ jittered atoms at a density: positions and cell, cubic unless a cell's shape is given."""
    rng = np.random.default_rng(seed)
    shape = np.eye(3) if cell is None else np.array(cell)
    cell = shape * (n**3 / density / abs(np.linalg.det(shape))) ** (1 / 3)
    grid = np.array(list(itertools.product(range(n), repeat=3))) / n
    return (grid + noise / n * rng.normal(size=grid.shape)) @ cell, cell


def batch(cells, counts, *, pbc=None, types=None, masses=None, dtype=np.float64):
    n = int(np.sum(counts))
    return Batch(
        masses=(np.ones(n) if masses is None else np.asarray(masses)).astype(dtype),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        cell=np.array(cells),
        pbc=np.ones((len(counts), 3), dtype=bool) if pbc is None else np.array(pbc),
        types=np.zeros(n, dtype=np.int32) if types is None else np.asarray(types, dtype=np.int32),
    )


def spline(t, index, s):
    """Energy and du/ds of table `index` (arrays) at squared distances s."""
    n = t.coefficients.shape[1]
    place = (s - t.s_lo) / t.spacing
    k = np.clip(np.floor(place).astype(int), 0, n - 1)
    c0, c1, c2, c3 = np.moveaxis(t.coefficients.astype(np.float64)[index, k], -1, 0)
    u = place - k
    energy = np.where(place < 0, c0 + c1 * place, c0 + u * (c1 + u * (c2 + u * c3)))
    slope = np.where(place < 0, c1, c1 + u * (2 * c2 + 3 * c3 * u)) / t.spacing
    beyond = s >= t.cutoff**2
    return np.where(beyond, 0.0, energy), np.where(beyond, 0.0, slope)


def exclusions(pairs, weights, n_atoms):
    """Rows of both atoms of pairs `(n, 2)` with their weights."""
    pairs = np.concatenate([pairs, np.flip(pairs, 1)])
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    first = np.searchsorted(pairs[order, 0], np.arange(n_atoms + 1)).astype(np.int64)
    return Exclusions(first, pairs[order, 1].astype(np.int64), np.tile(weights, 2)[order].astype(np.float64))


def chains(b, length=5, *, weights=(0.0, 0.0, 0.35, 1.0)):
    """The batch with its atoms bonded to chains: pairs 1, 2, ... bonds apart have these weights."""
    pairs, values = [], []
    for begin, end in itertools.pairwise(b.offsets):
        for i in range(begin, end):
            for apart, weight in enumerate(weights, 1):
                if i + apart < end and (i - begin) // length == (i + apart - begin) // length:
                    pairs.append((i, i + apart))
                    values.append(weight)
    return b._replace(exclusions=exclusions(np.array(pairs), np.array(values), len(b.masses)))


def pair_weights(b, system):
    """`(n, n)`, the weight of each pair of a system."""
    begin, end = b.offsets[system : system + 2]
    result = np.ones((end - begin, end - begin))
    if b.exclusions is not None:
        first, partner, weight = b.exclusions
        for i in range(begin, end):
            row = slice(first[i], first[i + 1])
            result[i - begin, partner[row] - begin] = weight[row]
    return result


def forces(positions, b, t):
    """Energy `(n_systems,)`, forces and virial `(n_systems, 3, 3)` by a sum over all pairs and their images."""
    total = np.zeros_like(positions, dtype=np.float64)
    energy, virial = np.zeros(b.n_systems), np.zeros((b.n_systems, 3, 3))
    for system in range(b.n_systems):
        inside = slice(b.offsets[system], b.offsets[system + 1])
        x, kinds = positions[inside].astype(np.float64), b.types[inside]
        cell = np.where(b.pbc[system][:, None], b.cell[system], 0.0)
        fractional = np.zeros_like(x)
        if b.pbc[system].any():
            fractional = np.linalg.lstsq(b.cell[system].T, x.T, rcond=None)[0].T * b.pbc[system]
        x = x - np.floor(fractional) @ cell
        # two wrapped atoms differ by less than a cell, and no face is closer than the cutoff: one image each way
        images = list(itertools.product(*([-1, 0, 1] if p else [0] for p in b.pbc[system])))
        nearest, weight = np.full((len(x), len(x)), np.inf), pair_weights(b, system)
        for image in images if b.exclusions else []:
            nearest = np.minimum(nearest, ((x[:, None] - x[None] - np.array(image) @ cell) ** 2).sum(-1))
        for image in images:
            apart = x[:, None] - x[None] - np.array(image) @ cell
            s = (apart * apart).sum(-1)
            i, j = np.nonzero((s < t.cutoff**2) & (s > 0.0))
            d, w = apart[i, j], np.where(s == nearest, weight, 1.0)[i, j]
            u, slope = spline(t, t.table_index[system][kinds[i], kinds[j]], s[i, j])
            u, slope = w * u, w * slope
            pair = -2.0 * slope[:, None] * d
            energy[system] += 0.5 * u.sum()
            np.add.at(total[inside], i, pair)
            virial[system] += 0.5 * d.T @ pair
    return energy, total, virial


def _half_chain(k2, xi, v, q, n_dof, kT, delta):
    """The half chain update of Nosé-Hoover chains, written out; returns the velocity scale."""
    m = len(v)

    def pull(j):
        return (k2 - n_dof * kT) / q[0] if j == 0 else (q[j - 1] * v[j - 1] ** 2 - kT) / q[j]

    v[m - 1] += pull(m - 1) * delta / 2
    for j in range(m - 2, -1, -1):
        v[j] *= np.exp(-v[j + 1] * delta / 4)
        v[j] += pull(j) * delta / 2
        v[j] *= np.exp(-v[j + 1] * delta / 4)
    scale = np.exp(-v[0] * delta)
    k2 *= scale**2
    xi += v * delta
    for j in range(m - 1):
        v[j] *= np.exp(-v[j + 1] * delta / 4)
        v[j] += pull(j) * delta / 2
        v[j] *= np.exp(-v[j + 1] * delta / 4)
    v[m - 1] += pull(m - 1) * delta / 2
    return scale


def stepper(kind, b, *, timestep=0.005, kT=1.0, tdamp=0.3, tchain=3, friction=0.7, dtype=np.float64, first_step=0):
    counts = np.diff(b.offsets)
    n_dof = 3.0 * counts - 3.0
    kT = np.full(b.n_systems, kT) + 0.1 * np.arange(b.n_systems)
    chain = np.repeat((kT * tdamp**2)[:, None], tchain if kind == NOSE_HOOVER else 0, axis=1)
    if kind == NOSE_HOOVER:
        chain[:, 0] *= n_dof
    seeds = np.arange(b.n_systems).astype(np.uint64) + np.uint64(2**63 + 5)
    rates = np.full(b.n_systems, friction)
    return Stepper(kind, timestep, *(a.astype(dtype) for a in (kT, n_dof, chain, rates)), seeds, first_step)


def run(positions, velocities, chain, b, t, stepper, n_steps):
    """Every state of a run: lists of positions, velocities and chains, the start first."""
    x, v, chain = positions.copy(), velocities.copy(), chain.copy()
    dt, m = stepper.timestep, b.masses[:, None]
    system_idx = np.repeat(np.arange(b.n_systems), np.diff(b.offsets))
    atom = np.arange(len(x)) - b.offsets[system_idx]
    seeds = torch.from_numpy(stepper.seeds.astype(np.int64))
    f = forces(x, b, t)[1]
    states = [(x.copy(), v.copy(), chain.copy())]

    def thermostat():
        for s in range(b.n_systems):
            inside = slice(b.offsets[s], b.offsets[s + 1])
            k2 = (m[inside] * v[inside] ** 2).sum()
            xi, rates = chain[s]
            v[inside] *= _half_chain(k2, xi, rates, stepper.chain_masses[s], stepper.n_dof[s], stepper.kT[s], dt / 2)

    for step in range(n_steps):
        if stepper.kind == NOSE_HOOVER:
            thermostat()
        v += dt / 2 * f / m
        if stepper.kind == LANGEVIN:
            c = np.exp(-stepper.friction * dt)[system_idx][:, None]
            kT = stepper.kT[system_idx][:, None]
            eta = philox_normal(
                seeds, torch.from_numpy(system_idx), torch.from_numpy(atom), stepper.first_step + step
            ).numpy()
            x += dt / 2 * v
            v = c * v + np.sqrt(kT * (1 - c * c) / m) * eta
            x += dt / 2 * v
        else:
            x += dt * v
        f = forces(x, b, t)[1]
        v += dt / 2 * f / m
        if stepper.kind == NOSE_HOOVER:
            thermostat()
        states.append((x.copy(), v.copy(), chain.copy()))
    return states
