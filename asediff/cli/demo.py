"""`make demo`: coarse-grained water, from an all-atom reference to a verified LAMMPS table, without any input file."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from asediff import lattices
from asediff.app.config import parse
from asediff.app.pipeline import prepare, run_fit
from asediff.cli.common import is_terminal, say
from asediff.cli.fit import tell
from asediff.engines import TorchEngine
from asediff.fitting import DiffSim, fit
from asediff.fitting.result import write_columns
from asediff.host.folders import ResultFolder
from asediff.host.locks import InUseError
from asediff.host.manifest import FolderError
from asediff.lammps.reference import WATER_MASS, spce_reference
from asediff.observables import RDF
from asediff.potentials import LennardJones, PairPotential
from asediff.system import System
from asediff.targets.losses import block_average_error
from asediff.targets.target import StatePoint, Target

TEMPERATURE_K = 300.0
DENSITY_G_CM3 = 0.997
N_MOLECULES = 216
R_MAX = 9.0
CURVE = "spce_water.csv"
KIND = "demo"


def reference_curve(path: Path, *, steps: int, workdir: Path) -> float:
    """Write the oxygen-oxygen g(r) of SPC/E water, from LAMMPS, as r, g and its standard error.

    Two independent runs of half the steps each go side by side.

    Args:
        path: CSV to write.
        steps: of 2 fs in all.
        workdir: of LAMMPS.

    Returns:
        The mean standard error of g(r) beyond the core.
    """
    trajectory, _ = spce_reference(
        N_MOLECULES,
        temperature_K=TEMPERATURE_K,
        density_g_cm3=DENSITY_G_CM3,
        steps=steps // 2,
        save_every=25,
        equilibration_steps=2_500,
        replicas=2,
        processes=2,
        workdir=workdir,
    )
    observable = RDF(R_MAX, 180, width=0.0)
    with torch.no_grad():
        per_frame = observable.per_frame(trajectory)[:, 0]
    g, error = per_frame.mean(0).numpy(), block_average_error(per_frame).numpy()
    write_columns(path, {"r": observable.centers.numpy(), "g": g, "error": error})
    return float(error[np.argmax(g > 0.01) :].mean())


def compile_loops() -> None:
    """Compile, or load, the loops that a fit and its runs need; the first time that takes a minute."""
    atoms = lattices.fcc("Ar", density=0.6, cells=3, mass=1.0, rattle=0.02)
    observable = RDF(2.3, 20)
    point = StatePoint(System.from_atoms(atoms), Target(observable, torch.ones(20, dtype=torch.float64)), kT=1.0)
    method = DiffSim(0.005, epochs=1, steps=2, save_every=1, equilibration_steps=1, pretraining=None)
    engine = TorchEngine(0.005, equilibration_steps=1, steps=2, save_every=1)
    fit(PairPotential(LennardJones(), 2.3), point, method, validation=engine, progress=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; returns 0 if the exported table passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="demo", metavar="FOLDER", help="default demo; replaced if it exists")
    parser.add_argument("--reference-steps", type=int, default=30_000, metavar="N", help="of SPC/E water, 2 fs each")
    parser.add_argument("--epochs", type=int, default=200, metavar="N", help="of the fit")
    parser.add_argument("--steps", type=int, default=30_000, metavar="N", help="of each independent run")
    options = parser.parse_args(arguments)
    try:
        return run(Path(options.output), options)
    except (FolderError, InUseError) as error:
        parser.error(f"--output {error}")


def run(folder: Path, options: argparse.Namespace) -> int:
    """The demonstration in a folder."""
    began = time.perf_counter()
    with ResultFolder.made(folder, KIND, overwrite=True) as results:
        nanoseconds = 2e-6 * options.reference_steps
        say(f"1/3  SPC/E water: {N_MOLECULES} molecules at {TEMPERATURE_K:g} K, {nanoseconds:.2f} ns in LAMMPS")
        with results.staged() as stage:
            compiling = threading.Thread(target=compile_loops, daemon=True)
            compiling.start()
            error = reference_curve(stage / CURVE, steps=options.reference_steps, workdir=stage / "spce")
            compiling.join()
            for dump in (stage / "spce").rglob("spce.dump.*"):
                dump.unlink()
            results.clear()
        say(f"     g(r) known to ± {error:.3f} after {time.perf_counter() - began:.0f} s: {folder / CURVE}")
        say("2/3  a neural pair potential for one bead per molecule, by differentiating through the dynamics")
        config = parse(
            {
                "units": "real",
                "system": {"symbol": "O", "mass": WATER_MASS, "mass_density": DENSITY_G_CM3, "n_atoms": 400},
                "state_points": [
                    {"name": "water at 300 K", "temperature_K": TEMPERATURE_K, "targets": [{"file": CURVE}]}
                ],
                "method": {"epochs": options.epochs},
                "validation": {"kind": "lammps", "steps": options.steps, "equilibration_steps": 3_000},
            }
        )
        with prepare(config, folder, folder / "fit", overwrite=True) as prepared:
            outcome = run_fit(prepared, resume=False, progress=is_terminal(), say=lambda line: say("     " + line))
    say("3/3  what came out")
    tell(outcome)
    say(f"figures: {', '.join(str(path) for path in sorted(outcome.folder.glob('*.png')))}")
    say(f"run it yourself: cd {outcome.folder}/lammps/* && lmp -in cg_nvt.lmp")
    say(f"done in {time.perf_counter() - began:.0f} s")
    return 0 if outcome.verified else 1


if __name__ == "__main__":
    raise SystemExit(main())
