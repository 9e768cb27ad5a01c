"""`asediff workflow`: a chain of references, fits and validations, of which only what is missing runs."""

from __future__ import annotations

import argparse
import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asediff.app.config.errors import ConfigError
from asediff.cli.common import Interrupted, say
from asediff.cli.output import named_by_output

if TYPE_CHECKING:
    from asediff.workflow import Chain, Results


def add_parser(commands: Any) -> None:
    """Describe the subcommand."""
    parser = commands.add_parser(
        "workflow",
        help="run a chain: references, fits, validations, and how the potentials transfer",
        description="Run a chain of stages, each in a folder of its own in the project. What has finished there is not "
        "run again; a change of a setting runs what depends on it; after an interruption the same command goes on.",
    )
    parser.add_argument("chain", nargs="?", help="one that comes with asediff (--list), or a .yaml of your own")
    parser.add_argument("--preset", metavar="NAME", help="numbers of the chain; default its first")
    parser.add_argument("-o", "--output", metavar="PROJECT", help="folder of all stages; default the chain's name")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", dest="assignments",
        help="a value of the preset, molecules=500; a setting of all stages of a kind, diffsim.method.epochs=50; or of "
        "one stage, diffsim_288K.method.epochs=50; may be repeated",
    )  # fmt: skip
    parser.add_argument("--cores", type=int, metavar="N", help="for all stages together; default all of the machine")
    parser.add_argument("--executor", metavar="NAME", help="executorlib or slurm: who runs the stages; default asediff")
    parser.add_argument("--partition", metavar="NAME", help="of the queue, with --executor slurm")
    parser.add_argument("--time", type=int, metavar="MINUTES", help="of each job, with --executor slurm")
    parser.add_argument("--plan", action="store_true", help="show the stages, their states and costs; run nothing")
    parser.add_argument("--export", metavar="FILE", help="write the graph as python-workflow-definition; run nothing")
    parser.add_argument("--list", action="store_true", help="show the chains that come with asediff, and their presets")
    parser.set_defaults(handler=handle)


def handle(options: argparse.Namespace) -> int:
    """Run the subcommand; returns 1 if LAMMPS disagrees with asediff on an exported table."""
    from asediff.workflow.chain import Chain, chains_supplied, parse_assignments, read_chain

    if options.list:
        for name, path in chains_supplied().items():
            section = read_chain(path)
            say(f"{name}: {section.title}; presets {', '.join(section.presets)}; {path}")
        return 0
    if options.chain is None:
        raise ConfigError(f"chain: missing; give {' or '.join(chains_supplied())}, or a .yaml of your own")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if options.cores is not None:
        cores = options.cores
    if cores < 1:
        raise ConfigError(f"--cores {cores}: no core; give at least 1")
    for name in ("partition", "time"):
        if getattr(options, name) is not None and options.executor != "slurm":
            raise ConfigError(f"--{name}: of a queue; give --executor slurm with it, or leave it out")
    chain = Chain.load(options.chain, preset=options.preset, overrides=parse_assignments(options.assignments))
    project = Path(options.output or Path(options.chain).stem)
    if options.plan:
        from asediff.workflow.plan import plan_lines

        for line in plan_lines(chain, project, cores):
            say(line)
    if options.export is not None:
        from asediff.workflow.export import write_definition

        say(f"written: {write_definition(chain, project, Path(options.export))}")
    if options.plan or options.export is not None:
        return 0
    return _run(chain, project, cores, options)


def _run(chain: Chain, project: Path, cores: int, options: argparse.Namespace) -> int:
    from asediff.workflow.results import Results
    from asediff.workflow.runner import run_chain

    executor: Any = nullcontext(None)
    if options.executor is not None:
        from asediff.workflow.executors import executor as made

        executor = made(options.executor, project, cores=cores, partition=options.partition, minutes=options.time)
        # of a queue each job has so many; executorlib itself puts one stage on each core
        cores = cores if options.executor == "slurm" else 1
    try:
        with named_by_output(), executor as chosen:
            results = run_chain(chain, project, cores=cores, executor=chosen, say=say)
    except KeyboardInterrupt:
        done = sum(Results.finished(project / node.folder) for node in chain.nodes)
        raise Interrupted(
            f"{done} of {len(chain.nodes)} stages have finished; the same command goes on where the others were"
        ) from None
    return tell(chain, project, results)


def tell(chain: Chain, project: Path, results: dict[str, Results]) -> int:
    """Print how the potentials transfer, and where the reports are; returns the exit code."""
    from asediff.workflow.plan import matrix_lines

    for line in matrix_lines(chain, results):
        say(line)
    wrong = [name for name, found in results.items() if found.scalars.get("verified") is False]
    for name in wrong:
        say(f"{name}: LAMMPS disagrees with asediff on the exported table; see its report")
    for node in chain.nodes:
        if node.kind == "transfer":
            for path in sorted((project / node.folder).glob("*.html")) or [project / node.folder]:
                say(f"report: {path}")
    return 1 if wrong else 0
