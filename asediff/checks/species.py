"""Names of species and of their pairs."""

from __future__ import annotations

from ase.data import atomic_numbers


def pair_name(first: str, second: str) -> str:
    """Name of a pair of species, such as `Ar-Kr`, lighter element first.

    Raises:
        ValueError: a name is not a chemical symbol.
    """
    for symbol in (first, second):
        if symbol not in atomic_numbers:
            raise ValueError(f"pair: {symbol!r} is not a chemical symbol; name a bead after an element, such as 'O'")
    return "-".join(sorted((first, second), key=lambda symbol: atomic_numbers[symbol]))
