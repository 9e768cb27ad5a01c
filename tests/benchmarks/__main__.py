"""Measures the fused engine beside other programs; one part or all.

Each figure is the median of `--repeats` runs. Runs of asediff and LAMMPS alternate and their ratios are taken pair by
pair; JAX-MD and OpenMM run first, in a process of their own.

    python -m tests.benchmarks                 # everything, about ten minutes; the machine should be idle
    python -m tests.benchmarks forward memory  # some parts
    ASEDIFF_PEERS_PYTHON=/path/to/python python -m tests.benchmarks peers openmm   # with jax-md and openmm
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from asediff.fitting.result import versions
from tests.benchmarks.engine import Rows, distances, epoch, forward, gradient, large
from tests.benchmarks.peers import openmm, peers
from tests.benchmarks.scaling import draw, growth, lists, memory

PARTS: dict[str, Callable[[int], Rows]] = {
    "forward": forward,
    "gradient": gradient,
    "epoch": epoch,
    "distances": distances,
    "lists": lists,
    "memory": memory,
    "growth": growth,
    "large": large,
    "peers": peers,
    "openmm": openmm,
}


def processor() -> str:
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def table(rows: Rows) -> str:
    """A Markdown table."""
    if not rows:
        return "not measured\n"
    names = list(rows[0])

    def cell(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(cell(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def measure(parts: Sequence[str], repeats: int, folder: Path) -> None:
    """Measure the parts, add them to engine.json in the folder, and write engine.md from it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "engine.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    results["device"] = processor()
    results["versions"] = versions()
    for name in parts or PARTS:
        load = os.getloadavg()[0]
        rows = PARTS[name](repeats)
        if rows:
            results[name] = {"rows": rows, "load_before": load, "repeats": repeats}
        print(f"## {name} (load before: {load:.1f})\n\n{table(rows)}", flush=True)
        path.write_text(json.dumps(results, indent=1) + "\n")
    text = [
        "# Engine benchmarks\n",
        f"`python -m tests.benchmarks` on {results['device']}; "
        + ", ".join(f"{k} {v}" for k, v in results["versions"].items())
        + ". Medians; ratios are taken run by run, the programs in turn. Loads above zero before a part mean that the "
        "machine was shared.\n",
    ]
    for name, work in PARTS.items():
        if name in results:
            text.append(f"## {name} (load before: {results[name]['load_before']:.1f})\n")
            text.append(" ".join((work.__doc__ or "").split()) + "\n")
            text.append(table(results[name]["rows"]))
    text += [f"![{file.removesuffix('.png').replace('_', ' ')}]({file})\n" for file in draw(results, folder)]
    (folder / "engine.md").write_text("\n".join(text))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"what to measure: {', '.join(PARTS)}; default all")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("docs/results"))
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"parts: {', '.join(sorted(unknown))} unknown; choose from {', '.join(PARTS)}")
    measure(arguments.parts, arguments.repeats, arguments.output)


if __name__ == "__main__":
    main()
