"""g(r) in VOTCA's convention: bins centred on the grid points, exact shells, N squared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray
from vesin import NeighborList

from asediff.fitting.tables.rows import FloatArray, Grid, Table, VotcaError, as_grid
from asediff.kernels.cpu.space import cell_heights
from asediff.kernels.shells import per_pair, shell_volumes

Frame = tuple[FloatArray, FloatArray, dict[str, NDArray[Any]]]
IndexArray = NDArray[np.int64]


def rdf(
    frames: Atoms | Iterable[Any] | ArrayLike,
    grid: Grid | Table,
    type1: Any = None,
    type2: Any = None,
    *,
    cell: ArrayLike | None = None,
    types: ArrayLike | None = None,
    length_scale: float = 1.0,
) -> Table:
    """Return g(r) averaged over frames, as VOTCA's `csg_stat` computes it.

    Row i counts the pairs with r in [x_i - step/2, x_i + step/2), so the last bin reaches beyond max by half a
    step; rows whose lower edge is negative are 0. With the mean number n_i of distinct pairs per frame and the
    mean volume V,

        g_i = V c n_i / (4/3 pi (r_high^3 - r_low^3)),  c = 2/N^2 (like) or 1/(N_1 N_2) (unlike pairs).

    Args:
        frames: one or many `ase.Atoms`; or `(positions, cell)` pairs; or positions `(n_frames, n_atoms, 3)` or
            `(n_atoms, 3)` with `cell`.
        grid: ``(min, step, max)`` in the unit of the scaled lengths, ``"min:step:max"``, points or a table.
        type1: type of the first bead: bead name, LAMMPS type or chemical symbol; None or ``"*"`` for all beads.
        type2: type of the second bead, `type1` when omitted.
        cell: `(3,)` edges, `(3, 3)` or `(n_frames, 3, 3)` lattice vectors, for frames given as positions.
        types: `(n_atoms,)` types, in place of those of the frames.
        length_scale: factor applied to positions and cells (0.1 from Å to nm).

    Raises:
        VotcaError: no frame, a type that does not occur, max above half of the box, or no pair in range.
    """
    points, step = _bins(grid)
    second = type1 if type2 is None else type2
    like = str(type1) == str(second)
    counts = np.zeros(len(points))
    volume, n_frames = 0.0, 0
    sizes = (0, 0)
    for positions, lattice, names in _frames(frames, cell, types):
        lattice = lattice * length_scale
        _check_lattice(lattice, points[-1], n_frames)
        a = _select(names, type1, n_frames)
        b = a if like else _select(names, second, n_frames)
        if not like and len(np.intersect1d(a, b)):
            raise VotcaError(f"rdf: types '{type1}' and '{second}' share beads; give two different types or one")
        sizes = sizes if n_frames else (len(a), len(b))
        if sizes != (len(a), len(b)):
            raise VotcaError(
                f"rdf: frame {n_frames + 1} has {len(a)} and {len(b)} beads of the two types, the first frame "
                f"{sizes[0]} and {sizes[1]}; use frames of one system"
            )
        distances = _distances(positions * length_scale, lattice, a, None if like else b, points[-1] + step)
        n_frames += 1
        counts = ((n_frames - 1.0) * counts + _histogram(distances, points)) / n_frames
        volume += _volume(lattice)
    if not n_frames:
        raise VotcaError("rdf: no frames; check the trajectory, first_frame and the reader")
    if not counts.any():
        raise VotcaError(
            f"rdf: the histogram of {type1}-{second} is all zero: no pair closer than {points[-1]:.10g} in "
            f"{n_frames} frame(s); check lengths (length_scale), types and grid"
        )
    low = points - 0.5 * step
    factor = per_pair(volume / n_frames, *sizes, like=like)
    return Table(points, np.where(low < 0, 0.0, factor * counts / shell_volumes(low, low + step)))


def _bins(grid: Grid | Table) -> tuple[FloatArray, float]:
    """Bin centres and width; the width stays the given step where the centres are stretched to reach max."""
    points = as_grid(grid)
    stretched = (points[-1] - points[0]) / (len(points) - 1)
    if (np.abs(np.diff(points) - stretched) > 1e-3 * stretched).any():
        raise VotcaError("rdf: the grid is not uniform; give (min, step, max)")
    if isinstance(grid, str):
        return points, float(grid.split(":")[1])
    if isinstance(grid, (tuple, list)) and len(grid) == 3:
        return points, float(grid[1])
    return points, float(f"{stretched:.10g}")


def _histogram(distances: FloatArray, points: FloatArray) -> FloatArray:
    width = (points[-1] - points[0]) / (len(points) - 1.0)
    index = np.floor((distances - points[0]) / width + 0.5).astype(np.int64)
    index = index[(index >= 0) & (index < len(points))]
    return np.bincount(index, minlength=len(points)).astype(np.float64)


def _frames(frames: Any, cell: ArrayLike | None, types: ArrayLike | None) -> Iterator[Frame]:
    if hasattr(frames, "to_atoms"):
        frames = frames.to_atoms()
    if isinstance(frames, Atoms) or (isinstance(frames, tuple) and _is_position_pair(frames)):
        frames = [frames]
    if isinstance(frames, np.ndarray) or cell is not None:
        frames = _with_cells(np.asarray(frames, dtype=np.float64), cell)
    for k, frame in enumerate(frames):
        if isinstance(frame, Atoms):
            if not frame.pbc.all():
                raise VotcaError(f"rdf: frame {k + 1} is not periodic; set cell and pbc=True")
            positions, lattice, names = frame.get_positions(), frame.cell.array, _names(frame)
        else:
            positions = np.asarray(frame[0], dtype=np.float64)
            lattice = np.asarray(frame[1], dtype=np.float64)
            lattice = np.diag(lattice) if lattice.ndim == 1 else lattice
            names = {}
        if types is not None:
            names = {"types": np.array([str(t) for t in np.asarray(types)])}
        if names and len(next(iter(names.values()))) != len(positions):
            raise VotcaError(f"rdf: frame {k + 1} has {len(positions)} beads; `types` must have one entry for each")
        yield positions, lattice, names or {"": np.full(len(positions), "")}


def _is_position_pair(frame: tuple[Any, ...]) -> bool:
    return len(frame) == 2 and not isinstance(frame[0], (Atoms, tuple)) and np.ndim(frame[0]) == 2


def _with_cells(positions: FloatArray, cell: ArrayLike | None) -> list[tuple[FloatArray, FloatArray]]:
    if cell is None:
        raise VotcaError("rdf: positions were given without `cell`; add cell=(3,) edges or (3, 3) lattice vectors")
    if positions.ndim == 2:
        positions = positions[None]
    cells = np.asarray(cell, dtype=np.float64)
    if cells.ndim < 3:
        cells = np.broadcast_to(cells, (len(positions), *cells.shape))
    if len(cells) != len(positions):
        raise VotcaError(f"rdf: {len(cells)} cells for {len(positions)} frames; give one cell or one per frame")
    return list(zip(positions, cells, strict=True))


def _names(atoms: Atoms) -> dict[str, NDArray[Any]]:
    """Names under which beads can be selected, most specific first."""
    names: dict[str, NDArray[Any]] = {}
    if "bead_type" in atoms.arrays:
        names["bead name"] = atoms.arrays["bead_type"].astype(str)
    if "type" in atoms.arrays:
        names["LAMMPS type"] = atoms.arrays["type"].astype(str)
        names["LAMMPS type as VOTCA names it"] = np.char.add("Bead", atoms.arrays["type"].astype(str))
    names["chemical symbol"] = np.array(atoms.get_chemical_symbols())
    names["atomic number"] = atoms.numbers.astype(str)
    return names


def _select(names: dict[str, NDArray[Any]], wanted: Any, frame: int) -> IndexArray:
    if wanted is None or str(wanted) == "*":
        return np.arange(len(next(iter(names.values()))), dtype=np.int64)
    for values in names.values():
        chosen = np.flatnonzero(values == str(wanted))
        if len(chosen):
            return chosen.astype(np.int64)
    first = next(iter(names))
    known = ", ".join(sorted({str(v) for v in names[first]}))
    raise VotcaError(
        f"rdf: no bead of type '{wanted}' in frame {frame + 1}; {first or 'types'} there: {known or 'none'}"
    )


def _volume(lattice: FloatArray) -> float:
    return abs(float(np.linalg.det(lattice)))


def _check_lattice(lattice: FloatArray, maximum: float, frame: int) -> None:
    if not _volume(lattice) > 0:
        raise VotcaError(f"rdf: frame {frame + 1} has no volume; set the cell")
    height = cell_heights(lattice).min()
    if maximum > 0.5 * height:
        raise VotcaError(
            f"rdf: max = {maximum:.10g} exceeds half of the shortest box height {height:.10g} in frame {frame + 1}; "
            "reduce max, use a larger box, or check length_scale"
        )


def _distances(
    positions: FloatArray, lattice: FloatArray, a: IndexArray, b: IndexArray | None, cutoff: float
) -> FloatArray:
    """Minimum-image distances of all distinct pairs closer than about `cutoff`."""
    i, j, d = NeighborList(cutoff=float(cutoff), full_list=False).compute(
        points=positions, box=lattice, periodic=True, quantities="ijd"
    )
    group = np.zeros(len(positions), dtype=np.int64)
    group[a] = 1
    if b is not None:
        group[b] = 2
    wanted = (group[i] * group[j] == (1 if b is None else 2)) & (i != j)
    i, j, d = i[wanted].astype(np.int64), j[wanted].astype(np.int64), d[wanted]
    if 2.0 * cutoff < cell_heights(lattice).min():  # no pair has two images so near
        return np.asarray(d, dtype=np.float64)
    order = np.argsort(d, kind="stable")
    pair = np.minimum(i, j) * len(positions) + np.maximum(i, j)
    _, nearest = np.unique(pair[order], return_index=True)
    return np.asarray(d[order][nearest], dtype=np.float64)
