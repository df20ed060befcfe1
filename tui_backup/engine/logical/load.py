"""Loading a backup's chunks into empty tables over several connections.

Nothing hangs on the tables yet but their columns and checks: triggers, foreign keys and indexes come after the data. A
table that one connection loads after TRUNCATE comes back in the order in which it was read; what each connection loaded
is recorded, so that the comparison can follow it.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from psycopg import sql

from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.frames import blob_ref, run_equipped_workers
from tui_backup.engine.logical.target import Target, database_errors, one, prepare_session
from tui_backup.errors import DamagedError
from tui_backup.manifest import Chunk, Table
from tui_backup.model import BackupReader, ProgressReport, StopFlag

# below this a table is not worth several connections; and one that is no more than its share of the work is loaded by
# one, since only then it keeps its order and comes back frozen
_SPLIT_BYTES = 64 << 20
_WRITE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class LoadedPart:
    """Consecutive chunks that one transaction loaded into one table.

    Args:
        table: the backup's table.
        chunks: its chunks, in the order in which they were loaded.
        whole: these are all the table's rows, and they are in the order of the backup.
        xid: the loading transaction's 32-bit id, as xmin shows it.
    """

    table: Table
    chunks: tuple[Chunk, ...]
    whole: bool
    xid: str = ""


@dataclass(slots=True)
class Loaded:
    """What a load did. ``rows`` and ``raw_bytes`` are those of the COPY streams."""

    tables: int = 0
    rows: int = 0
    raw_bytes: int = 0
    parts: dict[int, list[LoadedPart]] = field(default_factory=dict[int, list[LoadedPart]])


def plan_parts(tables: Sequence[Table], jobs: int, *, split: bool = True) -> list[LoadedPart]:
    """Cut the work: large tables into one part a connection, the rest whole, largest first.

    Args:
        tables: what to load.
        jobs: connections.
        split: whether a table may be cut at all.
    """
    total = sum(table.raw_bytes for table in tables)
    parts: list[LoadedPart] = []
    for table in tables:
        if not table.chunks:
            continue
        share = max(_SPLIT_BYTES, total * 11 // (10 * jobs))
        splittable = split and jobs > 1 and table.load_via is None and table.extension is None and len(table.chunks) > 1
        if splittable and table.raw_bytes > share:
            slices = _slices(table.chunks, jobs)
            parts += [LoadedPart(table, tuple(chunks), whole=len(slices) == 1) for chunks in slices]
        else:
            parts.append(LoadedPart(table, tuple(table.chunks), whole=table.load_via is None))
    return sorted(parts, key=lambda part: -sum(chunk.raw_bytes for chunk in part.chunks))


def _slices(chunks: Sequence[Chunk], count: int) -> list[list[Chunk]]:
    """Cut into ``count`` runs of about the same length in bytes."""
    total = sum(chunk.raw_bytes for chunk in chunks)
    slices: list[list[Chunk]] = [[] for _ in range(count)]
    done = 0
    for chunk in chunks:
        slices[min(count - 1, done * count // max(total, 1))].append(chunk)
        done += chunk.raw_bytes
    return [part for part in slices if part]


def load_tables(
    target: Target,
    database: str,
    tables: Sequence[Table],
    reader: BackupReader,
    *,
    encoding: str,
    lc_monetary: str,
    progress: ProgressReport,
    stop: StopFlag,
    jobs: int,
    split: bool = True,
) -> Loaded:
    """Load the tables' chunks.

    Args:
        target: the server.
        database: where the tables are, empty.
        tables: those of the backup that shall be loaded.
        reader: where their frames are.
        encoding: the encoding in which the data was written.
        lc_monetary: the locale in which money was written, "" for none.
        progress: told tables, rows and bytes as they are committed.
        stop: ends the load.
        jobs: connections.
        split: let several connections load one large table, which loses the order of its rows.

    Raises:
        DamagedError: the number of rows is not the manifest's.
        SqlFailedError, TargetSpaceError, …: the server refused.
    """
    loaded = Loaded()
    lock = threading.Lock()
    open_parts: dict[int, int] = {}
    parts = plan_parts(tables, jobs, split=split)
    for part in parts:
        open_parts[part.table.oid] = open_parts.get(part.table.oid, 0) + 1

    @contextmanager
    def equip(flag: StopFlag) -> Generator[Connection]:
        with target.session(database, what="loading", stop=flag) as conn:
            prepare_session(conn, bulk=True, lc_monetary=lc_monetary)
            yield conn

    def work(conn: Connection, part: LoadedPart, flag: StopFlag) -> None:
        table = part.table
        with database_errors(f"loading {table.schema}.{table.name}", flag):
            done = _load_part(conn, part, reader, encoding=encoding, progress=progress, stop=flag)
        with lock:
            loaded.parts.setdefault(table.oid, []).append(done)
            loaded.rows += sum(chunk.rows for chunk in part.chunks)
            loaded.raw_bytes += sum(chunk.raw_bytes for chunk in part.chunks)
            open_parts[table.oid] -= 1
            if not open_parts[table.oid]:
                progress(tables_done=1)

    run_equipped_workers(parts, equip, work, workers=jobs, stop=stop)
    loaded.tables = len(tables)
    progress(tables_done=sum(1 for table in tables if not table.chunks))
    return loaded


def _load_part(
    conn: Connection,
    part: LoadedPart,
    reader: BackupReader,
    *,
    encoding: str,
    progress: ProgressReport,
    stop: StopFlag,
) -> LoadedPart:
    table = part.table
    with conn.transaction():
        freeze = part.whole and table.extension is None and table.access_method in ("", "heap")
        if freeze:
            conn.execute(sql.SQL("TRUNCATE ONLY {}").format(sql.Identifier(table.schema, table.name)))
        elif table.extension is not None:
            # the extension's script may have put rows there
            conn.execute(_delete_statement(table))
        copy_chunks(conn, table, part.chunks, reader, encoding=encoding, freeze=freeze, progress=progress, stop=stop)
        xid = str(one(conn, "SELECT pg_catalog.pg_current_xact_id()::pg_catalog.xid::text"))
    return LoadedPart(table, part.chunks, part.whole, xid)


def _delete_statement(table: Table) -> sql.Composed:
    statement = sql.SQL("DELETE FROM ONLY {}").format(sql.Identifier(table.schema, table.name))
    if not table.condition:
        return statement
    # the condition is SQL by nature: the extension's author wrote it, and the extension runs on this server
    return statement + sql.SQL(" " + table.condition)  # pyright: ignore[reportArgumentType]


def copy_statement(
    schema: str, name: str, columns: Sequence[str], *, encoding: str, freeze: bool = False
) -> sql.Composed:
    """COPY … FROM STDIN in the encoding in which the data was written."""
    # a table without columns has rows too, and no column list
    listed = sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, columns))) if columns else sql.SQL("")
    options: list[sql.Composable] = [sql.SQL("FORMAT text, ENCODING {}").format(sql.Literal(encoding))]
    if freeze:
        options.append(sql.SQL("FREEZE true"))
    return sql.SQL("COPY {}{} FROM STDIN WITH ({})").format(
        sql.Identifier(schema, name), listed, sql.SQL(", ").join(options)
    )


def copy_chunks(
    conn: Connection,
    table: Table,
    chunks: Sequence[Chunk],
    reader: BackupReader,
    *,
    encoding: str,
    progress: ProgressReport,
    stop: StopFlag,
    into: tuple[str, str] | None = None,
    columns: Sequence[str] | None = None,
    freeze: bool = False,
) -> int:
    """Stream chunks into a table by one COPY.

    Args:
        into: another table than the backup's (by default the partition root where one is needed).
        columns: that table's columns where they are called otherwise, in the order of the backup's.

    Returns:
        Rows loaded.

    Raises:
        DamagedError: the server took another number of rows than the manifest says.
    """
    schema, name = into or table.load_via or (table.schema, table.name)
    names = table.data_columns if columns is None else columns
    statement = copy_statement(schema, name, names, encoding=encoding, freeze=freeze)
    with conn.cursor() as cursor:
        with cursor.copy(statement) as copy:
            for chunk in chunks:
                for blob in chunk.blobs:
                    stop.check()
                    data = memoryview(reader.read_blob(blob_ref(blob)))
                    for start in range(0, len(data), _WRITE_BYTES):
                        stop.check()
                        copy.write(data[start : start + _WRITE_BYTES])
                    progress(bytes_=len(data))
                progress(rows=chunk.rows)
        rows = cursor.rowcount
    expected = sum(chunk.rows for chunk in chunks)
    if rows != expected:
        raise DamagedError(f"{schema}.{name} took {rows} rows where the backup has {expected}.")
    return rows
