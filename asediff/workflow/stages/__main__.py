"""`python -m asediff.workflow.stages FOLDER [--cores N]`: run, or go on with, the stage that a folder records."""

from __future__ import annotations

import sys

from asediff.workflow.stages.command import main

if __name__ == "__main__":
    sys.exit(main())
