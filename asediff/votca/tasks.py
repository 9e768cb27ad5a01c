"""The tasks of one iteration, on tables rounded as VOTCA's files round them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from asediff.votca.operators import (
    FILE_DIGITS,
    add,
    convergence,
    extrapolate_potential,
    resample,
    resample_target,
    scale,
    shift_nonbonded,
    smooth,
    splinesmooth,
    update_ibi_pot,
)
from asediff.votca.pressure import pressure_simple, pressure_wjk
from asediff.votca.settings import Interaction
from asediff.votca.tables import Table, VotcaError, read_table, write_table

SCRIPT_DIGITS = 15
"""Significant digits that VOTCA's scripts write."""


def save(folder: Path, name: str, table: Table) -> Table:
    """Write a table as VOTCA's scripts do and return it as a reader would see it."""
    write_table(folder / name, table, digits=SCRIPT_DIGITS)
    return table.rounded(SCRIPT_DIGITS)


def shell_number(value: float) -> str:
    """Return a number as VOTCA's shell arithmetic prints it: whole, or with 6 significant digits."""
    return str(int(value)) if value == int(value) else f"{value:.6g}"


def is_on(cycle: tuple[int, ...], step: int) -> bool:
    """Tell whether a cycle such as ``1 0 0`` is on in a step, counted from 1."""
    return cycle[(step - 1) % len(cycle)] == 1


def target_table(item: Interaction, main: Path, folder: Path) -> Table:
    """Return ``NAME.dist.tgt``, made from the target in the main folder and written to the step's folder."""
    source = read_table(main / item.target, uniform=False)
    return save(folder, f"{item.name}.dist.tgt", resample_target(source, item.grid))


def raw_update(item: Interaction, main: Path, folder: Path, step: int, new: Table, cur: Table, kT: float) -> Table:
    """Return the shifted raw update, or zeros where `do_potential` skips this step."""
    if not is_on(item.do_potential, step):
        zeros = Table(item.x, np.zeros(len(item.x))).rounded(FILE_DIGITS)
        return save(folder, f"{item.name}.dpot.new", zeros)
    target = target_table(item, main, folder)
    raw = save(folder, f"{item.name}.dpot.pure_ibi", update_ibi_pot(target, new, cur, kT))
    return save(folder, f"{item.name}.dpot.new", shift_nonbonded(raw))


def post_update(
    item: Interaction, folder: Path, step: int, update: Table, new: Table, pressure: float | None, kT: float
) -> Table:
    """Apply the post_update tasks in the listed order, then a shift; each input is kept as ``NAME.dpot.k``."""
    for k, task in enumerate((*item.post_update, "shift"), start=1):
        save(folder, f"{item.name}.dpot.{k}", update)
        update = save(folder, f"{item.name}.dpot.new", _updated(task, item, folder, step, update, new, pressure, kT))
    return update


def _updated(
    task: str,
    item: Interaction,
    folder: Path,
    step: int,
    update: Table,
    new: Table,
    pressure: float | None,
    kT: float,
) -> Table:
    if task == "scale":
        return scale(update, item.scale)
    if task == "smooth":
        for _ in range(item.smooth_iterations):
            update = smooth(update).rounded(SCRIPT_DIGITS)
        return update
    if task == "splinesmooth":
        return splinesmooth(update, float(item.splinesmooth_step or 0), grid=item.grid)
    if task == "extrapolate":
        return extrapolate_potential(update, item.extrapolate_points)
    if task == "shift":
        return shift_nonbonded(update)
    if task == "pressure":
        return _pressure_corrected(item, folder, step, update, new, pressure, kT)
    return update


def _pressure_corrected(
    item: Interaction, folder: Path, step: int, update: Table, new: Table, pressure: float | None, kT: float
) -> Table:
    if pressure is not None:
        (folder / f"{item.name}.pressure").write_text(f"Pressure={pressure:.16f}\n")
    if not is_on(item.pressure.do, step):
        return update
    if pressure is None:
        raise VotcaError(
            f"{folder.name}: the task pressure of {item.name} needs the pressure of the simulation; let simulate "
            "return (frames, pressure)"
        )
    options, target = item.pressure, float(item.p_target or 0)
    if options.type == "simple":
        ramp = pressure_simple(pressure, target, kT, item.grid, float(options.scale or 0), options.max_A)
    else:
        ramp = pressure_wjk(
            pressure,
            target,
            kT,
            item.grid,
            float(item.particle_dens or 0),
            new,
            1.0 if options.scale is None else options.scale,
            options.max_A,
        )
    ramp = save(folder, f"{item.name}.pressure_correction", ramp)
    return add(update, resample(ramp, item.grid))


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
