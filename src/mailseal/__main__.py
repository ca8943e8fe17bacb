"""`python -m mailseal`: the same program as `mailseal`."""

from __future__ import annotations

import sys

from mailseal.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
