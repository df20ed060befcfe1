"""Whether a restore whose end nobody saw has happened: asked of the server, by what was noted before the commit."""

from __future__ import annotations

import time
from uuid import UUID

from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.createdb import end_sessions_named, unfinished_comment
from tui_backup.engine.logical.target import Target, one
from tui_backup.errors import TargetInUseError

_SETTLED_WITHIN_S = 20.0


def current_transaction(conn: Connection) -> str:
    """The running transaction's full id, for :func:`was_committed`."""
    return str(one(conn, "SELECT pg_catalog.pg_current_xact_id()::text"))


def was_committed(target: Target, xid: str) -> bool:
    """Whether a transaction of the target's server has been committed; one still running is waited for.

    Raises:
        TargetInUseError: it does not end.
    """
    deadline = time.monotonic() + _SETTLED_WITHIN_S
    with target.admin(what="asking how a restore ended") as conn:
        while True:
            status = one(conn, "SELECT pg_catalog.pg_xact_status(%s::pg_catalog.xid8)", (xid,))
            if status != "in progress":
                return status == "committed"
            if time.monotonic() > deadline:
                raise TargetInUseError(
                    "The transaction of the restore is still running on the target server.",
                    hint="End its session with pg_terminate_backend() as a superuser.",
                )
            time.sleep(0.2)


def was_finished(target: Target, *, oid: int, restore_id: UUID) -> bool:
    """Whether the database that a restore made is there and no longer marked as unfinished."""
    with target.admin(what="asking how a restore ended") as conn:
        row = conn.execute(
            "SELECT pg_catalog.shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database WHERE oid = %s", (oid,)
        ).fetchone()
    return row is not None and row[0] != unfinished_comment(restore_id)


def end_sessions(target: Target, session_name: str) -> None:
    """End what a dead attempt may still be doing, so that nothing changes after it has been looked at."""
    with target.admin(what="ending the sessions of a dead restore") as conn:
        end_sessions_named(conn, session_name)
