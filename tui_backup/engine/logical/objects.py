"""What a restore puts back beside tables: sequence positions, large objects, materialised views' contents."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import psycopg
from psycopg import sql

from tui_backup import manifest
from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.acl import apply_acl
from tui_backup.engine.logical.frames import blob_ref
from tui_backup.engine.logical.target import one
from tui_backup.errors import DamagedError
from tui_backup.model import BackupReader, ProgressReport, StopFlag


def set_sequences(conn: Connection, sequences: Sequence[manifest.Sequence]) -> None:
    """Put sequences to the positions they had, those not called yet included."""
    for sequence in sequences:
        name = sql.Identifier(sequence.schema, sequence.name).as_string(conn)
        conn.execute(
            "SELECT pg_catalog.setval(%s::pg_catalog.regclass, %s, %s)", (name, sequence.last_value, sequence.is_called)
        )


def load_large_objects(
    conn: Connection,
    large: manifest.LargeObjects,
    reader: BackupReader,
    *,
    no_owner: bool,
    progress: ProgressReport,
    stop: StopFlag,
    warn: Callable[[str], None],
) -> int:
    """Create the large objects under their own oids and fill them.

    Returns:
        How many.
    """
    if not large.objects:
        return 0
    with conn.transaction():
        conn.execute(
            "SELECT pg_catalog.lo_create(o) FROM pg_catalog.unnest(%s::pg_catalog.oid[]) AS o",
            ([item.oid for item in large.objects],),
        )
        conn.execute(
            "CREATE TEMPORARY TABLE tui_backup_pieces"
            " (loid pg_catalog.oid, place pg_catalog.int8, data pg_catalog.bytea) ON COMMIT DROP"
        )
        for chunk in large.chunks:
            _load_pieces(conn, chunk, reader, progress=progress, stop=stop)
        if not no_owner:
            _give_away(conn, large.objects, warn)
        for item in large.objects:
            if item.comment is not None:
                conn.execute(
                    sql.SQL("COMMENT ON LARGE OBJECT {} IS {}").format(sql.Literal(item.oid), sql.Literal(item.comment))
                )
    return len(large.objects)


def _load_pieces(
    conn: Connection, chunk: manifest.Chunk, reader: BackupReader, *, progress: ProgressReport, stop: StopFlag
) -> None:
    """Write one chunk's pieces; the server unpacks them."""
    with conn.cursor() as cursor:
        with cursor.copy("COPY pg_temp.tui_backup_pieces (loid, place, data) FROM STDIN") as copy:
            for blob in chunk.blobs:
                stop.check()
                copy.write(reader.read_blob(blob_ref(blob)))
                progress(bytes_=blob.raw_bytes)
        if cursor.rowcount != chunk.rows:
            raise DamagedError(f"A chunk of large objects has {cursor.rowcount} pieces, not {chunk.rows}.")
    conn.execute("SELECT pg_catalog.lo_put(loid, place, data) FROM pg_temp.tui_backup_pieces")
    conn.execute("TRUNCATE pg_temp.tui_backup_pieces")


def _give_away(conn: Connection, objects: Sequence[manifest.LargeObject], warn: Callable[[str], None]) -> None:
    """Owners and grants, each object on its own so that one role that is missing does not undo the rest."""
    for item in objects:
        number = sql.Literal(item.oid)
        owner = str(one(conn, "SELECT current_user"))
        try:
            with conn.transaction():
                conn.execute(sql.SQL("ALTER LARGE OBJECT {} OWNER TO {}").format(number, sql.Identifier(item.owner)))
            owner = item.owner
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedObject) as error:
            warn(f"large object {item.oid} was not given to {item.owner}: {error.diag.message_primary}")
        if item.acl is not None:
            apply_acl(conn, sql.SQL("LARGE OBJECT"), number, acl=item.acl, owner=owner, warn=warn)


def refresh_views(
    conn: Connection, views: Sequence[manifest.MaterializedView], *, search_path: str | None, stop: StopFlag
) -> None:
    """Fill the materialised views that were filled, in the order in which they build upon each other.

    Args:
        search_path: tried for a view that cannot be filled with an empty one (a function that it calls may rely on
            the database's own).
    """
    for view in views:
        if not view.populated:
            continue
        stop.check()
        statement = sql.SQL("REFRESH MATERIALIZED VIEW {}").format(sql.Identifier(view.schema, view.name))
        try:
            conn.execute(statement)
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction, psycopg.errors.UndefinedObject):
            if search_path is None:
                raise
            with conn.transaction():
                conn.execute("SELECT pg_catalog.set_config('search_path', %s, true)", (search_path,))
                conn.execute(statement)
