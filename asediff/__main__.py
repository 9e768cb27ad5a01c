"""`python -m asediff`: the same as the `asediff` command, for launchers that start modules, such as `torchrun`."""

import sys

from asediff.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
