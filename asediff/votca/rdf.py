"""g(r) in VOTCA's convention: bins centred on the grid points, exact shells, N squared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from ase import Atoms
from ase.cell import Cell
from numpy.typing import ArrayLike, NDArray

from asediff.kernels.shells import per_pair, shell_volumes
from asediff.tabular.rows import FloatArray, Grid, Table, VotcaError, as_grid

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
    counts = np.zeros(len(points), dtype=np.int64)
    volumes: list[float] = []
    sizes = (0, 0)
    for k, atoms in enumerate(_frames(frames, cell, types)):
        lattice = atoms.cell.array * length_scale
        _check_lattice(lattice, points[-1], k)
        a = _select(atoms, type1, k)
        b = a if like else _select(atoms, second, k)
        if not like and len(np.intersect1d(a, b)):
            raise VotcaError(f"rdf: types '{type1}' and '{second}' share beads; give two different types or one")
        sizes = sizes if volumes else (len(a), len(b))
        if sizes != (len(a), len(b)):
            raise VotcaError(
                f"rdf: frame {k + 1} has {len(a)} and {len(b)} beads of the two types, the first frame "
                f"{sizes[0]} and {sizes[1]}; use frames of one system"
            )
        distances = _distances(atoms.positions * length_scale, lattice, a, None if like else b, points[-1] + step)
        counts += _histogram(distances, points)
        volumes.append(abs(float(np.linalg.det(lattice))))
    if not volumes:
        raise VotcaError("rdf: no frames; check the trajectory, first_frame and the reader")
    if not counts.any():
        raise VotcaError(
            f"rdf: the histogram of {type1}-{second} is all zero: no pair closer than {points[-1]:.10g} in "
            f"{len(volumes)} frame(s); check lengths (length_scale), types and grid"
        )
    low = points - 0.5 * step
    factor = per_pair(np.mean(volumes), *sizes, like=like) / len(volumes)
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


def _histogram(distances: FloatArray, points: FloatArray) -> IndexArray:
    width = (points[-1] - points[0]) / (len(points) - 1.0)
    index = np.floor((distances - points[0]) / width + 0.5).astype(np.int64)
    return np.bincount(index[(index >= 0) & (index < len(points))], minlength=len(points))


def _frames(frames: Any, cell: ArrayLike | None, types: ArrayLike | None) -> Iterator[Atoms]:
    if hasattr(frames, "to_atoms"):
        frames = frames.to_atoms()
    if isinstance(frames, Atoms) or (isinstance(frames, tuple) and _is_position_pair(frames)):
        frames = [frames]
    if isinstance(frames, np.ndarray) or cell is not None:
        frames = _with_cells(np.asarray(frames, dtype=np.float64), cell)
    for k, frame in enumerate(frames):
        atoms = frame if isinstance(frame, Atoms) else Atoms(positions=frame[0], cell=frame[1], pbc=True)
        if not atoms.pbc.all():
            raise VotcaError(f"rdf: frame {k + 1} is not periodic; set cell and pbc=True")
        if types is not None:
            names = np.array([str(t) for t in np.asarray(types)])
            if len(names) != len(atoms):
                raise VotcaError(f"rdf: frame {k + 1} has {len(atoms)} beads; `types` must have one entry for each")
            atoms = Atoms(positions=atoms.positions, cell=atoms.cell, pbc=True)
            atoms.arrays["bead_type"] = names
        yield atoms


def _is_position_pair(frame: tuple[Any, ...]) -> bool:
    return len(frame) == 2 and not isinstance(frame[0], (Atoms, tuple)) and np.ndim(frame[0]) == 2


def _with_cells(positions: FloatArray, cell: ArrayLike | None) -> list[tuple[FloatArray, FloatArray]]:
    if cell is None:
        raise VotcaError("rdf: positions were given without `cell`; add cell=(3,) edges or (3, 3) lattice vectors")
    positions = positions.reshape(-1, *positions.shape[-2:])
    cells = np.asarray(cell, dtype=np.float64)
    if cells.ndim < 3:
        cells = np.broadcast_to(cells, (len(positions), *cells.shape))
    if len(cells) != len(positions):
        raise VotcaError(f"rdf: {len(cells)} cells for {len(positions)} frames; give one cell or one per frame")
    return list(zip(positions, cells, strict=True))


def _select(atoms: Atoms, wanted: Any, frame: int) -> IndexArray:
    """Beads of a type: by name, LAMMPS type (also as VOTCA names it), chemical symbol or atomic number."""
    if wanted is None or str(wanted) == "*":
        return np.arange(len(atoms), dtype=np.int64)
    names = [atoms.arrays[key].astype(str) for key in ("bead_type", "type") if key in atoms.arrays]
    if "type" in atoms.arrays:
        names.append(np.char.add("Bead", names[-1]))
    names += [np.array(atoms.get_chemical_symbols()), atoms.numbers.astype(str)]
    for values in names:
        chosen = np.flatnonzero(values == str(wanted))
        if len(chosen):
            return chosen.astype(np.int64)
    known = ", ".join(sorted(set(names[0])))
    raise VotcaError(f"rdf: no bead of type '{wanted}' in frame {frame + 1}; types there: {known or 'none'}")


def _height(lattice: FloatArray) -> float:
    """The smallest distance of opposite faces."""
    return float(1.0 / Cell(lattice).reciprocal().lengths().max())


def _check_lattice(lattice: FloatArray, maximum: float, frame: int) -> None:
    if not abs(np.linalg.det(lattice)) > 0:
        raise VotcaError(f"rdf: frame {frame + 1} has no volume; set the cell")
    height = _height(lattice)
    if maximum > 0.5 * height:
        raise VotcaError(
            f"rdf: max = {maximum:.10g} exceeds half of the shortest box height {height:.10g} in frame {frame + 1}; "
            "reduce max, use a larger box, or check length_scale"
        )


def _distances(
    positions: FloatArray, lattice: FloatArray, a: IndexArray, b: IndexArray | None, cutoff: float
) -> FloatArray:
    """Minimum-image distances of all distinct pairs closer than about `cutoff`."""
    from vesin import NeighborList  # imports torch, which a file that is refused need not wait for

    i, j, d = NeighborList(cutoff=float(cutoff), full_list=False).compute(
        points=positions, box=lattice, periodic=True, quantities="ijd"
    )
    group = np.zeros(len(positions), dtype=np.int64)
    group[a] = 1
    if b is not None:
        group[b] = 2
    wanted = (group[i] * group[j] == (1 if b is None else 2)) & (i != j)
    i, j, d = i[wanted].astype(np.int64), j[wanted].astype(np.int64), d[wanted]
    if 2.0 * cutoff < _height(lattice):  # no pair has two images so near
        return np.asarray(d, dtype=np.float64)
    order = np.argsort(d, kind="stable")
    pair = np.minimum(i, j) * len(positions) + np.maximum(i, j)
    _, nearest = np.unique(pair[order], return_index=True)
    return np.asarray(d[order][nearest], dtype=np.float64)
