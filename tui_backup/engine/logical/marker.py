"""The marker: transaction ids burnt right after the snapshot (DESIGN.md section 3, condition d).

The next incremental asks the server what became of them. If its history was cut and lived again (a storage snapshot
rolled back, commits lost in a crash), the answers differ, and ids may have been used twice.
"""

from __future__ import annotations

import secrets
from contextlib import closing
from pathlib import Path

import psycopg

from tui_backup import manifest
from tui_backup.engine.connection import connect, map_error

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


class ReadOnlyError(Exception):
    """No transaction ids can be had; the text says why."""
