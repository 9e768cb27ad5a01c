"""`asediff rdf`: g(r) of a trajectory file, as CSV and PNG."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asediff.app.config.errors import ConfigError
from asediff.checks.numbers import BINS, Range
from asediff.cli.common import new_file, parse_pair, say
from asediff.host.reading import check_file

if TYPE_CHECKING:
    from ase import Atoms

DISTANCE = Range(0.0, 1e6, "a distance in the unit of the trajectory")


def add_parser(commands: Any) -> None:
    """Describe the subcommand."""
    parser = commands.add_parser(
        "rdf",
        help="g(r) of a trajectory file",
        description="Radial distribution function of a trajectory, with block-averaged standard errors.",
    )
    parser.add_argument("trajectory", help="anything that ase.io.read takes: extxyz, traj, LAMMPS dump, ...")
    parser.add_argument("--format", help="ASE's name of the format, if the file's name does not tell")
    parser.add_argument("--index", default=":", metavar="SLICE", help="frames, such as 100: or ::10; default all")
    parser.add_argument("--r-max", type=float, metavar="R", help="end of the histogram; default half the box")
    parser.add_argument("--r-min", type=float, default=0.0, metavar="R", help="start of the histogram; default 0")
    parser.add_argument("--bins", type=int, default=150, metavar="N", help="number of bins; default 150")
    parser.add_argument("--pair", metavar="A-B", help="two chemical symbols; default all atoms")
    parser.add_argument("--length-unit", default="Å", metavar="U", help="for the figure's label; default Å")
    parser.add_argument("-o", "--output", metavar="FILE", help="CSV; default the trajectory's name with _rdf.csv")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    parser.set_defaults(handler=handle)


def handle(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    source = Path(options.trajectory)
    pair = parse_pair(options.pair)
    BINS.metal.check("--bins", options.bins)
    DISTANCE.check("--r-min", options.r_min)
    r_max = options.r_max
    if r_max is not None:
        DISTANCE.check("--r-max", r_max)
    check_index(options.index)
    check_source(source)
    output = new_file(options.output or f"{source.stem}_rdf.csv", overwrite=options.overwrite)

    frames = read_frames(source, options.format, options.index)

    import numpy as np
    import torch

    from asediff import plotting
    from asediff.fitting.result import write_columns
    from asediff.observables import RDF, Units
    from asediff.system import System
    from asediff.targets.losses import block_average_error

    if r_max is None:
        cell = frames[0].cell
        r_max = 0.5 / cell.reciprocal().lengths().max() if cell.volume > 0 else None
    if r_max is None:
        raise ConfigError(f"trajectory {source}: has no periodic cell, so there is no density to compare with")
    observable = RDF(r_max, options.bins, r_min=options.r_min, pair=pair, width=0.0)
    with torch.no_grad():
        g = torch.cat([observable.per_frame(System.from_atoms(atoms))[:, 0] for atoms in frames])
    mean, error = g.mean(0).numpy(), block_average_error(g).numpy()
    r = observable.centers.numpy()
    output.parent.mkdir(parents=True, exist_ok=True)
    write_columns(output, {"r": r, "g": mean, "error": error})
    figure = output.with_suffix(".png")
    label = "all pairs" if pair is None else "-".join(pair)
    run = plotting.Run(mean, error if np.isfinite(error).all() else None)
    labels = observable.labels(Units(length=options.length_unit))
    axes = plotting.plot_curves(r, None, {label: run}, labels=labels, baseline=observable.uncorrelated)
    figure.write_bytes(plotting.png(axes))
    peak = int(mean.argmax())
    say(f"{len(frames)} frames, highest value {mean[peak]:.3f} at r = {r[peak]:.4g} {options.length_unit}")
    say(f"wrote {output} and {figure}")
    return 0


def check_source(path: Path) -> None:
    """Refuse a trajectory that is no file.

    Raises:
        ConfigError: it is none.
    """
    try:
        check_file(path, "a trajectory that ASE reads")
    except ValueError as error:
        raise ConfigError(f"trajectory {error}") from None


def check_index(index: str) -> None:
    """Refuse what is no slice of frames.

    Raises:
        ConfigError: it is none.
    """
    parts = index.split(":")
    if len(parts) > 3 or any(not re.fullmatch(r"(-?\d{1,9})?", part, re.ASCII) for part in parts) or parts[2:] == ["0"]:
        raise ConfigError(f"--index {index}: not a slice of frames; give for example 100: or ::10")


def read_frames(path: Path, file_format: str | None, index: str) -> list[Atoms]:
    """The frames of a trajectory file.

    Raises:
        ConfigError: it is missing, cannot be read, or holds no frame.
    """
    from ase import Atoms
    from ase.io import read

    check_source(path)
    if file_format is None and ("dump" in path.name or path.suffix in (".lammpstrj", ".dump")):
        file_format = "lammps-dump-text"
    try:
        frames = read(path, index=index if ":" in index else f"{index}:", format=file_format)
    except Exception as error:
        raise ConfigError(
            f"trajectory {path}: ASE cannot read it ({type(error).__name__}: {error}); name the --format"
        ) from error
    found = [frames] if isinstance(frames, Atoms) else list(frames)
    if not found:
        raise ConfigError(f"--index {index}: no frame of {path} is left; give a wider slice")
    return found
