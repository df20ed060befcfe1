"""Putting a restored database in a live one's place by two renames, and taking it back.

The old database is kept, closed to connections, until somebody drops it by hand. Every step can be told afterwards from
the two oids that were recorded before the first one, so an agent that starts again after a crash knows where it stands.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import psycopg
from psycopg import sql

from tui_backup import manifest
from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.acl import apply_acl, apply_settings
from tui_backup.engine.logical.createdb import comment_statement, drop_database, end_sessions_on
from tui_backup.engine.logical.target import Target, one
from tui_backup.errors import (
    AlreadyExistsError,
    JobStateError,
    NotFoundError,
    PermissionRefusedError,
    TargetInUseError,
    TuiBackupError,
)

_log = logging.getLogger(__name__)

_NAME_BYTES = 63


class SwapState(StrEnum):
    """Where a swap stands, told from the server alone."""

    NOT_SWAPPED = "not_swapped"
    SWAPPED = "swapped"
    UNDONE = "undone"
    FINISHED = "finished"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SwapRecord:
    """What must be recorded before a swap begins, so that it can be told and undone later.

    Args:
        live: name of the live database.
        new: name under which the restored one was made.
        kept: name the old one gets.
        live_oid: oid of the live database before the swap.
        new_oid: oid of the restored one.
        undone: name the restored one gets when the swap is undone, once it was.
    """

    live: str
    new: str
    kept: str
    live_oid: int
    new_oid: int
    undone: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The record for a restore log's metadata."""
        return {
            "live": self.live,
            "new": self.new,
            "kept": self.kept,
            "live_oid": self.live_oid,
            "new_oid": self.new_oid,
            "undone": self.undone,
        }

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> SwapRecord:
        """Read what :meth:`to_json` wrote."""
        return cls(**body)


def name_with_suffix(name: str, suffix: str) -> str:
    """``name`` + ``suffix`` in at most 63 bytes, the name cut at a character's border."""
    room = _NAME_BYTES - len(suffix.encode())
    return name.encode()[:room].decode(errors="ignore") + suffix


def kept_name(live: str, at: datetime) -> str:
    """The name a replaced database is kept under."""
    return name_with_suffix(live, f"_old_{at:%Y%m%d%H%M%S}")


def record_swap(target: Target, *, live: str, new: str, at: datetime) -> SwapRecord:
    """Look both databases up and choose the kept one's name; changes nothing.

    Raises:
        NotFoundError: one of them is not there.
        AlreadyExistsError: the kept one's name is taken.
    """
    with target.admin(avoid=(live, new), what=f"preparing the swap of {live}") as conn:
        kept = kept_name(live, at)
        oids = _oids(conn)
        for name in (live, new):
            if name not in oids:
                raise NotFoundError(f"There is no database {name} on this server.")
        if kept in oids:
            raise AlreadyExistsError(f"A database named {kept} exists already.", hint="Try again in a second.")
        return SwapRecord(live=live, new=new, kept=kept, live_oid=oids[live], new_oid=oids[new])


def inspect_swap(target: Target, record: SwapRecord) -> SwapState:
    """Tell where a swap stands, whatever became of who was doing it."""
    with target.admin(avoid=(record.live, record.new), what="looking at a swap") as conn:
        return _state(conn, record)


def swap_databases(target: Target, record: SwapRecord) -> list[str]:
    """End the live database's sessions and exchange the names, in one transaction.

    The live one is as before, and open, after any failure. What hangs on the live database and not on its contents
    (owner, grants, settings, limit, comment) is carried over to the restored one.

    Returns:
        Warnings: what could not be carried over.

    Raises:
        JobStateError: the databases are not those that were recorded.
        TargetInUseError: the sessions could not be ended in time.
        PermissionRefusedError: the login may not end the sessions or rename the databases.
    """
    warnings: list[str] = []
    with target.admin(avoid=(record.live, record.new), what=f"swapping {record.live}") as conn:
        if _state(conn, record) is not SwapState.NOT_SWAPPED:
            raise JobStateError(f"The databases {record.live} and {record.new} are not as they were recorded.")
        with _closed(target, conn, record.live):
            end_sessions_on(conn, [record.live_oid, record.new_oid])
            with _renaming(), conn.transaction():
                _rename(conn, record.live, record.kept)
                _rename(conn, record.new, record.live)
                _carry_over(conn, record, warnings)
    return warnings


