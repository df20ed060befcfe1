"""Is a restored database the backup? Its rows, sequences, large objects and definitions against the backup's own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.archive import Archive, select_entries
from tui_backup.engine.logical.choose import Chosen
from tui_backup.engine.logical.compare_definitions import compare_definitions
from tui_backup.engine.logical.compare_rows import RowsResult, as_multiset, in_order, rows_query
from tui_backup.engine.logical.frames import run_equipped_workers
from tui_backup.engine.logical.largeobjects import cut_objects
from tui_backup.engine.logical.load import Loaded, LoadedPart
from tui_backup.engine.logical.names import qualified, quote
from tui_backup.engine.logical.reading import ReadQuery, RowReader
from tui_backup.engine.logical.target import Target, monetary_locale, one, server_major
from tui_backup.manifest import Contents, Table
from tui_backup.manifest import Sequence as BackupSequence
from tui_backup.model import BackupReader, ProgressReport, StopFlag


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as in the backup.

    Args:
        kind: ``table``, ``sequence``, ``large_objects`` or ``definition``.
        name: what differs.
        message: how, for people.
        chunk: for a table, the first chunk that differs; None where only sorted rows could be compared.
    """

    kind: str
    name: str
    message: str
    chunk: int | None = None


@dataclass(slots=True)
class CompareReport:
    """What a comparison found. ``methods`` counts tables by the way in which their rows were compared.

    ``definitions`` is ``texts`` where the SQL was compared, ``inventory`` where only kinds and names could be (another
    major version), ``none`` where definitions were not looked at.
    """

    tables: int = 0
    rows: int = 0
    raw_bytes: int = 0
    definitions: str = "none"
    methods: dict[str, int] = field(default_factory=dict[str, int])
    differences: list[Difference] = field(default_factory=list[Difference])
    notes: list[str] = field(default_factory=list[str])

    @property
    def identical(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def summary(self) -> str:
        """One sentence for people."""
        if self.identical:
            return f"{self.tables} tables, {self.rows} rows are identical with the backup"
        names = [difference.name for difference in self.differences]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        return f"{len(names)} differences: {', '.join(names[:5])}{more}"

    def note(self, tables: Sequence[Table], result: RowsResult) -> None:
        """Add the result of one table, or of several that were compared together."""
        rows = sum(table.rows for table in tables)
        self.tables += len(tables)
        self.rows += rows
        self.raw_bytes += sum(table.raw_bytes for table in tables)
        self.methods[result.method] = self.methods.get(result.method, 0) + 1
        if not result.identical:
            message = "other rows" if result.rows in (None, rows) else f"{result.rows} rows, the backup has {rows}"
            name = ", ".join(f"{table.schema}.{table.name}" for table in tables)
            self.differences.append(Difference("table", name, message, result.chunk))

    def to_json(self) -> dict[str, Any]:
        """The report for a restore log's metadata."""
        return {
            "identical": self.identical,
            "tables": self.tables,
            "rows": self.rows,
            "bytes": self.raw_bytes,
            "definitions": self.definitions,
            "methods": self.methods,
            "notes": self.notes,
            "differences": [
                {"kind": d.kind, "name": d.name, "message": d.message, "chunk": d.chunk} for d in self.differences[:100]
            ],
        }


def compare_database(
    contents: Contents,
    reader: BackupReader,
    target: Target,
    database: str,
    *,
    chosen: Chosen,
    archive: Archive,
    loaded: Loaded | None = None,
    progress: ProgressReport,
    stop: StopFlag,
    jobs: int = 2,
) -> CompareReport:
    """Compare a restored database with a backup; the source is never looked at.

    Args:
        contents: the backup.
        reader: where its frames are.
        target: the server.
        database: the restored database.
        chosen: the tables that were restored.
        archive: the backup's schema archive, open, with the options it was restored with.
        loaded: how the rows were loaded, where it is known; it saves sorting.
        progress: told bytes.
        stop: ends the comparison.
        jobs: tables at a time.
    """
    report = CompareReport()
    compare = _RowsComparison(contents, reader, target, database, loaded or Loaded(), progress, stop, report)
    groups = _groups(chosen.tables)
    run_equipped_workers(groups, compare.reader_for, compare.group, workers=jobs, stop=stop)
    with target.session(database, what="comparing sequences", stop=stop) as conn:
        _compare_sequences(conn, chosen.sequences, report)
        same_major = server_major(conn) == contents.server.major
        if chosen.everything:
            with compare.reader_for(stop) as rows:
                _compare_large_objects(contents, conn, rows, report)
            progress(bytes_=sum(chunk.raw_bytes for chunk in contents.large_objects.chunks))
    selection = select_entries(archive.entries, chosen.oids)
    texts = same_major and contents.schema.tool.endswith(f" {archive.tools.version}")
    found = compare_definitions(
        archive, selection.ids, target, database, encoding=contents.database.encoding, texts=texts
    )
    report.definitions = "texts" if texts else "inventory"
    for names, message in (
        (found.missing, "is missing"),
        (found.changed, "is not as in the backup"),
        (found.unexpected, "is not in the backup"),
    ):
        report.differences += [Difference("definition", name, message) for name in names]
    report.notes += [f"{name}: its columns stand in another order" for name in found.reordered]
    return report


def _groups(tables: Sequence[Table]) -> list[list[Table]]:
    """Tables whose rows can only be compared together stay together, largest first."""
    groups: dict[tuple[str, str], list[Table]] = {}
    for table in tables:
        if table.kind != "p":
            groups.setdefault(table.load_via or (table.schema, table.name), []).append(table)
    return sorted(groups.values(), key=lambda group: -sum(table.raw_bytes for table in group))


@dataclass(slots=True)
class _RowsComparison:
    """The rows' part of a comparison, several tables at a time."""

    contents: Contents
    reader: BackupReader
    target: Target
    database: str
    loaded: Loaded
    progress: ProgressReport
    stop: StopFlag
    report: CompareReport
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reader_for(self, stop: StopFlag) -> RowReader:
        """A connection that streams rows."""
        return RowReader(
            self.target,
            self.database,
            encoding=self.contents.database.encoding,
            lc_monetary=monetary_locale(self.contents),
            stop=stop,
        )

    def group(self, rows: RowReader, tables: list[Table], flag: StopFlag) -> None:
        """Compare one table, or the partitions that were loaded through one root."""
        results = [(table, self._table(table, rows.read, flag)) for table in tables]
        moved = [table for table, result in results if not result.identical]
        if len(tables) > 1 and moved and len({tuple(table.data_columns) for table in tables}) == 1:
            # a row may hash into another partition here: what counts is the whole
            whole = self._together(tables, rows.read, flag)
            results = [(table, whole if table in moved else result) for table, result in results]
        with self._lock:
            for table, result in results:
                self.report.note([table], result)
        self.progress(bytes_=sum(table.raw_bytes for table in tables))

    def _table(self, table: Table, read: ReadQuery, stop: StopFlag) -> RowsResult:
        parts = sorted(self.loaded.parts.get(table.oid, []), key=lambda part: table.chunks.index(part.chunks[0]))
        result = in_order(table.chunks, rows_query(table), read) if len(parts) < 2 else None
        if result is None:
            result = self._by_loaders(table, parts, read)
        if result.identical:
            return result
        ordered = result
        sorted_rows = as_multiset(table.chunks, rows_query(table), read, self.reader, stop)
        return RowsResult(sorted_rows.identical, "sorted", sorted_rows.rows, ordered.chunk)

    def _by_loaders(self, table: Table, parts: Sequence[LoadedPart], read: ReadQuery) -> RowsResult:
        """Read what each connection loaded, in its order."""
        rows = 0
        first = 0
        for part in parts:
            # xmin is 32 bits and shown as a number, which is what was recorded
            where = f"WHERE xmin = '{int(part.xid)}'::pg_catalog.xid"
            result = in_order(part.chunks, rows_query(table, where=where), read)
            if not result.identical:
                return RowsResult(False, "loaders", None, first + (result.chunk or 0))
            rows += result.rows or 0
            first += len(part.chunks)
        # nobody else's rows may stand beside them
        with self.target.session(self.database, what="counting rows", stop=self.stop) as conn:
            count = one(conn, sql.SQL("SELECT pg_catalog.count(*) FROM ONLY {}").format(_identifier(table)))
        return RowsResult(int(count) == rows == table.rows, "loaders", int(count))

    def _together(self, tables: Sequence[Table], read: ReadQuery, stop: StopFlag) -> RowsResult:
        root = tables[0].load_via
        assert root is not None  # noqa: S101 - only such groups have several tables
        columns = ", ".join(map(quote, tables[0].data_columns))
        chunks = [chunk for table in tables for chunk in table.chunks]
        query = f"SELECT {columns} FROM {qualified(*root)}"
        return as_multiset(chunks, query, read, self.reader, stop)


def _identifier(table: Table) -> sql.Identifier:
    return sql.Identifier(table.schema, table.name)


def _compare_sequences(conn: Connection, sequences: Sequence[BackupSequence], report: CompareReport) -> None:
    for sequence in sequences:
        row = conn.execute(
            sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(sequence.schema, sequence.name))
        ).fetchone()
        if row != (sequence.last_value, sequence.is_called):
            report.differences.append(
                Difference(
                    "sequence",
                    f"{sequence.schema}.{sequence.name}",
                    f"is at {row}, the backup has ({sequence.last_value}, {sequence.is_called})",
                )
            )


