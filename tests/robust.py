"""Repeat the sampled tests with other seeds and under other instruction sets: `python -m tests.robust`.

Each line of the table is one instruction set. A set says how numba compiles (its name of a processor and, since numba
keeps the features of the processor it runs on whatever the name, an empty list of features) and which of its kernels
torch takes. A set that numba compiles for has its own folder of kernels.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETS = {
    "native": {},
    "haswell": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "", "ATEN_CPU_CAPABILITY": "avx2"},
    "x86-64-v2": {"NUMBA_CPU_NAME": "x86-64-v2", "NUMBA_CPU_FEATURES": ""},
    "aten-default": {"ATEN_CPU_CAPABILITY": "default"},
}
OUTCOME = re.compile(r"(\d+) (passed|failed|error)")


@dataclass
class Tally:
    """What the runs of one instruction set came to."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    shifts: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, shift: int, output: str, code: int, seconds: float) -> None:
        """Count the outcomes of one run; one that ends without any is an error too."""
        found = {what: int(n) for n, what in OUTCOME.findall(output.strip().rpartition("\n")[2])}
        self.counts.update(found)
        self.failures += [
            f"shift {shift}: {line}" for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))
        ]
        if code != 0 and not found.keys() & {"failed", "error"}:
            self.counts["error"] += 1
            self.failures.append(f"shift {shift}: pytest ended with code {code}: {output[-500:]}")
        self.shifts.append(shift)
        self.seconds += seconds

    def row(self, name: str) -> str:
        """A line of the table."""
        wrong = self.counts["failed"] + self.counts["error"]
        shifts = f"{min(self.shifts)}..{max(self.shifts)}" if len(self.shifts) > 1 else f"{self.shifts[0]}"
        return f"| {name} | {shifts} | {self.counts['passed']} | {wrong} | {self.seconds / len(self.shifts):.0f} |"


def shifts(text: str) -> list[int]:
    """`3`, or `0..19`, the end included."""
    first, _, last = text.partition("..")
    return list(range(int(first), int(last or first) + 1))


def run(name: str, shift: int, options: list[str], cache: Path) -> tuple[str, int, float]:
    """Output, exit code and seconds of the sampled tests in one instruction set with one shift."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | SETS[name]
    if "NUMBA_CPU_NAME" in SETS[name]:
        environment["NUMBA_CACHE_DIR"] = str(cache / name)
    # only files with sampled tests, for the others take seconds to import
    files = [str(path) for path in sorted(ROOT.glob("tests/**/test_*.py")) if "mark.sampled" in path.read_text()]
    chosen = ["-q", "-m", "sampled and not slow", "--seed-shift", str(shift)]
    command = [sys.executable, "-m", "pytest", *chosen, *options, *files]
    start = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr, done.returncode, time.monotonic() - start


def main() -> int:
    """Run, print the table and what failed; 1 if anything did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="instruction sets (default: all)")
    parser.add_argument("--shifts", type=shifts, default="0..19", help="shifts of the seeds (default 0..19)")
    parser.add_argument("--processes", type=int, default=2, help="how many run side by side (default 2)")
    cache = Path(tempfile.gettempdir()) / "asediff-robust"
    parser.add_argument("--cache", type=Path, default=cache, help=f"compiled kernels of the sets (default {cache})")
    parser.add_argument("options", nargs="*", help="more options of pytest, after --")
    given = parser.parse_args()
    tallies = {name: Tally() for name in given.sets}

    def one(job: tuple[str, int]) -> None:
        name, shift = job
        output, code, seconds = run(name, shift, given.options, given.cache)
        tallies[name].add(shift, output, code, seconds)
        print(f"{name}, shift {shift}: {output.strip().rpartition(chr(10))[2]}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(given.processes) as pool:
        list(pool.map(one, itertools.product(given.sets, given.shifts)))
    print("| instruction set | shifts | passed | failed | seconds per shift |\n|---|---|---|---|---|")
    print(*(tally.row(name) for name, tally in tallies.items()), sep="\n")
    failures = [f"{name}, {failure}" for name, tally in tallies.items() for failure in tally.failures]
    print(*failures, sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
