"""What a `System` must be: shapes, types and values, each refusal with its remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from ase.data import chemical_symbols
from torch import Tensor

# Smallest determinant of the Gram matrix of the normalised periodic lattice vectors that counts as a lattice.
_FLAT = 1e-12


def periodic_heights(cell: Tensor, pbc: Tensor) -> Tensor:
    """Return the distance between the lattice planes along each periodic direction.

    With all directions periodic this is volume / area of the opposite face. Directions that are not periodic
    do not count: the planes are those of the lattice that the periodic vectors span. The height along i is
    1 / sqrt((G^-1)_ii) with the Gram matrix G of the periodic vectors.

    Args:
        cell: `(n_systems, 3, 3)`, length; rows are the lattice vectors.
        pbc: `(n_systems, 3)` bool.

    Returns:
        `(n_systems, 3)` float64, length; infinite where not periodic, nan where the periodic vectors span no
        lattice.
    """
    cell = cell.detach().double()
    lengths = cell.norm(dim=2)
    directions = cell / torch.where(lengths > 0, lengths, 1.0)[:, :, None]
    identity = torch.eye(3, dtype=cell.dtype, device=cell.device)
    both = pbc[:, :, None] & pbc[:, None, :]
    gram = torch.where(both, directions @ directions.transpose(1, 2), identity)
    flat = ((lengths == 0) & pbc).any(1) | (torch.linalg.det(gram) < _FLAT)
    gram = torch.where(flat[:, None, None], identity, gram)
    heights = lengths / torch.linalg.inv(gram).diagonal(dim1=1, dim2=2).sqrt()
    heights = torch.where(flat[:, None], torch.nan, heights)
    return torch.where(pbc, heights, torch.inf)


def check_layout(values: Mapping[str, Tensor]) -> None:
    """Refuse tensors whose shapes, types or devices do not fit together.

    Args:
        values: All fields of a `System` by name.

    Raises:
        ValueError: On the first misfit.
    """
    positions = values["positions"]
    for name, value in values.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name}: a {type(value).__name__} is not a torch.Tensor; use torch.as_tensor")
        if value.device != positions.device:
            raise ValueError(
                f"{name}: on {value.device} while positions are on {positions.device}; move all tensors to one device"
            )
    n = positions.shape[0] if positions.ndim else 0
    m = values["cell"].shape[0] if values["cell"].ndim else 0
    if n == 0 or m == 0:
        raise ValueError(f"positions: {n} atoms in {m} systems; a System holds at least one atom in one system")
    real = positions.dtype if positions.is_floating_point() else torch.float64
    wanted: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
        "positions": ((n, 3), real),
        "velocities": ((n, 3), real),
        "masses": ((n,), real),
        "numbers": ((n,), torch.int64),
        "cell": ((m, 3, 3), real),
        "pbc": ((m, 3), torch.bool),
        "system_idx": ((n,), torch.int64),
    }
    for name, (shape, dtype) in wanted.items():
        value = values[name]
        if tuple(value.shape) != shape:
            raise ValueError(f"{name}: shape {tuple(value.shape)} does not fit {n} atoms in {m} systems; give {shape}")
        if value.dtype != dtype:
            raise ValueError(f"{name}: type {value.dtype} instead of {dtype}; convert it with .to({dtype})")


def check_values(values: Mapping[str, Tensor], names: Iterable[str]) -> None:
    """Refuse values that describe no physical system.

    Args:
        values: All fields of a `System` by name, with shapes and types that fit.
        names: The fields to look at.

    Raises:
        ValueError: On the first field that is refused.
    """
    names = set(names)
    for name in ("positions", "velocities", "masses", "cell"):
        if name in names and not bool(torch.isfinite(values[name]).all()):
            row = int((~torch.isfinite(values[name])).flatten(1 if values[name].ndim > 1 else 0).nonzero()[0, 0])
            raise ValueError(f"{name}: row {row} is {values[name][row].tolist()}, not finite; give finite numbers")
    if "masses" in names and not bool((values["masses"] > 0).all()):
        row = int(values["masses"].argmin())
        raise ValueError(f"masses: atom {row} has {float(values['masses'][row])}; give masses above zero")
    if "numbers" in names:
        low, high = int(values["numbers"].min()), int(values["numbers"].max())
        if low < 0 or high >= len(chemical_symbols):
            value = low if low < 0 else high
            raise ValueError(f"numbers: {value} is no element; use 0 ... {len(chemical_symbols) - 1}")
    if "system_idx" in names:
        _check_system_idx(values["system_idx"], n_systems=len(values["cell"]))
    if names & {"cell", "pbc"}:
        flat = torch.isnan(periodic_heights(values["cell"], values["pbc"])).any(1)
        if bool(flat.any()):
            k = int(flat.nonzero()[0])
            raise ValueError(
                f"cell: system {k} is periodic along lattice vectors that are zero or span no lattice, "
                f"{values['cell'][k].tolist()}; give a cell, or pbc=False along them"
            )


def _check_system_idx(system_idx: Tensor, *, n_systems: int) -> None:
    falls = system_idx[1:] < system_idx[:-1]
    if bool(falls.any()):
        row = int(falls.nonzero()[0]) + 1
        raise ValueError(f"system_idx: falls at atom {row}; sort the atoms by system")
    low, high = int(system_idx[0]), int(system_idx[-1])
    if low < 0 or high >= n_systems:
        raise ValueError(f"system_idx: runs from {low} to {high} in {n_systems} systems; use 0 ... {n_systems - 1}")
    empty = torch.bincount(system_idx, minlength=n_systems) == 0
    if bool(empty.any()):
        k = int(empty.nonzero()[0])
        raise ValueError(f"system_idx: system {k} has no atoms; drop its cell or give it atoms")