def undo_swap(target: Target, record: SwapRecord, *, at: datetime) -> SwapRecord:
    """Put the kept database back under the live name; the restored one is kept, closed, under a name of its own.

    Returns:
        The record with the name the restored one has now.

    Raises:
        JobStateError: the swap is not in place any more.
    """
    undone = name_with_suffix(record.live, f"_undone_{at:%Y%m%d%H%M%S}")
    with target.admin(avoid=(record.live, record.kept), what=f"undoing the swap of {record.live}") as conn:
        if _state(conn, record) is not SwapState.SWAPPED:
            raise JobStateError(
                f"The swap of {record.live} cannot be undone: the databases are no longer as the swap left them.",
                hint="The kept database may have been dropped or renamed by hand.",
            )
        with _closed(target, conn, record.live):
            end_sessions_on(conn, [record.live_oid, record.new_oid])
            with _renaming(), conn.transaction():
                _rename(conn, record.live, undone)
                _rename(conn, record.kept, record.live)
                _allow_connections(conn, record.live, allow=True)
    return replace(record, undone=undone)


def finish_swap(target: Target, record: SwapRecord) -> None:
    """Drop the kept old database; afterwards the swap cannot be undone.

    Raises:
        JobStateError: the swap was undone, or the kept database is not the recorded one.
    """
    with target.admin(avoid=(record.live, record.kept), what=f"dropping {record.kept}") as conn:
        state = _state(conn, record)
        if state is SwapState.FINISHED:
            return
        if state is not SwapState.SWAPPED:
            raise JobStateError(
                f"{record.kept} was not dropped: the databases are no longer as the swap left them.",
                hint="Look at the server's list of databases, and drop by hand what is not wanted.",
            )
        drop_database(conn, name=record.kept, oid=record.live_oid)


def reopen_live(target: Target, record: SwapRecord) -> None:
    """Let sessions into the live database again after a swap, or its undo, that was cut off before its renames."""
    with target.admin(avoid=(record.live, record.new), what=f"reopening {record.live}") as conn:
        if _state(conn, record) in (SwapState.NOT_SWAPPED, SwapState.SWAPPED):
            _allow_connections(conn, record.live, allow=True)


def _state(conn: Connection, record: SwapRecord) -> SwapState:
    names = {oid: name for name, oid in _oids(conn).items()}
    old, new = names.get(record.live_oid), names.get(record.new_oid)
    if old == record.live:
        if record.undone is not None or new != record.new:
            return SwapState.UNDONE if new is not None else SwapState.UNKNOWN
        return SwapState.NOT_SWAPPED
    if new == record.live:
        if old is None:
            return SwapState.FINISHED
        return SwapState.SWAPPED if old == record.kept else SwapState.UNKNOWN
    return SwapState.UNKNOWN


def _oids(conn: Connection) -> dict[str, int]:
    rows = conn.execute("SELECT datname, oid FROM pg_catalog.pg_database").fetchall()
    return {str(name): int(oid) for name, oid in rows}


def _rename(conn: Connection, old: str, new: str) -> None:
    conn.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new)))


def _allow_connections(conn: Connection, name: str, *, allow: bool) -> None:
    statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    conn.execute(statement.format(sql.Identifier(name), sql.SQL("true" if allow else "false")))


class _closed:
    """Keep new sessions out of a database; let them in again when the body fails, by a new session if need be."""

    def __init__(self, target: Target, conn: Connection, name: str) -> None:
        self._target = target
        self._conn = conn
        self._name = name

    def __enter__(self) -> None:
        _allow_connections(self._conn, self._name, allow=False)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None:
            return
        if not self._conn.closed:
            _allow_connections(self._conn, self._name, allow=True)
            return
        try:
            with self._target.admin(avoid=(self._name,), what=f"reopening {self._name}") as conn:
                _allow_connections(conn, self._name, allow=True)
        except TuiBackupError as failure:
            # the server is gone; whoever asks inspect_swap() later reopens it
            _log.warning("%s is closed to connections: %s", self._name, failure.message)


