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


SKEWED = [[1, 0, 0], [0.3, 1, 0], [0.1, -0.2, 1]]


def configuration(case="mixed", *, bonded=False, n=3):
    """Positions, velocities, batch and tables of a named situation: one system, or two, of one type or two.

    "one": cubic. "mixed": two boxes, two types of different masses. "skewed": one such box. "free": mixed, of which
    some directions are not periodic. "below": mixed, with pairs below the first knot. "far": skewed, with atoms many
    cells apart. `bonded` makes chains of them, which cross the periodic boundaries.
    """
    shapes = {"one": [None], "skewed": [SKEWED], "far": [SKEWED]}.get(case, [None, None])
    parts = [lattice(n, 0.8 - 0.1 * k, shape, seed=k) for k, shape in enumerate(shapes)]
    counts = [len(x) for x, _ in parts]
    rng = np.random.default_rng(3)
    types = np.zeros(sum(counts), int) if case == "one" else rng.integers(0, 2, sum(counts))
    b = batch([c for _, c in parts], counts, types=types, masses=1 + 0.7 * types)
    if case == "free":
        b = b._replace(pbc=np.array([[True, False, True], [False, False, False]]))
    index, n_tables = (((0,),), 1) if case == "one" else (((0, 1), (1, 2)), 3)
    s_lo = 1.2 if case == "below" else 0.5
    t = tables(n_tables, table_index=index, n_systems=len(parts), cutoff=1.5, s_lo=s_lo)
    x = np.concatenate([x + k * c[0] for k, (x, c) in enumerate(parts)])
    v = rng.normal(size=x.shape)
    if case == "far":
        x = x + rng.integers(-9, 9, size=x.shape) @ parts[0][1]
    for s in range(len(parts)):
        inside = slice(b.offsets[s], b.offsets[s + 1])
        v[inside] -= np.average(v[inside], axis=0, weights=b.masses[inside])
    return x, v, b._replace(exclusions=chains(b.offsets)) if bonded else b, t


def device_of(backend):
    return "cuda" if backend == "cuda" and torch.cuda.is_available() else "cpu"


def given(backend, record, dtype):
    """Arrays as tensors of a backend, real ones in a floating-point type."""

    def tensor(value):
        if isinstance(value, tuple):
            return given(backend, value, np.float64)
        if not isinstance(value, np.ndarray):
            return value
        kind = {"f": dtype, "u": np.int64}.get(value.dtype.kind, value.dtype)
        return torch.from_numpy(np.array(value, dtype=kind)).to(device_of(backend))

    return type(record)(*map(tensor, record)) if isinstance(record, tuple) else tensor(record)


def close(value, exact, tolerance):
    """Within a fraction of the largest element."""
    exact = torch.as_tensor(exact).detach().to(torch.float64)
    if exact.numel():
        scale = max(float(exact.abs().max()), 1e-30)
        torch.testing.assert_close(value.detach().cpu().to(torch.float64), exact, rtol=0.0, atol=tolerance * scale)


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


def chains(offsets, length=5, *, weights=(0.0, 0.0, 0.35, 1.0)):
    """Exclusions of atoms that are bonded to chains: pairs 1, 2, ... bonds apart have these weights."""
    pairs, values = [], []
    for begin, end in itertools.pairwise(int(k) for k in offsets):
        for i in range(begin, end):
            for apart, weight in enumerate(weights, 1):
                if i + apart < end and (i - begin) // length == (i + apart - begin) // length:
                    pairs.append((i, i + apart))
                    values.append(weight)
    return exclusions(np.array(pairs), np.array(values), int(offsets[-1]))


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


