"""`asediff run`: molecular dynamics of a structure with a saved potential."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asediff.app.config.errors import ConfigError
from asediff.checks.numbers import STEPS, check_memory, check_numbers, frames_memory
from asediff.cli.common import (
    add_thermal,
    check_inputs,
    check_seed,
    check_timestep,
    new_file,
    say,
    structure,
    thermal_energy,
)

if TYPE_CHECKING:
    from asediff.app.config.schema import Constructor

KINDS = ("nose_hoover", "langevin", "velocity_verlet")


def add_parser(commands: Any) -> None:
    """Describe the subcommand."""
    parser = commands.add_parser(
        "run",
        help="molecular dynamics with a saved potential",
        description="Dynamics of a structure with a potential from `asediff fit`.",
    )
    parser.add_argument("potential", help="potential.pt of a fit")
    parser.add_argument("structure", help="start; anything that ase.io.read takes")
    add_thermal(parser)
    parser.add_argument("--units", choices=("metal", "lj"), default="metal", help="metal: Å, eV, amu, fs; lj: reduced")
    parser.add_argument("--timestep", type=float, required=True, metavar="T", help="fs (lj: reduced)")
    parser.add_argument("--steps", type=int, default=10_000, metavar="N", help="default 10000")
    parser.add_argument("--save-every", type=int, default=100, metavar="N", help="steps between frames; default 100")
    parser.add_argument(
        "--integrator", "--thermostat", type=lambda kind: kind.replace("-", "_"), choices=KINDS, default=KINDS[0],
        help="what moves the atoms; velocity_verlet keeps the energy, the others the temperature",
    )  # fmt: skip
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments",
        help="an argument of the integrator, such as tdamp=500 (fs) or friction=0.002 (1/fs); may be repeated",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of velocities and noise; default 0")
    parser.add_argument(
        "-o", "--output", metavar="FILE", default="trajectory.extxyz", help="any format of ase.io.write"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.set_defaults(handler=handle)


def handle(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    kT = thermal_energy(options)
    check_timestep(options)
    check_seed(options.seed)
    if not 1 <= options.save_every <= options.steps:
        raise ConfigError(
            f"--steps {options.steps}, --save-every {options.save_every}: no frame would be kept; give steps >= "
            "save-every >= 1"
        )
    STEPS.metal.check("--steps", options.steps)
    check_inputs(options)
    section = integrator_section(options)
    output = new_file(options.output, overwrite=options.overwrite)
    n_frames = options.steps // options.save_every
    check_format(output, n_frames)

    import torch
    from ase.io import write

    from asediff.app.config.atoms import time_unit
    from asediff.potentials import load_potential
    from asediff.simulate import simulate

    potential = load_potential(options.potential)
    _, system = structure(options.structure)
    what = f"{n_frames} frames of {system.n_atoms} atoms"
    check_memory("--steps", frames_memory(system.n_atoms, n_frames), what, "lower it, or raise --save-every")
    integrator = section.made(time_unit(options.units)).at(kT, seed=options.seed)
    with torch.no_grad():
        trajectory = simulate(
            system.thermalized(kT=kT, seed=options.seed),
            potential,
            integrator,
            options.steps,
            save_every=options.save_every,
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_name("." + output.name)
    write(unfinished, trajectory.to_atoms())
    unfinished.replace(output)
    degrees = 3.0 * system.n_atoms - 3.0
    measured = float((2.0 * trajectory.kinetic_energy[:, 0] / degrees).mean())
    pressure = float(trajectory.pressure.mean())
    say(f"{len(trajectory)} frames; kT {measured:.5g}, pressure {pressure:.5g} (energy/length³)")
    say(f"wrote {output}")
    return 0


def integrator_section(options: argparse.Namespace) -> Constructor:
    """The integrator that the options describe, with what they leave out.

    Raises:
        ConfigError: it has no such argument, or a number cannot be meant.
    """
    from asediff.app.config.load import override, parse_as
    from asediff.app.config.models import RunSettings
    from asediff.app.config.resolve import resolve_timestep

    given = override({"kind": options.integrator, "timestep": options.timestep}, options.assignments)
    section = parse_as(RunSettings, {"integrator": given}, "--set").integrator.model_dump()
    resolve_timestep({"timestep": options.timestep, "integrator": section}, options.timestep)
    check_numbers(section, options.units, "--set")
    return parse_as(RunSettings, {"integrator": section}, "--set").integrator


def check_format(output: Path, n_frames: int) -> None:
    """Refuse a file name for which ASE has no format, or one that holds a single frame.

    Raises:
        ConfigError: the trajectory could not be written in the end.
    """
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats

    try:
        known = ioformats.get(filetype(str(output), read=False))
    except UnknownFileTypeError:
        known = None
    if known is None:
        raise ConfigError(f"--output {output}: ASE has no format of this name; give one such as md.extxyz")
    if not known.can_write or (known.single and n_frames > 1):
        raise ConfigError(f"--output {output}: ASE writes no trajectory as {known.name}; give one such as md.extxyz")
