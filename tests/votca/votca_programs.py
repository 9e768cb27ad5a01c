"""Run the programs of an installed VOTCA on tables, for the cross-checks."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np

from asediff.votca import Table, read_table, write_table

SETTINGS = """<cg>
  <non-bonded>
    <name>A-A</name><type1>1</type1><type2>1</type2>
    <min>{min}</min><max>{max}</max><step>{step}</step>
    <inverse><target>{target}</target>{inverse}</inverse>
  </non-bonded>
  <inverse><kBT>{kT}</kBT><program>lammps</program><method>ibi</method>
    <dist_min>{dist_min}</dist_min>
    <lammps><traj>traj.dump</traj></lammps>
  </inverse>
</cg>
"""


def run(folder: Path, *command: str) -> str:
    environment = {**os.environ, "CSG_MAINDIR": str(folder), "LC_ALL": "C"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def operator(folder: Path, words: str, inputs: list[Table], *options: str, before: tuple[str, ...] = ()) -> Table:
    """Run `csg_call words [before] in.. out [options]` and read the result."""
    names = []
    for k, table in enumerate(inputs):
        names.append(f"in{k}.tab")
        write_table(folder / names[-1], table)
    (folder / "out.tab").unlink(missing_ok=True)
    run(folder, "csg_call", *words.split(), *before, *names, "out.tab", *options)
    return read_table(folder / "out.tab", uniform=False)


def resample(folder: Path, table: Table, grid: str, *options: str, derivative: bool = False) -> Table:
    write_table(folder / "in.tab", table)
    extra = ["--derivative", "der.tab"] if derivative else []
    run(folder, "csg_resample", "--in", "in.tab", "--out", "out.tab", "--grid", grid, *options, *extra)
    return read_table(folder / ("der.tab" if derivative else "out.tab"), uniform=False)


def settings(folder: Path, **values: object) -> Path:
    fields = {
        "min": 0,
        "max": 1,
        "step": 0.1,
        "target": "A-A.dist.tgt",
        "inverse": "",
        "kT": 1.0,
        "dist_min": 1e-10,
    }
    path = folder / "settings.xml"
    path.write_text(SETTINGS.format(**{**fields, **values}))
    return path


def random_rdf(rng: np.random.Generator, x: np.ndarray, *, holes: bool = False, flags: bool = False) -> Table:
    """A g(r) with a core, noise, and on request holes and flags o and u."""
    core = x[0] + rng.uniform(0.2, 0.5) * (x[-1] - x[0])
    s = np.clip((x - core) / (0.15 * (x[-1] - x[0])), 0, None)
    y = (1 - np.exp(-(s**2) * rng.uniform(2, 8))) * (1 + rng.uniform(0.2, 1.5) * np.exp(-s) * np.cos(4 * s))
    y = np.where(y > 0, np.abs(y * (1 + 0.05 * rng.standard_normal(len(x)))), 0)
    y[rng.random(len(x)) < 0.02] *= 1e-11
    if holes:
        y[rng.random(len(x)) < 0.1] = 0
    flag = np.full(len(x), "i")
    if flags:
        flag[rng.random(len(x)) < 0.15] = "o"
        flag[rng.random(len(x)) < 0.1] = "u"
    return Table(x, y, flag)


def random_potential(rng: np.random.Generator, x: np.ndarray, *, edge: bool = True) -> Table:
    """A noisy potential-like curve with random flags and a run of o at both ends."""
    y = rng.uniform(1, 20) * np.exp(-6 * (x - x[0]) / (x[-1] - x[0])) + rng.standard_normal(len(x))
    flag = np.array(rng.choice(["i", "o", "u"], size=len(x), p=[0.8, 0.1, 0.1]))
    if edge:
        flag[: rng.integers(0, len(x) // 3)] = "o"
        flag[len(x) - rng.integers(0, len(x) // 4) :] = "o"
    flag[len(x) // 2] = "i"
    return Table(x, y, flag)
