"""Locks first, snapshot second: so nothing can be rewritten between the two.

LOCK TABLE takes no snapshot in a REPEATABLE READ transaction. With the locks held before the first query, no table can
be truncated or rewritten between the snapshot and its first read; such a table would look empty to an older snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tui_backup.engine.logical.names import shown
from tui_backup.engine.logical.relations import Relation, Selection
from tui_backup.engine.logical.session import SourceSession
from tui_backup.errors import LockTimeoutError, SourceChangedError, SqlFailedError

BEGIN_SQL = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

_LOCK_ATTEMPTS = 2
_LIST_ATTEMPTS = 5
_BLOCKERS_SQL = """
SELECT l.pid, a.usename::text, a.application_name, left(a.query, 200), l.granted, c.oid::bigint,
       extract(epoch FROM clock_timestamp() - a.xact_start)::bigint
FROM pg_locks l
JOIN pg_class c ON c.oid = l.relation
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.pid <> pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.relation = ANY (%s::bigint[]::oid[])
ORDER BY l.granted DESC, a.xact_start LIMIT 10
"""


def lock_statement(tables: Iterable[Relation]) -> str | None:
    """ACCESS SHARE on each table alone (ONLY: partitions are listed themselves); None for no tables."""
    names = ", ".join(f"ONLY {rel.sql}" for rel in tables)
    return f"LOCK TABLE {names} IN ACCESS SHARE MODE" if names else None


def begin_with_locks(session: SourceSession, select: Callable[[], Selection], *, lock_timeout_s: float) -> Selection:
    """Open the transaction, lock everything, and return what the snapshot then sees.

    Args:
        session: outside a transaction.
        select: lists and checks the relations; called before the locks and again in the snapshot.
        lock_timeout_s: how long one table may stay locked by somebody else.

    Raises:
        LockTimeoutError: twice too long; names who holds or waits for the lock.
        SourceChangedError: tables come and go faster than they can be locked.
    """
    lock_failures = 0
    for _ in range(_LIST_ATTEMPTS):
        before = select()
        session.run(BEGIN_SQL, what="opening the transaction")
        try:
            _lock(session, before.tables, lock_timeout_s)
            seen = select()
            locked = {rel.oid for rel in before.tables}
            late = [rel for rel in seen.tables if rel.oid not in locked]
            if late:
                _lock_late(session, late, lock_timeout_s)
        except LockTimeoutError as exc:
            session.rollback()
            lock_failures += 1
            if lock_failures >= _LOCK_ATTEMPTS:
                raise _explained(session, before, exc) from exc
        except SourceChangedError:
            # renamed or dropped between the list and the lock
            session.rollback()
        else:
            return seen
        session.stop.check()
    raise SourceChangedError("Tables are being dropped or renamed faster than they can be locked.")


def _lock(session: SourceSession, tables: Iterable[Relation], lock_timeout_s: float) -> None:
    statement = lock_statement(tables)
    if statement is None:
        return
    limit_ms = max(1, round(lock_timeout_s * 1000))
    # lock_timeout counts for each table anew: statement_timeout bounds the sum
    session.run(
        f"SET LOCAL lock_timeout = {limit_ms}; SET LOCAL statement_timeout = {limit_ms * 4}",
        what="setting the lock timeout",
    )
    try:
        session.run(statement, what="locking the tables")
    except SqlFailedError as exc:
        if exc.details.get("sqlstate") == "57014":
            raise LockTimeoutError("Locking the tables took too long.", details=exc.details) from exc
        raise
    session.run("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0", what="resetting the timeouts")


def _lock_late(session: SourceSession, late: list[Relation], lock_timeout_s: float) -> None:
    """Lock tables that were made between the list and the snapshot; one rewritten since cannot be read any more."""
    _lock(session, late, lock_timeout_s)
    # pg_relation_filenode looks at the relation as it is now, not as the snapshot sees it
    rows = session.query(
        "SELECT oid::bigint, pg_relation_filenode(oid)::bigint FROM pg_class WHERE oid = ANY (%s::bigint[]::oid[])",
        [[rel.oid for rel in late]],
        what="checking new tables",
    )
    now = dict(rows)
    for rel in late:
        if rel.relfilenode and now.get(rel.oid) != rel.relfilenode:
            raise SourceChangedError(f"Table {shown(rel.key)} was rewritten while the backup began.")


def _explained(session: SourceSession, selection: Selection, error: LockTimeoutError) -> LockTimeoutError:
    names = {rel.oid: shown(rel.key) for rel in selection.tables}
    rows = session.query(_BLOCKERS_SQL, [list(names)], what="looking for who holds the lock")
    blockers: list[dict[str, Any]] = [
        {
            "pid": pid,
            "user": user,
            "application": application,
            "query": query,
            "holds": "lock" if granted else "request",
            "table": names[oid],
            "seconds": seconds,
        }
        for pid, user, application, query, granted, oid, seconds in rows
    ]
    if not blockers:
        return error
    first = blockers[0]
    verb = "holds a lock on" if first["holds"] == "lock" else "waits for a lock on"
    since = f" for {first['seconds']} s" if first["seconds"] is not None else ""
    return LockTimeoutError(
        f"Table {first['table']} cannot be locked: process {first['pid']} (role {first['user']}) {verb} it{since}.",
        hint=f"Wait for it, or end it: SELECT pg_terminate_backend({first['pid']});",
        details={**error.details, "blockers": blockers},
    )
