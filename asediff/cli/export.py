"""`asediff export`: a saved potential as LAMMPS files, verified."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from asediff.cli.common import add_thermal, say, structure, thermal_energy, time_unit
from asediff.config import ConfigError
from asediff.engines import TorchEngine
from asediff.export import export_lammps, verified
from asediff.lammps import LammpsRun, find_lmp
from asediff.neighbors import check_box
from asediff.potentials import load_potential
from asediff.targets import StatePoint


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
    parser.add_argument("--refine", type=int, default=4, metavar="N", help="table points per knot; default 4")
    parser.add_argument("-o", "--output", metavar="FOLDER", default="lammps", help="default lammps")
    parser.add_argument("--overwrite", action="store_true", help="replace the files in an existing folder")
    parser.set_defaults(handler=handle)


def handle(options: argparse.Namespace) -> int:
    """Run the subcommand; returns 1 if LAMMPS disagrees with asediff."""
    kT = thermal_energy(options)
    if not options.timestep > 0:
        raise ConfigError(f"--timestep {options.timestep:g}: not a time; give a number above zero")
    if options.frames < 10:
        raise ConfigError(f"--frames {options.frames}: too few for a verdict; give at least 10")
    potential = load_potential(options.potential)
    _, system = structure(options.structure)
    check_box(system.cell, system.pbc, potential.cutoff)
    find_lmp()
    folder = Path(options.output)
    if folder.exists() and not options.overwrite:
        raise ConfigError(f"--output {folder}: exists; choose another folder, or --overwrite")
    timestep = options.timestep * time_unit(options.units)
    point = StatePoint(system, kT=kT, name=Path(options.structure).stem)
    engine = TorchEngine(timestep, equilibration_steps=500, steps=50 * options.frames, save_every=50)
    frames = engine.run(potential, point, seed=0)
    settings = LammpsRun(timestep, 50_000, 100, equilibration_steps=5_000, units=options.units)
    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    files = export_lammps(potential, point, unfinished, settings, refine=options.refine)
    report = verified(files, potential, point, frames, options.frames)
    folder.mkdir(parents=True, exist_ok=True)
    for path in unfinished.iterdir():
        path.replace(folder / path.name)
    unfinished.rmdir()
    say(str(report))
    say(f"wrote {folder}; run it with: cd {folder} && lmp -in {files.input.name}")
    return 0 if report.passed else 1
