"""`login` and `logout`: a token of an identity provider, kept on this machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from tui_backup.cli.parser import Commands, add_command
from tui_backup.errors import UsageError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Coroutine

    from tui_backup.cli.context import Context

_LOGIN_HELP = """\
For catalogs that people reach through one gateway login. The token is verified
first (catalog.jwt_… in the configuration file) and kept in the state folder,
readable by you only. $TUI_BACKUP_TOKEN, where it is set, is used in its place.
"""
_MAX_CHARS = 64 * 1024


def add_commands(commands: Commands) -> None:
    """Add `login` and `logout`."""
    login = add_command(commands, "login", log_in, "log in with a token", epilog=_LOGIN_HELP)
    login.add_argument(
        "--token-stdin", action="store_true", required=True, help="read the token (JWT) from standard input"
    )
    add_command(commands, "logout", log_out, "forget the token that `login` has kept")


def log_in(context: Context, arguments: Namespace) -> Coroutine[Any, Any, None]:
    """Verify a token and keep it."""
    # read before the event loop runs: within it, Ctrl-C would not end the read
    return _log_in(context, _read_token())


def _read_token() -> str:
    if sys.stdin.isatty():
        import getpass

        token = getpass.getpass("Token: ")
    else:
        token = sys.stdin.read(_MAX_CHARS)
    if not token.strip():
        raise UsageError("Nothing was read from standard input.", hint="Pipe the token in: `… | tui-backup login …`.")
    return token.strip()


async def _log_in(context: Context, token: str) -> None:
    from tui_backup.services import logins
    from tui_backup.services.utilities import clean_text

    done = await logins.log_in(context.config, token)
    if context.output.is_json:
        context.output.data(done)
        return
    tenants = clean_text(", ".join(done.memberships))
    until = done.expires_at.strftime("%Y-%m-%d %H:%M UTC")
    context.output.line(f"Logged in as {done.user_id}, {tenants}, until {until}.")


def log_out(context: Context, arguments: Namespace) -> None:
    """Forget the kept token."""
    from tui_backup.services import logins

    was_there = logins.log_out(context.config)
    if context.output.is_json:
        context.output.data({"removed": was_there})
    else:
        context.output.line("Logged out." if was_there else "Nobody was logged in.")
