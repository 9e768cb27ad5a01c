"""VOTCA's tables, operators and settings: what `csg_inverse` computed, callable from Python."""

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
from asediff.votca.tables import Table, VotcaError, grid_points, read_table, write_table

__all__ = [
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
    "pressure_simple",
    "pressure_wjk",
    "read_table",
    "resample",
    "resample_target",
    "scale",
    "shift_bonded",
    "shift_nonbonded",
    "smooth",
    "splinesmooth",
    "update_ibi_pot",
    "write_table",
]
