"""`asediff export`: a saved potential as LAMMPS files, verified."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from asediff.app.config.errors import ConfigError
from asediff.cli.common import add_thermal, check_inputs, check_timestep, say, structure, thermal_energy
from asediff.cli.output import named_by_output

KIND = "export"


def add_parser(commands: Any) -> None:
    """Describe the subcommand."""
    parser = commands.add_parser(
        "export",
        help="write a saved potential as LAMMPS table, data and input, and verify them",
        description="Write cg.table, cg.data and cg_nvt.lmp, and let LAMMPS prove on liquid frames that the table "
        "gives asediff's energies, forces and pressure.",
    )
    parser.add_argument("potential", help="potential.pt of a fit")
    parser.add_argument("structure", help="atoms in their cell; anything that ase.io.read takes")
    add_thermal(parser)
    parser.add_argument("--units", choices=("metal", "real", "lj"), default="metal", help="of the files; default metal")
    parser.add_argument("--timestep", type=float, required=True, metavar="T", help="fs (lj: reduced)")
    parser.add_argument("--frames", type=int, default=10, metavar="N", help="frames to verify on; default 10")
    parser.add_argument("--refine", type=int, default=8, metavar="N", help="table points per knot; default 8")
    parser.add_argument("-o", "--output", metavar="FOLDER", default="lammps", help="default lammps")
    parser.add_argument("--overwrite", action="store_true", help="replace an older export")
    parser.set_defaults(handler=handle)


def handle(options: argparse.Namespace) -> int:
    """Run the subcommand; returns 1 if LAMMPS disagrees with asediff."""
    from asediff.host.folders import ResultFolder

    kT = thermal_energy(options)
    check_timestep(options)
    if options.frames < 10:
        raise ConfigError(f"--frames {options.frames}: too few for a verdict; give at least 10")
    check_inputs(options)
    folder = Path(options.output)
    with named_by_output():
        ResultFolder.refuse(folder, KIND, overwrite=options.overwrite)

    from asediff.app.config.atoms import time_unit
    from asediff.engines import TorchEngine
    from asediff.lammps.export import export_lammps, verified
    from asediff.lammps.files import check_system
    from asediff.lammps.run import LammpsError, LammpsRun, find_lmp
    from asediff.potentials import load_potential
    from asediff.potentials.pair import check_pairwise
    from asediff.targets.target import StatePoint

    potential = check_pairwise(load_potential(options.potential), "LAMMPS")
    _, system = structure(options.structure)
    check_system(system)
    find_lmp()
    timestep = options.timestep * time_unit(options.units)
    point = StatePoint(system, kT=kT, name=Path(options.structure).stem)
    engine = TorchEngine(timestep, equilibration_steps=500, steps=50 * options.frames, save_every=50)
    settings = LammpsRun(timestep, 50_000, 100, equilibration_steps=5_000, units=options.units)
    with named_by_output(), ResultFolder.made(folder, KIND, overwrite=options.overwrite) as results:
        frames = engine.run(potential, point, seed=0)
        with results.staged() as stage, results.scratch() as scratch:
            files = export_lammps(potential, point, stage, settings, refine=options.refine)
            try:
                report = verified(files.table, potential, point, frames, options.frames, workdir=scratch)
            except LammpsError as error:
                raise LammpsError(error.reason) from None
            results.clear()
    say(str(report.at(folder / files.table.name)))
    say(f"wrote {folder}; run it with: cd {folder} && lmp -in {files.input.name}")
    return 0 if report.passed else 1
