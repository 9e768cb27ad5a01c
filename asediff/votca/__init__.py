"""VOTCA's tables, operators and settings: what `csg_inverse` computed, callable from Python."""

from asediff.votca.lammps import LammpsTable, lammps_table, read_lammps_table, write_lammps_table
from asediff.votca.operators import (
    add,
    boltzmann_invert,
    convergence,
    extrapolate,
    extrapolate_potential,
    given_potential,
    initial_potential,
    resample,
    resample_target,
    scale,
    shift_bonded,
    shift_nonbonded,
    smooth,
    splinesmooth,
    update_ibi_pot,
)
from asediff.votca.pressure import pressure_simple, pressure_wjk
from asediff.votca.rdf import rdf
from asediff.votca.tables import Table, VotcaError, grid_points, read_table, write_table

__all__ = [
    "LammpsTable",
    "Table",
    "VotcaError",
    "add",
    "boltzmann_invert",
    "convergence",
    "extrapolate",
    "extrapolate_potential",
    "given_potential",
    "grid_points",
    "initial_potential",
    "lammps_table",
    "pressure_simple",
    "pressure_wjk",
    "rdf",
    "read_lammps_table",
    "read_table",
    "resample",
    "resample_target",
    "scale",
    "shift_bonded",
    "shift_nonbonded",
    "smooth",
    "splinesmooth",
    "update_ibi_pot",
    "write_lammps_table",
    "write_table",
]
