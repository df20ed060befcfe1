"""Keeps a restore off the catalog that records it: its own row, and every job's, would go with what is replaced."""

from __future__ import annotations

from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.target import one
from tui_backup.errors import TargetMismatchError

CATALOG_SCHEMA = "tui_backup"


def refuse_catalog(conn: Connection) -> None:
    """Refuse a live database that holds a catalog of tui-backup.

    Args:
        conn: a session in that database.

    Raises:
        TargetMismatchError: it holds one.
    """
    if one(conn, "SELECT pg_catalog.to_regclass('tui_backup.schema_migrations') IS NOT NULL"):
        raise TargetMismatchError(
            f"The database {conn.info.dbname} holds a catalog of tui-backup, which records this very restore.",
            hint="Restore the catalog into a new database, stop the agents, and exchange the two by hand.",
        )