def pair_sums(x, coefficients, b, t):
    """Energy `(n_systems,)`, forces and virial in torch, differentiable: all pairs in the images next to each other."""
    energy, virial, total = [], [], torch.zeros_like(x)
    for s in range(b.n_systems):
        begin, end = (int(k) for k in b.offsets[s : s + 2])
        i, j = (torch.from_numpy(k) for k in np.triu_indices(end - begin, 1))
        cell = np.where(b.pbc[s][:, None], b.cell[s].astype(np.float64), 0.0)
        d = x[begin + i] - x[begin + j]
        d = d - torch.from_numpy(np.round(d.detach().numpy() @ np.linalg.pinv(cell)) @ cell)
        close = (d * d).sum(-1) < t.cutoff**2
        i, j, d = i[close], j[close], d[close]
        kinds = b.types[begin:end]
        place = ((d * d).sum(-1) - t.s_lo) / t.spacing
        knot = place.detach().floor().clamp(0, coefficients.shape[1] - 1).to(torch.int64)
        table = torch.from_numpy(t.table_index[s][kinds[i], kinds[j]].astype(np.int64))
        c0, c1, c2, c3 = coefficients[table, knot].unbind(-1)
        curved, u = (place >= 0.0).to(x.dtype), place - knot
        w = torch.from_numpy(pair_weights(b, s)[i, j])
        energy.append((w * (c0 + u * (c1 + curved * u * (c2 + u * c3)))).sum())
        slope = w * (c1 + curved * u * (2.0 * c2 + 3.0 * u * c3)) / t.spacing
        pair = -2.0 * slope[:, None] * d
        total = total.index_add(0, begin + i, pair).index_add(0, begin + j, -pair)
        virial.append(d.T @ pair)
    return torch.stack(energy), total, torch.stack(virial)


def _half_chain(k2, places, rates, q, n_dof, kT, delta):
    """The half chain update of Nosé-Hoover chains, written out; returns the velocity scale, places and rates."""
    rates, last = list(rates), len(rates) - 1

    def push(j):
        pull = (k2 - n_dof * kT) / q[0] if j == 0 else (q[j - 1] * rates[j - 1] ** 2 - kT) / q[j]
        friction = 1.0 if j == last else torch.exp(-rates[j + 1] * delta / 4)
        rates[j] = (rates[j] * friction + pull * delta / 2) * friction

    for j in range(last, -1, -1):
        push(j)
    scale = torch.exp(-rates[0] * delta)
    k2, places = k2 * scale**2, places + torch.stack(rates) * delta
    for j in range(last + 1):
        push(j)
    return scale, places, torch.stack(rates)


def run(x, v, chain, coefficients, b, t, stepper, n_steps):
    """Every state of a run in torch, differentiable: positions, velocities and chains, the start first."""
    dt, m = stepper.timestep, torch.from_numpy(b.masses)[:, None]
    idx = torch.from_numpy(np.repeat(np.arange(b.n_systems), np.diff(b.offsets)))
    atom = torch.arange(len(x)) - torch.from_numpy(b.offsets)[idx]
    seeds = torch.from_numpy(stepper.seeds.astype(np.int64))
    decay = torch.from_numpy(np.exp(-stepper.friction * dt))[idx][:, None]
    kT = torch.from_numpy(stepper.kT)[idx][:, None]
    f = pair_sums(x, coefficients, b, t)[1]
    states = [(x, v, chain)]

    def thermostat(v, chain):
        scales, after = [], []
        for s in range(b.n_systems):
            k2 = (m * v * v)[idx == s].sum()
            settings = stepper.chain_masses[s], stepper.n_dof[s], stepper.kT[s], dt / 2
            scale, *moved = _half_chain(k2, *chain[s], *settings)
            scales.append(scale)
            after.append(torch.stack(moved))
        return v * torch.stack(scales)[idx][:, None], torch.stack(after)

    for step in range(n_steps):
        if stepper.kind == NOSE_HOOVER:
            v, chain = thermostat(v, chain)
        v = v + dt / 2 * f / m
        if stepper.kind == LANGEVIN:
            x = x + dt / 2 * v
            noise = philox_normal(seeds, idx, atom, stepper.first_step + step)
            v = decay * v + torch.sqrt(kT * (1 - decay**2) / m) * noise
            x = x + dt / 2 * v
        else:
            x = x + dt * v
        f = pair_sums(x, coefficients, b, t)[1]
        v = v + dt / 2 * f / m
        if stepper.kind == NOSE_HOOVER:
            v, chain = thermostat(v, chain)
        states.append((x, v, chain))
    return states


