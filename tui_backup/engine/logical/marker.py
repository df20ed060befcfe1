"""The marker: transaction ids burnt right after the snapshot (DESIGN.md section 3, condition d).

The next incremental asks the server what became of them. If its history was cut and lived again (a storage snapshot
rolled back, commits lost in a crash), the answers differ, and ids may have been used twice.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import psycopg

from tui_backup import manifest
from tui_backup.engine.connection import connect, map_error
from tui_backup.engine.logical.session import SourceSession

MARKER_IDS = 64


def random_pattern(count: int = MARKER_IDS) -> list[bool]:
    """Which of the transactions are committed: at random, but for the last one, which is."""
    return [*(bool(secrets.randbits(1)) for _ in range(count - 1)), True]


def burn(conninfo: str, *, application_name: str, passfile: Path | None = None) -> manifest.Marker:
    """Burn the ids on a connection of its own.

    Raises:
        ReadOnlyError: the server or the login allows no writing transaction.
        TuiBackupError: the connection failed.
    """
    pattern = random_pattern()
    begin = "BEGIN READ WRITE; SELECT pg_catalog.pg_current_xact_id()::text"
    script = "; ".join(f"{begin}; {'COMMIT' if committed else 'ROLLBACK'}" for committed in pattern)
    with closing(connect(conninfo, application_name=application_name, passfile=passfile)) as connection:
        try:
            # an empty transaction that waits for a slow disk or a synchronous standby would prove nothing more
            connection.execute("SET synchronous_commit = off")
            cursor = connection.execute(script.encode())
            xids: list[int] = []
            while True:
                if cursor.description:
                    xids += [int(row[0]) for row in cursor.fetchall()]
                if not cursor.nextset():
                    break
        except (psycopg.errors.ReadOnlySqlTransaction, psycopg.errors.InsufficientPrivilege) as exc:
            raise ReadOnlyError(str(exc.diag.message_primary)) from exc
        except psycopg.Error as exc:
            raise map_error(exc, "burning the marker's transaction ids") from exc
    if len(xids) != len(pattern):
        raise ReadOnlyError(f"the server answered with {len(xids)} of {len(pattern)} ids")
    return manifest.Marker(xids=xids, committed=pattern)


_STATUS_SQL = """
SELECT CASE WHEN x.id::xid8 >= pg_snapshot_xmax(pg_current_snapshot()) THEN 'in the future'
            ELSE coalesce(pg_xact_status(x.id::xid8), 'too old') END
FROM unnest(%s::text[]) WITH ORDINALITY AS x(id, position) ORDER BY x.position
"""


def marker_problem(session: SourceSession, then: manifest.Snapshot) -> str | None:
    """Condition (d): whether the marker that a backup left still stands.

    Args:
        session: a session with a snapshot.
        then: that backup's snapshot.

    Returns:
        What the server's answers give away, None when they are as they must be.
    """
    marker = then.marker
    if marker is None:
        return f"the parent has no marker: {then.marker_missing_reason or 'unknown why'}"
    rows = session.query(_STATUS_SQL, [[str(xid) for xid in marker.xids]], what="asking for the parent's marker")
    return compare_marker(marker, [str(row[0]) for row in rows])


def compare_marker(marker: manifest.Marker, answers: Sequence[str]) -> str | None:
    """Hold the server's answers against the pattern."""
    if "in the future" in answers:
        return "transaction ids that the parent saw are yet to come: the server's history was cut"
    if "too old" in answers:
        return "the server has forgotten how the parent's transactions ended"
    expected = ["committed" if committed else "aborted" for committed in marker.committed]
    wrong = sum(answer != wanted for answer, wanted in zip(answers, expected, strict=True))
    if wrong:
        return f"{wrong} of the parent's {len(expected)} marks differ: the server's history was cut and lived again"
    return None


class ReadOnlyError(Exception):
    """No transaction ids can be had; the text says why."""
