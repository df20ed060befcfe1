"""Where the configured catalog is: connection strings of the member's, the agent's and the owner's login.

None of them holds a password; each names the passfile that has it, or leaves the password to libpq's own places.
"""

from __future__ import annotations

from pathlib import Path

from psycopg.conninfo import make_conninfo

from tui_backup.catalog.passfile import passfile_for
from tui_backup.config import Config
from tui_backup.embedded import EmbeddedPostgres
from tui_backup.errors import NotSetUpError

DATABASE = "tui_backup"
OWNER_LOGIN = "tui_backup_owner"
MEMBER_LOGIN = "tui_backup"
AGENT_LOGIN = "tui_backup_agent_login"


def member_conninfo(config: Config) -> str:
    """For people: dashboard and command line.

    Raises:
        NotSetUpError: no catalog is configured, or the embedded one has not been made.
    """
    if config.settings.catalog.embedded:
        return EmbeddedPostgres(config.state_dir).conninfo(DATABASE, MEMBER_LOGIN)
    if not config.settings.catalog.dsn:
        raise NotSetUpError("No catalog is set up here.")
    return with_passfile(config.passfile, config.settings.catalog.dsn)


def agent_conninfo(config: Config) -> str:
    """For the agent; on a server of one's own the member's DSN is never used in its place.

    Raises:
        NotSetUpError: no catalog, or no login for the agent, is configured.
    """
    if config.settings.catalog.embedded:
        return EmbeddedPostgres(config.state_dir).conninfo(DATABASE, AGENT_LOGIN)
    if not config.settings.catalog.agent_dsn:
        raise NotSetUpError(
            "No login for the agent is configured.", hint="Set catalog.agent_dsn in the configuration file."
        )
    return with_passfile(config.passfile, config.settings.catalog.agent_dsn)


def with_passfile(passfile: Path, conninfo: str) -> str:
    """The string as it is, or with the product's passfile where that holds a fitting password.

    Args:
        passfile: the product's own.
        conninfo: libpq connection string.
    """
    found = passfile_for(passfile, conninfo)
    return make_conninfo(conninfo, passfile=str(found)) if found else conninfo
