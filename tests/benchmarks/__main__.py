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
from tests.benchmarks.ranks import ranks
from tests.benchmarks.scaling import draw, growth, lists, memory
from tests.benchmarks.sums import sums

WIDTHS = {"avx512f": "AVX-512", "avx2": "AVX2"}
PARTS: dict[str, Callable[[int], Rows]] = {
    "forward": forward,
    "gradient": gradient,
    "epoch": epoch,
    "ranks": ranks,
    "distances": distances,
    "lists": lists,
    "sums": sums,
    "memory": memory,
    "growth": growth,
    "large": large,
    "peers": peers,
    "openmm": openmm,
}


def processor() -> str:
    """Name of the processor, which generation it is, and the widest instructions that it has."""
    path = Path("/proc/cpuinfo")
    facts = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    name = facts.get("model name", platform.processor())
    flags = facts.get("flags", "").split()
    width = next((label for flag, label in WIDTHS.items() if flag in flags), "neither AVX-512 nor AVX2")
    generation = f"family {facts.get('cpu family', '?')}, model {facts.get('model', '?')}"
    return f"{name} ({generation}, {width}), {os.cpu_count()} cores"


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
    for name in parts or PARTS:
        load = os.getloadavg()[0]
        rows = PARTS[name](repeats)
        if rows:
            results[name] = {
                "rows": rows, "load_before": load, "repeats": repeats, "device": processor(), "versions": versions()
            }  # fmt: skip
        print(f"## {name} (load before: {load:.1f})\n\n{table(rows)}", flush=True)
        path.write_text(json.dumps(results, indent=1) + "\n")
    write_page(results, folder)


def write_page(results: dict[str, Any], folder: Path) -> None:
    """Write engine.md and its figures from measured parts."""
    text = [
        "# Engine benchmarks\n",
        "`python -m tests.benchmarks`. Medians; ratios are taken run by run, the programs in turn. Loads above zero "
        "before a part mean that the machine was shared.\n",
    ]
    for name, work in PARTS.items():
        if name in results:
            part = results[name]
            text.append(f"## {name} (load before: {part['load_before']:.1f})\n")
            text.append(f"{part['device']}; {', '.join(f'{k} {v}' for k, v in part['versions'].items())}\n")
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
