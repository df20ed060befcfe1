"""`tui-backup` alone: open the dashboard."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING

from tui_backup.cli.parser import Parser
from tui_backup.errors import NotSetUpError, UsageError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from tui_backup.cli.context import Context


OPTIONS = {
    "--ascii": "plain ASCII instead of symbols",
    "--no-mouse": "dashboard: leave the mouse to the terminal",
    "--read-only": "dashboard: leave out every action that changes something",
}


def add_options(parser: Parser) -> None:
    """The options of the program itself."""
    for name, words in OPTIONS.items():
        parser.add_argument(name, action="store_true", help=words)
    parser.set_defaults(handler=open_dashboard)


def dashboard_parser(words: Sequence[str]) -> Parser | None:
    """A parser for the dashboard alone, where nothing else can be meant: it starts without loading the commands."""
    if not set(words) <= OPTIONS.keys():
        return None
    parser = Parser(prog="tui-backup")
    add_options(parser)
    return parser


def open_dashboard(context: Context, arguments: Namespace) -> int:
    """Run the dashboard until it is left."""
    _require_terminal(context)
    # What is loaded and built until the first paint stays: looking through it for garbage again and again takes a
    # tenth of the start. The application switches it on.
    gc.disable()
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
