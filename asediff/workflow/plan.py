"""What a chain would do in a project, before it does anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asediff.app.config.load import parse_as
from asediff.workflow.chain import Chain, Node
from asediff.workflow.results import Results
from asediff.workflow.stages import stage
from asediff.workflow.stages.base import ERROR, RECORD, Expected


def settings_of(node: Node) -> Any:
    """The settings of a stage as its kind takes them."""
    return parse_as(stage(node.kind).settings, node.settings, node.name)


def expectations(chain: Chain) -> dict[str, Expected]:
    """What each stage takes on one core, by name."""
    by_name = {node.name: node for node in chain.nodes}
    found = {}
    for node in chain.nodes:
        parents = {role: [by_name[name].settings for name in names] for role, names in node.parents.items()}
        found[node.name] = stage(node.kind).expected(settings_of(node), parents)
    return found


def state(folder: Path) -> str:
    """What is in the folder of a stage: `finished`, `failed`, `begun` or `new`."""
    if Results.finished(folder):
        return "finished"
    if (folder / ERROR).is_file():
        return "failed"
    return "begun" if (folder / RECORD).is_file() else "new"


def plan_lines(chain: Chain, project: Path, cores: int) -> list[str]:
    """A table of all stages, and what those that have not finished are expected to take."""
    expected = expectations(chain)
    states = {node.name: state(project / node.folder) for node in chain.nodes}
    width = max(len(node.folder) for node in chain.nodes)
    lines = [f"{'stage':{width}}  {'kind':12}  {'state':8}  {'core s':>8}  error of g(r) per bin"]
    for node in chain.nodes:
        one = expected[node.name]
        seconds = "-" if states[node.name] == "finished" else f"{one.seconds:.0f}"
        error = "" if one.error is None else f"{one.error:.4f}"
        lines.append(f"{node.folder:{width}}  {node.kind:12}  {states[node.name]:8}  {seconds:>8}  {error}".rstrip())
    rest = [expected[name].seconds for name, what in states.items() if what != "finished"]
    done = len(chain.nodes) - len(rest)
    lines.append(
        f"{len(chain.nodes)} stages, {done} finished; about {told_time(sum(rest))} of one core, "
        f"{told_time(_wall(chain, expected, states, cores))} on {cores}"
    )
    return lines


def _wall(chain: Chain, expected: dict[str, Expected], states: dict[str, str], cores: int) -> float:
    """Seconds on so many cores: as long as the work of all, or the longest way through the chain."""
    ends: dict[str, float] = {}
    total = 0.0
    for node in chain.nodes:
        own = 0.0 if states[node.name] == "finished" else expected[node.name].seconds
        share = min(stage(node.kind).width(settings_of(node)), max(1, cores // len(chain.nodes)))
        ends[node.name] = own / share + max(
            (ends[name] for names in node.parents.values() for name in names), default=0.0
        )
        total += own
    return max(total / cores, *ends.values())


def matrix_lines(chain: Chain, results: Mapping[str, Results]) -> list[str]:
    """Mean |dg| (and what noise alone would make of it) and D of each potential at each state, as a table."""
    rows: dict[str, dict[float, str]] = {}
    for node in chain.nodes:
        if node.kind != "validate":
            continue
        found = results[node.name].scalars
        cell = f"{found['mean_abs_dg']:.4f} ({found['mean_abs_dg_noise']:.4f}), D {found['D']:.3g}"
        rows.setdefault(node.parents["potential"][0], {})[float(found["temperature_K"])] = cell
    if not rows:
        return []
    states = sorted({state for row in rows.values() for state in row})
    names, cells = max(map(len, rows)), max(len(cell) for row in rows.values() for cell in row.values())
    head = f"{'':{names}}  " + "  ".join(f"{f'at {state:g} K':{cells}}" for state in states)
    table = [
        f"{name:{names}}  " + "  ".join(f"{row.get(T, '-'):{cells}}" for T in states) for name, row in rows.items()
    ]
    return ["mean |dg| outside the core (from noise alone), and D:", *(line.rstrip() for line in [head, *table])]


def told_time(seconds: float) -> str:
    """A time in the unit that suits it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.0f} h"
