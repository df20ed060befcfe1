"""`init`, `upgrade`, `doctor` and `demo`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tui_backup.cli.checks import show_checks, worst_status
from tui_backup.cli.output import plain
from tui_backup.cli.parser import Commands, add_command, folder, read_dsn
from tui_backup.errors import UsageError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Coroutine

    from tui_backup.cli.context import Context
    from tui_backup.services.setup import InitResult

_INIT_HELP = """\
Without options an embedded PostgreSQL is made under the state folder: nothing
else is needed. With --catalog a server of yours keeps the catalog. DSN is of
the login that shall own it (with CREATEROLE); `-` reads it from standard input.
--agent-dsn is the connection that the agent shall use.
Both are safe to run again.
"""

_OWNER_PROMPT = "Connection string of the catalog's owner"


def add_commands(commands: Commands) -> None:
    """Add `init`, `upgrade`, `doctor`, `demo`."""
    init = add_command(commands, "init", initialise, "set up the catalog", epilog=_INIT_HELP)
    init.add_argument(
        "--catalog", metavar="DSN", help="keep the catalog on this server (libpq connection string, or -)"
    )
    init.add_argument("--agent-dsn", metavar="DSN", help="with --catalog: connection string for the agent's login")
    init.add_argument("--agent-login", metavar="NAME", help="with --catalog: the agent's role, made when missing")
    init.add_argument("--admin-login", metavar="NAME", help="with --catalog: role that becomes the tenant's admin")
    init.add_argument("--tenant", metavar="NAME", help="with --catalog: name of the tenant (default: main)")
    upgrading = add_command(commands, "upgrade", upgrade, "bring the catalog up to this program's version")
    upgrading.add_argument("--catalog", metavar="DSN", help="catalog on a server: connection string of its owner, or -")
    add_command(commands, "doctor", examine, "look at everything the program needs; exit status 1 when it cannot work")
    demo = add_command(commands, "demo", run_demo, "back up, lose and restore a sample database", is_printing=False)
    demo.add_argument("--dir", metavar="DIR", type=folder, help="keep everything in this folder")
    demo.add_argument("--drop", metavar="TABLE", help="only drop this table of the running demo's shop")
    demo.add_argument("--reset", action="store_true", help="clear the demo's folder first")
    demo.add_argument(
        "--headless", action="store_true", help="do it unattended and prove it (default without a terminal)"
    )


def initialise(context: Context, arguments: Namespace) -> Coroutine[Any, Any, None]:
    """Set up an embedded catalog, or one on a server."""
    if arguments.catalog is None:
        for option in ("agent_dsn", "agent_login", "admin_login", "tenant"):
            if getattr(arguments, option) is not None:
                name = option.replace("_", "-")
                raise UsageError(f"--{name} belongs to --catalog.", hint="Add --catalog DSN, or leave it out.")
        return _initialise(context, arguments, None)
    # read before the event loop runs: within it, Ctrl-C would not end the read
    dsn = read_dsn(arguments.catalog, _OWNER_PROMPT)
    return _initialise(context, arguments, dsn)


async def _initialise(context: Context, arguments: Namespace, dsn: str | None) -> None:
    from tui_backup.services.setup import init_embedded, init_server

    notice = context.output.note if context.output.is_json else context.output.line
    if dsn is None:
        result = await init_embedded(context.config, notice=notice)
    else:
        result = await init_server(
            context.config,
            dsn,
            agent_dsn=arguments.agent_dsn or "",
            agent_login=arguments.agent_login or "",
            tenant=arguments.tenant or "main",
            admin_login=arguments.admin_login or "",
            notice=notice,
        )
    if context.output.is_json:
        context.output.data({**plain(result), "config_file": str(context.config.file)})
    else:
        _show_next(context, result)


def _show_next(context: Context, result: InitResult) -> None:
    from tui_backup.services.utilities import clean_text

    output = context.output
    output.facts(
        [
            ("Tenant", clean_text(result.tenant)),
            ("Admin login", clean_text(result.admin_login)),
            ("Agent login", clean_text(result.agent_login)),
            ("Repository", clean_text(result.repository or "none yet: tui-backup repo add NAME LOCATION --default")),
            ("Configuration", str(context.config.file)),
        ]
    )
    output.line()
    output.lines(
        [
            "Next:",
            "  tui-backup source add NAME --dsn 'host=HOST dbname=DATABASE user=USER'",
            "  tui-backup backup NAME --wait",
            "  tui-backup                     (the dashboard)",
        ]
    )


def upgrade(context: Context, arguments: Namespace) -> Coroutine[Any, Any, None]:
    """Apply the migrations that the catalog lacks."""
    dsn = read_dsn(arguments.catalog, _OWNER_PROMPT) if arguments.catalog else ""
    return _upgrade(context, dsn)


async def _upgrade(context: Context, dsn: str) -> None:
    from tui_backup.services import setup

    applied = await setup.upgrade(context.config, dsn=dsn, notice=context.output.note)
    if context.output.is_json:
        context.output.data(applied)
    elif applied:
        context.output.lines([f"applied {name}" for name in applied])
    else:
        context.output.line("The catalog is up to date.")


async def examine(context: Context, arguments: Namespace) -> int:
    """Look at everything the program needs."""
    from tui_backup.services.setup import doctor

    checks = await doctor(context.config)
    if context.output.is_json:
        context.output.data(checks)
    else:
        show_checks(context.output, checks)
    return worst_status(checks)


def run_demo(context: Context, arguments: Namespace) -> int:
    """Run the demo."""
    from tui_backup.demo.run import run_demo as run

    return run(arguments.dir, reset=arguments.reset, headless=arguments.headless, drop=arguments.drop)
