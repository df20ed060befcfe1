"""Chosen tables into a schema of their own beside the live ones, to look at before anything is replaced.

The tables get the backup's columns, types and rows, and nothing else: no keys, no triggers, no grants. All is made in
one transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psycopg
from psycopg import sql

from tui_backup import manifest
from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.choose import Chosen, choose_tables
from tui_backup.engine.logical.compare import CompareReport
from tui_backup.engine.logical.compare_rows import as_multiset, in_order, rows_query
from tui_backup.engine.logical.frames import check_chunks
from tui_backup.engine.logical.load import copy_chunks
from tui_backup.engine.logical.names import shown
from tui_backup.engine.logical.outcome import current_transaction
from tui_backup.engine.logical.reading import HEAP_ORDER, session_reader
from tui_backup.engine.logical.result import Phases, RestoreResult
from tui_backup.engine.logical.swap import name_with_suffix
from tui_backup.engine.logical.target import (
    Target,
    add_details,
    database_errors,
    monetary_locale,
    one,
    prepare_session,
    server_major,
)
from tui_backup.errors import NotIdenticalError, TargetMismatchError, TargetNotEmptyError, ValidationError
from tui_backup.manifest import Contents
from tui_backup.model import BackupReader, ProgressReport, RestoreRequest, StopFlag

QualifiedName = tuple[str, str]


def side_names(tables: Sequence[manifest.Table]) -> dict[QualifiedName, str]:
    """The tables' names in the side schema: their own, with the schema before it where two would be the same."""
    count = Counter(table.name for table in tables)
    names: dict[QualifiedName, str] = {}
    taken: set[str] = set()
    for table in tables:
        wanted = table.name if count[table.name] == 1 else f"{table.schema}_{table.name}"
        name = name_with_suffix(wanted, "")
        number = 2
        while name in taken:
            name = name_with_suffix(wanted, f"_{number}")
            number += 1
        taken.add(name)
        names[table.schema, table.name] = name
    return names


def restore_side_schema(
    request: RestoreRequest,
    contents: Contents,
    reader: BackupReader,
    target_conninfo: str,
    *,
    restore_id: UUID,
    passfile: Path | None = None,
    application_name: str = "tui-backup restore",
    progress: ProgressReport,
    stop: StopFlag,
    jobs: int = 2,
    before_commit: Callable[[RestoreResult, str], None] | None = None,
) -> RestoreResult:
    """Make the schema ``request.schema`` in the connection's database and load the chosen tables into it.

    On any failure, and on a stop, the transaction is rolled back and the error's details say so.

    Args:
        request: what was chosen.
        contents: the backup.
        reader: where its frames are.
        target_conninfo: the database.
        restore_id: the restore log's id, for the schema's comment.
        passfile: a .pgpass file.
        application_name: of the session.
        progress: told phases, tables, rows, bytes.
        stop: ends the restore.
        jobs: frames checked at a time before the start.
        before_commit: called with the result and the transaction's id when only the commit is left; what it raises
            rolls everything back.

    Raises:
        TargetNotEmptyError: the schema exists.
        TargetMismatchError: a type of the backup is not there.
        NotIdenticalError: the rows were not the backup's; rolled back.
    """
    if not request.schema:
        raise ValidationError("schema", "The side schema needs a name.")
    chosen = choose_tables(contents, request.tables)
    target = Target(target_conninfo, passfile, application_name)
    phases = Phases(progress, stop)
    reads = 3 if request.compare else 2
    progress(tables_total=len(chosen.with_rows), bytes_total=reads * chosen.raw_bytes)
    with phases.phase("checking"):
        with target.session(what="looking at the database", stop=stop) as conn:
            _check_free(conn, request.schema)
        check_chunks(contents, reader, chosen.tables, large_objects=False, progress=progress, stop=stop, workers=jobs)
    result = RestoreResult(database="", schema=request.schema)
    with target.session(what=f"restoring into the schema {request.schema}", stop=stop) as conn:
        result.database = conn.info.dbname
        prepare_session(conn, lc_monetary=monetary_locale(contents))
        for name, value in HEAP_ORDER.items():
            conn.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))
        side = _SideSchema(request, request.schema, contents, reader, conn, progress, stop, phases, result)
        try:
            with database_errors("restoring into a side schema", stop), conn.transaction():
                side.make(chosen, restore_id)
                if before_commit is not None:
                    before_commit(result, current_transaction(conn))
        except BaseException as error:
            add_details(error, rollback_executed=True, rollback_at=datetime.now(UTC).isoformat())
            raise
    result.seconds = phases.seconds
    return result


def _check_free(conn: Connection, schema: str) -> None:
    if one(conn, "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s", (schema,)):
        raise TargetNotEmptyError(
            f"A schema named {schema} exists already in this database.", hint="Choose another name, or drop it first."
        )


