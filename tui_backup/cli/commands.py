"""The whole parser, put together from the command groups."""

from __future__ import annotations

from tui_backup.cli import (
    agents,
    backups,
    completion,
    dashboard,
    jobs,
    logins,
    repositories,
    restore_logs,
    restores,
    schedules,
    setup,
    sources,
    statistics,
)
from tui_backup.cli.parser import Parser, PrintVersion

_EPILOG = """\
Without a command the dashboard opens. `tui-backup COMMAND --help` tells more about each.

Exit status: 0 done, 1 the work failed, 2 wrong use, 3 refused (rights, safety), 130 interrupted.
Configuration: $TUI_BACKUP_CONFIG, else $XDG_CONFIG_HOME/tui-backup/config.toml.
"""


def build_parser() -> Parser:
    """Build the parser of every command."""
    parser = Parser(
        prog="tui-backup",
        description="PostgreSQL backup and recovery console for the terminal.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action=PrintVersion, help="print the version and end")
    dashboard.add_options(parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for group in (
        setup,
        logins,
        agents,
        sources,
        repositories,
        backups,
        jobs,
        schedules,
        restores,
        restore_logs,
        statistics,
        completion,
    ):
        group.add_commands(commands)
    return parser
