"""`python -m asediff.cli`: the same as the `asediff` command."""

import sys

from asediff.cli.main import main

sys.exit(main())