class _renaming:
    """Say in the product's words why two renames were refused."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            raise PermissionRefusedError(
                f"The login may not rename the databases: {error.diag.message_primary}.",
                hint="It must own both databases and have CREATEDB, or be a superuser.",
            ) from error
        if isinstance(error, psycopg.errors.DuplicateDatabase):
            raise AlreadyExistsError(
                f"The name is taken: {error.diag.message_primary}.", hint="Rename or drop that database first."
            ) from error
        if isinstance(error, psycopg.errors.ObjectInUse):
            raise TargetInUseError(
                f"A database is in use: {error.diag.message_primary}. {error.diag.message_detail or ''}".strip(),
                hint="Commit or roll back its prepared transactions (pg_prepared_xacts), then swap again.",
            ) from error


def _carry_over(conn: Connection, record: SwapRecord, warnings: list[str]) -> None:
    """Give the restored database what hangs on the replaced one."""
    row = conn.execute(
        "SELECT pg_catalog.pg_get_userbyid(d.datdba), d.datacl::text[], d.datconnlimit,"
        " pg_catalog.shobj_description(d.oid, 'pg_database'), pg_catalog.pg_get_userbyid(n.datdba), n.datacl::text[]"
        " FROM pg_catalog.pg_database d, pg_catalog.pg_database n WHERE d.oid = %s AND n.oid = %s",
        (record.live_oid, record.new_oid),
    ).fetchone()
    if row is None:
        raise JobStateError(f"The databases {record.live} and {record.new} are gone.")
    owner, acl, limit, comment, new_owner, new_acl = row
    name = sql.Identifier(record.live)
    if owner != new_owner:
        conn.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, sql.Identifier(owner)))
    if acl is None and new_acl is not None:
        conn.execute(sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO PUBLIC").format(name))
    elif acl is not None and acl != new_acl:
        apply_acl(conn, sql.SQL("DATABASE"), name, acl=acl, owner=owner, warn=warnings.append)
    conn.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(name, sql.Literal(int(limit))))
    conn.execute(comment_statement(record.live, comment))
    _carry_settings(conn, record, warnings)


def _carry_settings(conn: Connection, record: SwapRecord, warnings: list[str]) -> None:
    """The live database's settings replace those that came with the backup."""
    statement = (
        "SELECT pg_catalog.pg_get_userbyid(NULLIF(setrole, 0)), setconfig"
        " FROM pg_catalog.pg_db_role_setting WHERE setdatabase = %s"
    )
    mine = conn.execute(statement, (record.new_oid,)).fetchall()
    theirs = conn.execute(statement, (record.live_oid,)).fetchall()
    if sorted(mine, key=str) == sorted(theirs, key=str):
        return
    name = sql.Identifier(record.live)
    for role, _ in mine:
        if role is None:
            conn.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(name))
        else:
            conn.execute(sql.SQL("ALTER ROLE {} IN DATABASE {} RESET ALL").format(sql.Identifier(role), name))
    settings = [manifest.Setting(role=role, assignments=list(assignments)) for role, assignments in theirs]
    apply_settings(conn, record.live, settings, warnings.append)


def leftover_databases(target: Target, live: str) -> list[str]:
    """Names of databases on the server that look like kept or undone copies of ``live``, for a plan's hints."""
    with target.admin(what="listing databases") as conn:
        prefixes = [name_with_suffix(live, f"_{kind}_00000000000000")[:-14] for kind in ("old", "undone")]
        return [name for name in _oids(conn) if any(name.startswith(p) for p in prefixes)]


def sessions_on(conn: Connection, database: str) -> int:
    """How many client sessions are connected to a database, without our own."""
    return int(
        one(
            conn,
            "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datname = %s"
            " AND pid <> pg_catalog.pg_backend_pid() AND backend_type IN ('client backend', 'walsender')",
            (database,),
        )
    )
