"""`tui-backup` alone: open the dashboard."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from tui_backup.cli.parser import Parser
from tui_backup.errors import NotSetUpError, UsageError

if TYPE_CHECKING:
    from argparse import Namespace

    from tui_backup.cli.context import Context


def add_options(parser: Parser) -> None:
    """The options of the program itself."""
    parser.add_argument("--ascii", action="store_true", help="plain ASCII instead of symbols")
    parser.add_argument("--no-mouse", action="store_true", help="dashboard: leave the mouse to the terminal")
    parser.add_argument(
        "--read-only", action="store_true", help="dashboard: leave out every action that changes something"
    )
    parser.set_defaults(handler=open_dashboard)


def open_dashboard(context: Context, arguments: Namespace) -> int:
    """Run the dashboard until it is left."""
    _require_terminal(context)
    from tui_backup.app import run_dashboard

    return run_dashboard(
        context.config,
        ascii=True if arguments.ascii else None,
        mouse=False if arguments.no_mouse else None,
        read_only=arguments.read_only,
    )


def _require_terminal(context: Context) -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        if not context.config.is_set_up:
            raise NotSetUpError(
                "Nothing is set up here, and without a terminal the dashboard cannot offer to do it.",
                hint="Run `tui-backup init`, or `tui-backup demo` to look around.",
            )
        raise UsageError(
            "The dashboard needs a terminal.", hint="Scripts use the commands: `tui-backup --help` lists them."
        )
    if not sys.stderr.isatty():
        # Textual draws on stderr
        raise UsageError("The dashboard draws on standard error, which is redirected.", hint="Leave out the 2>.")
    if os.environ.get("TERM", "") in ("", "dumb"):
        raise UsageError(
            "The dashboard cannot draw on a terminal of type 'dumb'.",
            hint="Set TERM (for instance xterm-256color), or use the commands: `tui-backup --help`.",
        )
