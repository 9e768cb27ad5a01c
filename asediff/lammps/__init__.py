"""Tables, files and runs of LAMMPS, and proof that an exported table is the potential."""

from typing import TYPE_CHECKING

from asediff._lazy import lazy

if TYPE_CHECKING:
    from asediff.lammps.data import read_data
    from asediff.lammps.engine import LammpsEngine
    from asediff.lammps.run import LammpsError, LammpsRun, find_lmp, lammps_input, run_lammps
    from asediff.lammps.tables import PairTable, read_tables, spline_tables, write_tables
    from asediff.lammps.verify import VerifyReport, verify_export

__all__ = [
    "LammpsEngine",
    "LammpsError",
    "LammpsRun",
    "PairTable",
    "VerifyReport",
    "find_lmp",
    "lammps_input",
    "read_data",
    "read_tables",
    "run_lammps",
    "spline_tables",
    "verify_export",
    "write_tables",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "asediff.lammps.data": "read_data",
        "asediff.lammps.engine": "LammpsEngine",
        "asediff.lammps.run": "LammpsError LammpsRun find_lmp lammps_input run_lammps",
        "asediff.lammps.tables": "PairTable read_tables spline_tables write_tables",
        "asediff.lammps.verify": "VerifyReport verify_export",
    },
)