@dataclass(slots=True)
class _SideSchema:
    """One transaction's work."""

    request: RestoreRequest
    schema: str
    contents: Contents
    reader: BackupReader
    conn: Connection
    progress: ProgressReport
    stop: StopFlag
    phases: Phases
    result: RestoreResult

    def make(self, chosen: Chosen, restore_id: UUID) -> None:
        """Schema, tables, rows, and their comparison."""
        names = side_names(chosen.tables)
        leaves = [table for table in chosen.tables if table.kind != "p"]
        with self.phases.phase("schema"):
            self._create_schema(restore_id)
            for table in leaves:
                self._create_table(table, names[table.schema, table.name])
            for table in chosen.tables:
                if table.kind == "p":
                    self._create_view(table, chosen.tables, names)
        with self.phases.phase("data"):
            for table in leaves:
                self._load(table, names[table.schema, table.name])
        if self.request.compare:
            with self.phases.phase("comparing"):
                self._compare(leaves, names)

    def _create_schema(self, restore_id: UUID) -> None:
        schema = sql.Identifier(self.schema)
        try:
            self.conn.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
        except psycopg.errors.DuplicateSchema as error:
            raise TargetNotEmptyError(f"A schema named {self.schema} exists already in this database.") from error
        text = (
            f"Tables as of {self.contents.snapshot.taken_at.isoformat()}, from backup {self.request.job_id}; "
            f"tui-backup restore {restore_id}"
        )
        self.conn.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(schema, sql.Literal(text)))

    def _create_table(self, table: manifest.Table, name: str) -> None:
        columns = [self._column(table, column) for column in table.columns]
        statement = sql.SQL("CREATE TABLE {} ({})").format(
            sql.Identifier(self.schema, name), sql.SQL(", ").join(columns)
        )
        self.conn.execute(statement)
        text = f"{shown((table.schema, table.name))} of the backup"
        self.conn.execute(
            sql.SQL("COMMENT ON TABLE {} IS {}").format(sql.Identifier(self.schema, name), sql.Literal(text))
        )

    def _column(self, table: manifest.Table, column: manifest.Column) -> sql.Composed:
        label = f"{shown((table.schema, table.name))}.{column.name}"
        parts: list[sql.Composable] = [sql.Identifier(column.name), self._type(label, column.type)]
        if column.collation and self._is_collation(column.collation):
            parts.append(sql.SQL("COLLATE ") + _verbatim(column.collation))
        if column.generated and column.generation_expression:
            # SQL by nature, and what the backup's schema would run, too
            virtual = column.generated == "v" and server_major(self.conn) >= 18
            kind = sql.SQL("VIRTUAL") if virtual else sql.SQL("STORED")
            parts.append(sql.SQL("GENERATED ALWAYS AS ({}) {}").format(_verbatim(column.generation_expression), kind))
        if column.not_null:
            parts.append(sql.SQL("NOT NULL"))
        return sql.SQL(" ").join(parts)

    def _type(self, label: str, name: str) -> sql.Composable:
        """The type's name as SQL, after the server has read it as a type and nothing else."""
        try:
            with self.conn.transaction():
                known = one(self.conn, "SELECT pg_catalog.to_regtype(%s) IS NOT NULL", (name,))
        except psycopg.errors.SyntaxError:
            known = False
        if not known:
            raise TargetMismatchError(
                f"The column {label} is of type {name}, which this database does not have.",
                hint="Restore into a new database instead.",
            )
        return _verbatim(name)

    def _is_collation(self, name: str) -> bool:
        known = one(self.conn, "SELECT pg_catalog.to_regcollation(%s) IS NOT NULL", (name,))
        if not known:
            self.result.warnings.append(f"the collation {name} is not on this server: the default is used")
        return bool(known)

    def _create_view(
        self, table: manifest.Table, tables: Sequence[manifest.Table], names: Mapping[QualifiedName, str]
    ) -> None:
        """A partitioned table is shown as a view of its partitions' rows."""
        leaves = [leaf for leaf in tables if leaf.kind != "p" and _is_below(leaf, table, tables)]
        if not leaves:
            self.result.warnings.append(f"{shown((table.schema, table.name))} has no partition in the backup")
            return
        columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns)
        selects = [
            sql.SQL("SELECT {} FROM {}").format(columns, sql.Identifier(self.schema, names[leaf.schema, leaf.name]))
            for leaf in leaves
        ]
        self.conn.execute(
            sql.SQL("CREATE VIEW {} AS {}").format(
                sql.Identifier(self.schema, names[table.schema, table.name]), sql.SQL(" UNION ALL ").join(selects)
            )
        )

    def _load(self, table: manifest.Table, name: str) -> None:
        self.result.rows_restored += copy_chunks(
            self.conn,
            table,
            table.chunks,
            self.reader,
            encoding=self.contents.database.encoding,
            into=(self.schema, name),
            progress=self.progress,
            stop=self.stop,
        )
        self.result.bytes_restored += table.raw_bytes
        self.result.tables_restored += 1
        self.progress(tables_done=1)

    def _compare(self, leaves: Sequence[manifest.Table], names: Mapping[QualifiedName, str]) -> None:
        report = CompareReport()
        self.result.compare = report
        read = session_reader(self.conn, self.contents.database.encoding, self.stop)
        for table in leaves:
            query = rows_query(table, place=(self.schema, names[table.schema, table.name]))
            result = in_order(table.chunks, query, read)
            if not result.identical:
                result = as_multiset(table.chunks, query, read, self.reader, self.stop)
            report.note([table], result)
            self.progress(bytes_=table.raw_bytes)
        if not report.identical:
            raise NotIdenticalError(
                f"The rows in the side schema were not the backup's: {report.summary()}.",
                hint="Nothing was kept: the transaction was rolled back.",
                details={"compare": report.to_json()},
            )


def _is_below(leaf: manifest.Table, root: manifest.Table, tables: Sequence[manifest.Table]) -> bool:
    by_name = {(table.schema, table.name): table for table in tables}
    current: manifest.Table | None = leaf
    while current is not None and current.parent is not None:
        if current.parent == (root.schema, root.name):
            return True
        current = by_name.get(current.parent)
    return False


def _verbatim(text: str) -> sql.SQL:
    """SQL text that the server wrote when the backup was made."""
    return sql.SQL(text)  # pyright: ignore[reportArgumentType]
