"""`asediff run`: molecular dynamics of a structure with a saved potential."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from ase.io import write

from asediff.cli.common import add_thermal, new_file, say, structure, thermal_energy, time_unit
from asediff.config import ConfigError
from asediff.integrators import Langevin, NoseHooverChain
from asediff.neighbors import check_box
from asediff.potentials import load_potential
from asediff.simulate import simulate


def add_parser(commands: Any) -> None:
    """Describe the subcommand."""
    parser = commands.add_parser(
        "run",
        help="molecular dynamics with a saved potential",
        description="Constant-temperature dynamics of a structure with a potential from `asediff fit`.",
    )
    parser.add_argument("potential", help="potential.pt of a fit")
    parser.add_argument("structure", help="start; anything that ase.io.read takes")
    add_thermal(parser)
    parser.add_argument("--units", choices=("metal", "lj"), default="metal", help="metal: Å, eV, amu, fs; lj: reduced")
    parser.add_argument("--timestep", type=float, required=True, metavar="T", help="fs (lj: reduced)")
    parser.add_argument("--steps", type=int, default=10_000, metavar="N", help="default 10000")
    parser.add_argument("--save-every", type=int, default=100, metavar="N", help="steps between frames; default 100")
    parser.add_argument("--thermostat", choices=("nose-hoover", "langevin"), default="nose-hoover")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of velocities and noise; default 0")
    parser.add_argument(
        "-o", "--output", metavar="FILE", default="trajectory.extxyz", help="any format of ase.io.write"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.set_defaults(handler=handle)


def handle(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    kT = thermal_energy(options)
    if not options.timestep > 0:
        raise ConfigError(f"--timestep {options.timestep:g}: not a time; give a number above zero")
    potential = load_potential(options.potential)
    _, system = structure(options.structure)
    check_box(system.cell, system.pbc, potential.cutoff)
    output = new_file(options.output, overwrite=options.overwrite)
    timestep = options.timestep * time_unit(options.units)
    if options.thermostat == "langevin":
        integrator: Any = Langevin(timestep, kT=kT, friction=0.01 / timestep, seed=options.seed)
    else:
        integrator = NoseHooverChain(timestep, kT=kT, tdamp=100 * timestep)
    with torch.no_grad():
        trajectory = simulate(
            system.thermalized(kT=kT, seed=options.seed),
            potential,
            integrator,
            options.steps,
            save_every=options.save_every,
        )
    unfinished = Path(output).with_name("." + Path(output).name)
    write(unfinished, trajectory.to_atoms())
    unfinished.replace(output)
    degrees = 3.0 * system.n_atoms - 3.0
    measured = float((2.0 * trajectory.kinetic_energy[:, 0] / degrees).mean())
    pressure = float(trajectory.pressure.mean())
    say(f"{len(trajectory)} frames; kT {measured:.5g}, pressure {pressure:.5g} (energy/length³)")
    say(f"wrote {output}")
    return 0
