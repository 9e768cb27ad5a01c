"""What a finished stage leaves: numbers and arrays in one HDF5 file; where it is, the stage has finished."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asediff.host.files import write_whole

RESULTS = "results.h5"
UNITS = "units"

Scalar = float | int | bool | str


class ResultsError(ValueError):
    """Results that are missing or cannot be read; one line with the file, the reason and the remedy."""


@dataclass(frozen=True, eq=False)
class Results:
    """Numbers and arrays of a stage.

    Attributes:
        scalars: the unit is part of the name: `pressure_bar`, `seconds`, `temperature_K`.
        arrays: any shape.
        units: of the arrays, by name; `1` for pure numbers.
    """

    scalars: Mapping[str, Scalar] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.arrays.keys() != self.units.keys():
            odd = ", ".join(sorted(self.arrays.keys() ^ self.units.keys()))
            raise ValueError(f"units: arrays and units do not have the same names ({odd}); give a unit for each array")

    @staticmethod
    def finished(folder: str | Path) -> bool:
        """Whether a stage has finished in a folder."""
        return (Path(folder) / RESULTS).is_file()

    def write(self, folder: str | Path) -> Path:
        """Write `results.h5` in one step; returns its path.

        Raises:
            FileError: the system refused; an earlier file is as it was.
        """
        import h5py

        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            for name, value in self.scalars.items():
                file.attrs[name] = value
            for name, array in self.arrays.items():
                dataset = file.create_dataset(name, data=np.asarray(array))
                dataset.attrs[UNITS] = self.units[name]
        path = Path(folder) / RESULTS
        write_whole(path, buffer.getvalue())
        return path

    @classmethod
    def load(cls, folder: str | Path) -> Results:
        """Read the results of a finished stage.

        Raises:
            ResultsError: it has not finished, or the file is damaged.
        """
        import h5py

        path = Path(folder) / RESULTS
        if not path.is_file():
            raise ResultsError(f"{path}: no such file; the stage has not finished, run it first")
        try:
            with h5py.File(path, "r") as file:
                scalars = {name: _plain(value) for name, value in file.attrs.items()}
                arrays = {name: dataset[()] for name, dataset in file.items()}
                units = {name: str(dataset.attrs[UNITS]) for name, dataset in file.items()}
        except (OSError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise ResultsError(f"{path}: no results of a stage ({reason}); remove it and run the stage again") from None
        return cls(scalars, arrays, units)


def _plain(value: object) -> Scalar:
    """An attribute as Python's own number or text."""
    found = value.item() if isinstance(value, np.generic) else value
    assert isinstance(found, float | int | bool | str)
    return found
