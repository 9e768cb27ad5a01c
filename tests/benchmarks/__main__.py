"""Command line of the benchmarks; see `tests.benchmarks.engine`."""

import argparse
from pathlib import Path

from tests.benchmarks.engine import PARTS, main

parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
parser.add_argument("parts", nargs="*", metavar="PART", help=f"what to measure: {', '.join(PARTS)}; default all")
parser.add_argument("--repeats", type=int, default=5)
parser.add_argument("--output", type=Path, default=Path("docs/results"))
arguments = parser.parse_args()
unknown = set(arguments.parts) - set(PARTS)
if unknown:
    parser.error(f"parts: {', '.join(sorted(unknown))} unknown; choose from {', '.join(PARTS)}")
main(arguments.parts, arguments.repeats, arguments.output)
