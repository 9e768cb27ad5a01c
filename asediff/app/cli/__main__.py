"""`python -m asediff.app.cli`: the same as the `asediff` command."""

import sys

from asediff.app.cli.main import main

sys.exit(main())
