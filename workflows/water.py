"""The chain of water: references, fits by four methods, validations at all temperatures; see `water.yaml`.

    python -m workflows.water --preset short --output water

The same as `asediff workflow water`, with the same options.
"""

from __future__ import annotations

import sys

from asediff.cli import main

if __name__ == "__main__":
    sys.exit(main(["workflow", "water", *sys.argv[1:]]))