def thermo(x, v, chain, coefficients, b, t, stepper):
    """Potential energy, sum over pairs of r.F and conserved energy of a state, `(n_systems, 3)`."""
    energy, _, virial = pair_sums(x, coefficients, b, t)
    idx = torch.from_numpy(np.repeat(np.arange(b.n_systems), np.diff(b.offsets)))
    kinetic = torch.zeros_like(energy).index_add(0, idx, 0.5 * torch.from_numpy(b.masses) * (v * v).sum(-1))
    (places, rates), masses = chain.unbind(1), torch.from_numpy(stepper.chain_masses)
    bath = (0.5 * masses * rates**2).sum(-1)
    if stepper.kind == NOSE_HOOVER:
        kT, n_dof = torch.from_numpy(stepper.kT), torch.from_numpy(stepper.n_dof)
        bath = bath + kT * (n_dof * places[:, 0] + places[:, 1:].sum(-1))
    return torch.stack([energy, virial.diagonal(dim1=1, dim2=2).sum(-1), energy + kinetic + bath], -1)


def gas(*, skewed=True, n_frames=2):
    """Frames of two systems, one of them skewed: positions in and around the cell, some atoms left out; channels."""
    generator = torch.Generator().manual_seed(0)
    cell = torch.stack([7.0 * torch.eye(3, dtype=torch.float64)] * 2)
    if skewed:
        cell[1] += torch.tensor([[1.0, 0, 0], [2.0, 0.5, 0], [-1.0, 1.0, 1.0]])
    offsets = torch.tensor([0, 30, 54])
    system = torch.bucketize(torch.arange(54), offsets[1:], right=True)
    scaled = 3.0 * torch.rand(n_frames, 54, 3, generator=generator, dtype=torch.float64) - 1.0
    positions = (scaled[:, :, None] @ cell[system])[:, :, 0]
    return positions, cell, offsets, torch.arange(54) % 3 - 1, torch.tensor([[0, 1], [1, -1]])


def distances(positions, cell, offsets, types, channels, exclusions=None):
    """System, channel and distance of the pairs of a frame, in all images next to the nearest, less excluded ones."""
    images = torch.tensor(list(itertools.product((-1.0, 0.0, 1.0), repeat=3)), dtype=torch.float64)
    for s in range(len(cell)):
        begin, end = int(offsets[s]), int(offsets[s + 1])
        i, j = (torch.from_numpy(k) + begin for k in np.triu_indices(end - begin, 1))
        channel = torch.where((types[i] < 0) | (types[j] < 0), -1, channels[types[i], types[j]])
        i, j, channel = i[channel >= 0], j[channel >= 0], channel[channel >= 0]
        d = positions[i] - positions[j]
        d = d - torch.round(d.detach() @ torch.linalg.inv(cell[s])) @ cell[s]
        r = torch.linalg.vector_norm(d[:, None] - images @ cell[s], dim=-1)
        counted = torch.ones_like(r, dtype=torch.bool)
        if exclusions is not None:
            first, partner, weight = exclusions
            owner = np.repeat(np.arange(len(first) - 1), np.diff(first))
            pairs = set(zip(owner[weight == 0], partner[weight == 0], strict=True))
            out = torch.tensor([pair in pairs for pair in zip(i.tolist(), j.tolist(), strict=True)], dtype=torch.bool)
            counted[out, r.detach().argmin(1)[out]] = False
        yield s, channel[:, None].expand_as(r)[counted], r[counted]