def _compare_large_objects(contents: Contents, conn: Connection, rows: RowReader, report: CompareReport) -> None:
    """Compare the large objects' oids, comments and bytes."""
    large = contents.large_objects
    found = dict(
        conn.execute(
            "SELECT oid::pg_catalog.int8, pg_catalog.obj_description(oid, 'pg_largeobject')"
            " FROM pg_catalog.pg_largeobject_metadata"
        ).fetchall()
    )
    if found != {item.oid: item.comment for item in large.objects}:
        message = f"{len(found)} objects, the backup has {len(large.objects)}, or their comments differ"
        report.differences.append(Difference("large_objects", "large objects", message))
        return
    tasks = cut_objects(large.objects)
    same = len(tasks) == len(large.chunks) and all(
        in_order([chunk], task.query, rows.read).identical for task, chunk in zip(tasks, large.chunks, strict=True)
    )
    longer = one(
        conn,
        "SELECT pg_catalog.count(*) FROM unnest(%s::pg_catalog.oid[], %s::pg_catalog.int8[]) AS o (id, size)"
        " WHERE pg_catalog.length(pg_catalog.lo_get(o.id, o.size, 1)) > 0",
        ([item.oid for item in large.objects], [item.size_bytes for item in large.objects]),
    )
    if not same or longer:
        report.differences.append(Difference("large_objects", "large objects", "their content differs"))
