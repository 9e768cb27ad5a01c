"""One interaction in one iteration: the updates of `IBI`, with VOTCA's files and their rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from asediff.tabular.operators import (
    FILE_DIGITS,
    convergence,
    resample,
    resample_target,
    shift_nonbonded,
    update_ibi_pot,
)
from asediff.tabular.rows import Table, VotcaError
from asediff.tabular.tasks import Conditions, apply_tasks, is_on
from asediff.votca.lammps import write_lammps_table
from asediff.votca.settings import Interaction
from asediff.votca.tables import read_table, write_table

SCRIPT_DIGITS = 15
"""Significant digits that VOTCA's scripts write."""


def save(folder: Path, name: str, table: Table) -> Table:
    """Write a table as VOTCA's scripts do and return it as a reader would see it."""
    write_table(folder / name, table, digits=SCRIPT_DIGITS)
    return table.rounded(SCRIPT_DIGITS)


def shell_number(value: float) -> str:
    """Return a number as VOTCA's shell arithmetic prints it: whole, or with 6 significant digits."""
    return str(int(value)) if value == int(value) else f"{value:.6g}"


def write_table_of(item: Interaction, folder: Path, potential: Table) -> None:
    """Write the table that the LAMMPS script reads for an interaction, where the settings name one."""
    options = item.lammps
    if options.table is not None:
        same = ("table_begin", "table_end", "table_bins", "scale", "y_scale")
        write_lammps_table(
            folder / options.table,
            potential,
            step=item.step,
            left=options.table_left_extrapolation,
            right=options.table_right_extrapolation,
            **{name: getattr(options, name) for name in same},
        )


def target_table(item: Interaction, main: Path, folder: Path) -> Table:
    """Return ``NAME.dist.tgt``, made from the target in the main folder and written to the step's folder."""
    source = read_table(main / item.target, uniform=False)
    return save(folder, f"{item.name}.dist.tgt", resample_target(source, item.grid))


def update_of(
    item: Interaction,
    main: Path,
    folder: Path,
    step: int,
    new: Table,
    current: Table,
    pressure: float | None,
    kT: float,
) -> Table:
    """Return what is added to the potential of an interaction, and write all on the way to it.

    That is the raw update, or zeros where `do_potential` skips this step, after the tasks of ``post_update``.

    Args:
        item: the interaction.
        main: folder with its target.
        folder: of the step.
        step: its number.
        new: g(r) of the simulation.
        current: potential of the simulation.
        pressure: of the simulation, where it is known.
        kT: energy.

    Raises:
        VotcaError: tables that do not fit, or a task without what it needs.
    """

    def record(name: str | None, table: Table) -> Table:
        if name is None:
            return table.rounded(SCRIPT_DIGITS)
        table = save(folder, f"{item.name}.{name}", table)
        return resample(table, item.grid) if name == "pressure_correction" else table  # by a compiled program

    if is_on(item.do_potential, step - 1):
        raw = record("dpot.pure_ibi", update_ibi_pot(target_table(item, main, folder), new, current, kT))
        update = record("dpot.new", shift_nonbonded(raw))
    else:
        update = record("dpot.new", Table(item.x, np.zeros(len(item.x))).rounded(FILE_DIGITS))
    if "pressure" in item.post_update:
        if pressure is not None:
            (folder / f"{item.name}.pressure").write_text(f"Pressure={pressure:.16f}\n")
        elif is_on(item.pressure.do, step - 1):
            raise VotcaError(
                f"{folder.name}: the task pressure of {item.name} needs the pressure of the simulation; let simulate "
                "return (frames, pressure)"
            )
    density = np.nan if item.particle_dens is None else item.particle_dens
    known = np.nan if pressure is None else pressure
    return apply_tasks(item.tasks, update, Conditions(step - 1, kT, density, known, item.p_target, new.y, record))


def measure_convergence(item: Interaction, main: Path, folder: Path, potential: Table) -> float:
    """Write ``NAME.WHAT.conv`` and ``NAME.conv`` and return the weighted sum, as VOTCA prints it."""
    options, total = item.convergence, "0"
    for what, base, norm, weight in zip(options.what, options.base, options.norm, options.weight, strict=True):
        if what == "pot":
            difference = convergence(read_table(folder / f"{item.name}.pot.{base}"), potential, int(norm))
        else:
            path = folder / f"{item.name}.dist.tgt"
            target = read_table(path) if path.is_file() else target_table(item, main, folder)
            new = read_table(folder / f"{item.name}.dist.new")
            new = resample(new, item.grid)
            difference = convergence(target, new, int(norm))
        text = f"{difference:.{SCRIPT_DIGITS}g}"
        (folder / f"{item.name}.{what}.conv").write_text(text + "\n")
        total = shell_number(float(total) + float(shell_number(weight * float(text))))
    (folder / f"{item.name}.conv").write_text(total + "\n")
    return float(total)
