"""A restore's target server: how its connections are opened and what their sessions are set to."""

from __future__ import annotations

import threading
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from tui_backup.engine.connection import Connection, connect, map_error, parse_conninfo
from tui_backup.engine.logical.session import session_settings
from tui_backup.errors import (
    LoginFailedError,
    PermissionRefusedError,
    SourceChangedError,
    SourcePermissionError,
    SqlFailedError,
    TargetMismatchError,
    TargetSpaceError,
    TuiBackupError,
)
from tui_backup.manifest import Contents
from tui_backup.model import StopFlag

_CANCEL_EVERY_S = 0.5

# Beside what a backup's sessions set: a database or a login may carry settings of its own (read-only by default) that
# must not hinder a restore.
_SESSION_SETTINGS = {
    "default_transaction_read_only": "off",
    "xmloption": "content",
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
    def session(
        self, dbname: str | None = None, *, what: str, stop: StopFlag | None = None, autocommit: bool = True
    ) -> Generator[Connection]:
        """A connection for one piece of work, closed at its end.

        Args:
            dbname: another database than the connection string's.
            what: what is being done, for the typed errors that database errors come out as.
            stop: cancels the running statement when set; its reason is raised then.
            autocommit: psycopg's autocommit.
        """
        conn = self.connect(dbname, autocommit=autocommit)
        try:
            with database_errors(what, stop), cancelled_by(stop, conn):
                yield conn
        finally:
            conn.close()

    @contextmanager
    def admin(self, *, what: str, stop: StopFlag | None = None, avoid: Collection[str] = ()) -> Generator[Connection]:
        """A session for work on whole databases, which must not depend on the database that was lost.

        Args:
            what: as for :meth:`session`.
            stop: as for :meth:`session`.
            avoid: databases that must not be connected to, since they are to be renamed or dropped.
        """
        own = str(parse_conninfo(self.conninfo).get("dbname") or "")
        names = [name for name in dict.fromkeys(("postgres", own, "template1")) if name and name not in avoid]
        for name in names[:-1]:
            try:
                conn = self.connect(name)
            except LoginFailedError:
                continue
            break
        else:
            conn = self.connect(names[-1])
        try:
            with database_errors(what, stop), cancelled_by(stop, conn):
                yield conn
        finally:
            conn.close()


@contextmanager
def cancelled_by(stop: StopFlag | None, conn: Connection) -> Generator[None]:
    """Cancel whatever the connection is doing when ``stop`` is set, again and again until the body has ended."""
    if stop is None:
        yield
        return
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            if stop.is_set:
                # a cancel that does not get through is tried again
                with suppress(psycopg.Error, OSError):
                    conn.cancel_safe(timeout=5.0)
                done.wait(_CANCEL_EVERY_S)

    thread = threading.Thread(target=watch, name="restore-cancel", daemon=True)
    thread.start()
    try:
        stop.check()
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def database_errors(what: str, stop: StopFlag | None = None) -> Generator[None]:
    """Turn psycopg's errors into the product's; after a stop its reason is raised in their place."""
    try:
        yield
    except psycopg.Error as error:
        if stop is not None and stop.reason is not None:
            raise stop.reason from error
        raise restore_error(error, what) from error


def restore_error(error: BaseException, what: str) -> TuiBackupError:
    """The typed error for a failure on a restore's target."""
    mapped = map_error(error, what)
    state = str(getattr(error, "sqlstate", None) or "")
    if isinstance(mapped, SourcePermissionError):
        return PermissionRefusedError(
            mapped.message, hint="Give the login the right, or restore as a superuser.", details=mapped.details
        )
    if isinstance(mapped, SourceChangedError):
        return TargetMismatchError(mapped.message, details=mapped.details)
    if state == "53100":
        return TargetSpaceError(mapped.message, hint="Free space on the target server.", details=mapped.details)
    if isinstance(mapped, SqlFailedError):
        detail = getattr(getattr(error, "diag", None), "message_detail", None)
        if detail:
            mapped.details["detail"] = str(detail)
    return mapped


def prepare_session(conn: Connection, *, bulk: bool = False, lc_monetary: str = "") -> None:
    """Give a session the settings that moving rows relies on, the same as a backup's sessions have.

    Args:
        conn: an autocommit connection.
        bulk: do not wait for each commit to reach the disk; the restore's last one is synchronous.
        lc_monetary: the locale by which the backup's money values are written, "" for none.
    """
    settings = session_settings(server_major(conn)) | _SESSION_SETTINGS
    if bulk:
        settings["synchronous_commit"] = "off"
    if lc_monetary and one(conn, "SELECT pg_catalog.current_setting('lc_monetary')") != lc_monetary:
        settings["lc_monetary"] = lc_monetary
    for name, value in settings.items():
        conn.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))


def monetary_locale(contents: Contents) -> str:
    """The backup server's lc_monetary where a table has money in it, else ""."""
    types = (column.type for table in contents.tables for column in table.columns)
    return contents.server.lc_monetary if any("money" in name for name in types) else ""


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
