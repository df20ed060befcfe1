"""A restore's target server: how its connections are opened and what their sessions are set to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from tui_backup.engine.connection import connect, map_error
from tui_backup.errors import TuiBackupError

Connection = psycopg.Connection[tuple[Any, ...]]
"""A synchronous connection whose rows are plain tuples."""

# A database or a login may carry settings of its own (read-only by default, a statement timeout …) that must not
# hinder a restore; and a value's text must be read by the same rules as it was written by.
_SESSION_SETTINGS: dict[str, str] = {
    "default_transaction_read_only": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "search_path": "",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "xmloption": "content",
    "row_security": "off",
    "synchronize_seqscans": "off",
    "standard_conforming_strings": "on",
    "check_function_bodies": "off",
    "client_min_messages": "error",
}

# psql and pg_restore read the environment of a login in the same way; they set the rest themselves.
TOOL_OPTIONS = "-c default_transaction_read_only=off -c synchronous_commit=off -c client_min_messages=error"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a restore goes.

    Args:
        conninfo: libpq connection string of the server, without a password.
        passfile: a .pgpass file that holds the password.
        application_name: shown in pg_stat_activity; a rescue finds a dead attempt's sessions by it.
    """

    conninfo: str
    passfile: Path | None = None
    application_name: str = "tui-backup restore"

    def connect(self, dbname: str | None = None, *, autocommit: bool = True) -> Connection:
        """Open a connection; ``dbname`` replaces the connection string's database."""
        return connect(
            self.conninfo,
            dbname=dbname,
            application_name=self.application_name,
            autocommit=autocommit,
            passfile=self.passfile,
        )

    @contextmanager
    def session(self, dbname: str | None = None, *, what: str) -> Iterator[Connection]:
        """An autocommit connection whose database errors come out as typed errors naming ``what`` was being done."""
        conn = self.connect(dbname)
        try:
            with database_errors(what):
                yield conn
        finally:
            conn.close()


@contextmanager
def database_errors(what: str) -> Iterator[None]:
    """Turn psycopg's errors into the product's."""
    try:
        yield
    except psycopg.Error as error:
        raise map_error(error, what) from error


def prepare_session(conn: Connection, *, encoding: str, bulk: bool = False) -> None:
    """Give a session the settings that a restore relies on.

    Args:
        conn: an autocommit connection.
        encoding: the backup database's encoding, in which its data was written.
        bulk: do not wait for each commit to reach the disk; the caller makes the last one synchronous.
    """
    settings = dict(_SESSION_SETTINGS, client_encoding=encoding)
    if bulk:
        settings["synchronous_commit"] = "off"
    for name, value in settings.items():
        conn.execute("SELECT set_config(%s, %s, false)", (name, value))


def server_major(conn: Connection) -> int:
    """Major version of the server: 18 for 180001."""
    return conn.info.server_version // 10000


def one(conn: Connection, statement: LiteralString | sql.Composed, values: object = None) -> Any:
    """The first column of the only row, None when there is no row."""
    row = conn.execute(statement, values).fetchone()  # type: ignore[arg-type]
    return row[0] if row else None


def name_in_use(conn: Connection, database: str) -> bool:
    """Whether the server has a database of that name."""
    return bool(one(conn, "SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = %s)", (database,)))


def qualified(schema: str, name: str) -> sql.Identifier:
    """A schema-qualified, quoted name."""
    return sql.Identifier(schema, name)


def add_details(error: BaseException, **details: Any) -> None:
    """Add facts to a typed error; other errors stay as they are."""
    if isinstance(error, TuiBackupError):
        error.details.update(details)
