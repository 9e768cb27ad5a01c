"""The page docs/results/methods.md from the results of `tests.benchmarks.methods`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

PAPER_STEPS = {"IBI": 10 * 1_000_000, "DiffSim": 500 * 120}
"""MD steps of arXiv:2209.07679 for a Lennard-Jones fluid: 10 iterations of 5e5 + 5e5 steps; 500 epochs of 120."""
ORDER = (
    "IBI",
    "IMC",
    "IMC without cross terms",
    "IHNC",
    "IHNC without secant",
    "Gauss-Newton",
    "Gauss-Newton with pressure",
    "Reweighting, neural",
    "Reweighting, neural, exact weights",
    "DiffSim, neural",
    "DiffSim, neural, epochs alone",
    "DiffSim, neural, one window",
)
LONGEST_HISTORY = 30


def share(md_steps: int, all_steps: dict[str, int]) -> str:
    """MD steps over those of IBI."""
    return f"{md_steps / all_steps['IBI']:.2f}" if "IBI" in all_steps else ""


def deviation_cell(row: dict[str, Any]) -> str:
    """D x 1000: mean and standard error over the seeds, the worst of them, and the noise of the final run."""
    found = 1e3 * np.array(row["D_seeds"])
    noise = f"{1e3 * row['D_noise']:.1f}"
    if len(found) == 1:
        return f"{found[0]:.2f} ({noise})"
    return f"{found.mean():.2f} ± {found.std(ddof=1) / np.sqrt(len(found)):.2f} ({found.max():.2f}; {noise})"


REMARKS = (
    "## Remarks",
    "",
    "- With pressure: 60,000 steps per run on average; the pressure of 20,000 steps is known to about 40 bar only.",
    "- g(r) of a dense liquid hardly sees slow changes of u(r) (see [the band](uncertainty.md)): methods that agree in",
    "  D differ in pressure and Δ. The LJ truth is cut at 2.5, the potentials at 2.0, so Δ = 0 is not expected there.",
    "- IMC, Gauss-Newton and neural reweighting lead with the response of the hypernetted-chain closure, IHNC takes it",
    "  alone. Of 1000 frames the measured response alone leaves the mixture's rows (three times 80) to the noise.",
    "- Gauss-Newton, IHNC and reweighting minimise squares of g - g*, as D does; IMC minimises the relative entropy,",
    "  which weighs the bins otherwise: for LJ, whose potential ends at 2.0 and cannot meet g(r) everywhere, it does",
    "  hardly better than IBI.",
    "- Without cross terms IMC changes the potential of a pair of species by the g(r) of that pair alone: the steps",
    "  disturb each other, and five updates leave D two hundred times as large as with them.",
    "- At ρ = 0.3 and kT = 1 the fluid is close to its critical point: steps of first order overshoot. Half of such a",
    "  step is taken back, which costs a run; there the methods make ten runs of 2,000 + 16,000 steps on average, each",
    "  1.3 times as long as the one before.",
    "- DiffSim takes 2,000 more steps to equilibrate. Exact weights: six runs of 2,000 + 20,000 steps.",
    "",
)


def history(rows: list[dict[str, Any]]) -> list[str]:
    """D of the runs of each iteration."""
    lines = ["D x 1000 in the run of each iteration, first seed:", "", "| method | D x 1000 |", "|---|---|"]
    lines += [
        f"| {row['method']} | {', '.join(f'{1e3 * d:.3g}' for d in row['D_history'])} |"
        for row in rows
        if len(row["D_history"]) <= LONGEST_HISTORY
    ]
    return [*lines, ""]


def page(folder: Path, cases: Sequence[str]) -> str:
    """The Markdown page of the results of these cases in the folder."""
    lines = [
        "# Which inverse method?",
        "",
        "Every method on the same targets, from the Boltzmann inversion. IBI takes runs of 2,000 + 20,000 steps per",
        "iteration, DiffSim 200 epochs of 120 steps and four runs of 1,000 + 9,000 steps on average (one window: 500",
        "epochs of 120 steps), the other methods runs of 1,000 + 13,400 steps on average, each",
        "twice as long as the one before. D, mean |Δg|, pressure and Δ come from an independent run of 100,000 steps",
        "with the final potential; D and mean |Δg| are means over pairs and state points, the pressure is the worst.",
        "D is the mean and its standard error over five seeds where one is given, the rest is of the first seed.",
        "`share` is the number of MD steps over that of IBI. Wall times are of one thread on a shared two-core",
        "machine.",
        "",
        "Made by `python -m tests.benchmarks.methods`; numbers and histories in [methods/](methods/).",
        "",
    ]
    for name in cases:
        path = folder / "methods" / f"{name}.json"
        if not path.is_file():
            continue
        data = json.loads(path.read_text())
        unit = data["pressure_unit"]
        lines += [
            f"## {data['title']}",
            "",
            "| method | iterations | MD steps | share | wall s | D x 1000 (worst of five seeds; noise) "
            f"| mean \\|Δg\\| ± noise | P - P* ± ({unit}) | Δ |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        own = {row["method"]: row["md_steps"] for row in data["rows"]}
        rows = sorted(data["rows"], key=lambda row: ORDER.index(row["method"]))
        for row in rows:
            known = "" if row["delta"] is None else f"{row['delta']:.4f}"
            lines.append(
                f"| {row['method']} | {row['iterations']} | {row['md_steps']:,} "
                f"| {share(row['md_steps'], own)} "
                f"| {row['wall_seconds']:.0f} | {deviation_cell(row)} "
                f"| {row['mean_dg']:.4f} ± {row['mean_dg_error']:.4f} "
                f"| {row['pressure_error']:.3g} ± {row['pressure_noise']:.1g} | {known} |"
            )
        lines += ["", *history(rows)]
        if name == "lj" and "DiffSim, neural, one window" in own:
            ratio = PAPER_STEPS["IBI"] / own["DiffSim, neural, one window"]
            lines += [
                f"IBI in the protocol of arXiv:2209.07679 takes 10 x 1,000,000 steps, {ratio:.0f} times those of",
                "DiffSim through one window here.",
                "",
            ]
    return "\n".join([*lines, *REMARKS])
