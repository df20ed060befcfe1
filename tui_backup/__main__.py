"""Run the command line with ``python -m tui_backup``."""

import sys

from tui_backup.cli import main

if __name__ == "__main__":
    sys.exit(main())
