"""VOTCA's tables, operators and settings: what `csg_inverse` computed, callable from Python."""

from asediff.tabular.operators import (
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
from asediff.tabular.rows import Table, VotcaError, grid_points
from asediff.votca.lammps import LammpsTable, lammps_table, read_lammps_table, write_lammps_table
from asediff.votca.mapping import Mapping, map_frames, read_mapping
from asediff.votca.pressure import pressure_simple, pressure_wjk
from asediff.votca.rdf import rdf
from asediff.votca.reading import read_settings
from asediff.votca.run import RunResult, run_ibi
from asediff.votca.settings import Interaction, Settings
from asediff.votca.simulation import LammpsSimulation
from asediff.votca.tables import read_table, write_table
from asediff.votca.trajectory import read_frames, read_pressure

__all__ = [
    "Interaction",
    "LammpsSimulation",
    "LammpsTable",
    "Mapping",
    "RunResult",
    "Settings",
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
    "map_frames",
    "pressure_simple",
    "pressure_wjk",
    "rdf",
    "read_frames",
    "read_lammps_table",
    "read_mapping",
    "read_pressure",
    "read_settings",
    "read_table",
    "resample",
    "resample_target",
    "run_ibi",
    "scale",
    "shift_bonded",
    "shift_nonbonded",
    "smooth",
    "splinesmooth",
    "update_ibi_pot",
    "write_lammps_table",
    "write_table",
]
