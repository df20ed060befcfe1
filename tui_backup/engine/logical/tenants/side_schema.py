"""A tenant's rows in a schema of their own beside the live ones, to look at before anything is replaced.

The tables are made like the live ones: of a backup that lies where the tenant can write to it nothing but values is
taken over, and those through the types' input functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psycopg
from psycopg import sql

from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.choose import choose_tables
from tui_backup.engine.logical.frames import check_chunks
from tui_backup.engine.logical.load import copy_chunks
from tui_backup.engine.logical.names import QualifiedName
from tui_backup.engine.logical.outcome import current_transaction
from tui_backup.engine.logical.result import Phases, RestoreResult
from tui_backup.engine.logical.sideschema import side_names
from tui_backup.engine.logical.target import Target, add_details, database_errors, monetary_locale, prepare_session
from tui_backup.engine.logical.tenants.fit import Unit, fit_units
from tui_backup.engine.logical.tenants.map import read_tenant_map
from tui_backup.engine.logical.tenants.plan import PlanRow
from tui_backup.engine.logical.tenants.restore import Tenancy, TenantResult, check_fit
from tui_backup.engine.logical.tenants.staging import Stager, create_like
from tui_backup.engine.logical.tenants.whose import Whose, read_whose, refuse_strays
from tui_backup.errors import TargetNotEmptyError, ValidationError
from tui_backup.manifest import Contents, Table
from tui_backup.model import BackupReader, ProgressReport, RestoreRequest, StopFlag


def show_tenant(
    request: RestoreRequest,
    contents: Contents,
    reader: BackupReader,
    target_conninfo: str,
    tenancy: Tenancy,
    *,
    restore_id: UUID,
    passfile: Path | None = None,
    application_name: str = "tui-backup restore",
    progress: ProgressReport,
    stop: StopFlag,
    jobs: int = 2,
    before_commit: Callable[[RestoreResult, str], None] | None = None,
) -> TenantResult:
    """Make the schema ``request.schema`` with a tenant's rows of the chosen tables (or of all).

    Args:
        request: what was chosen; with ``dry_run`` nothing is made.
        contents: the backup, of one tenant.
        reader: where its frames are.
        target_conninfo: the live database.
        tenancy: whose rows.
        restore_id: the restore log's id, for the schema's comment.
        passfile: a .pgpass file.
        application_name: of the session.
        progress: told phases, tables, rows, bytes.
        stop: ends the restore.
        jobs: frames checked at a time before the start.
        before_commit: called with the result and the transaction's id when only the commit is left.

    Raises:
        TargetNotEmptyError: the schema exists.
        TargetMismatchError: the live tables do not fit the backup.
        OtherTenantError: the backup holds a row that is not the tenant's.
    """
    if not request.schema:
        raise ValidationError("schema", "The side schema needs a name.")
    chosen = choose_tables(contents, request.tables)
    target = Target(target_conninfo, passfile, application_name)
    result = TenantResult(database="", schema=request.schema)
    phases = Phases(progress, stop)
    progress(tables_total=len(chosen.with_rows), bytes_total=2 * chosen.raw_bytes)
    with phases.phase("checking"):
        check_chunks(contents, reader, chosen.tables, large_objects=False, progress=progress, stop=stop, workers=jobs)
    with target.session(what="restoring into a side schema", stop=stop) as conn:
        result.database = conn.info.dbname
        prepare_session(conn, lc_monetary=monetary_locale(contents))
        stager = Stager(conn, reader, contents.database.encoding, progress, stop)
        side = _Side(request, request.schema, contents, tenancy, conn, stager, phases, result)
        try:
            with database_errors("restoring into a side schema", stop), conn.transaction():
                side.make(list(chosen.tables), restore_id)
                if request.dry_run:
                    raise psycopg.Rollback
                if before_commit is not None:
                    before_commit(result, current_transaction(conn))
        except BaseException as error:
            add_details(error, rollback_executed=True, rollback_at=datetime.now(UTC).isoformat())
            raise
    result.seconds = phases.seconds
    return result


@dataclass(frozen=True, slots=True)
class _Side:
    """One transaction's work."""

    request: RestoreRequest
    schema: str
    contents: Contents
    tenancy: Tenancy
    conn: Connection
    stager: Stager
    phases: Phases
    result: TenantResult

    def make(self, tables: list[Table], restore_id: UUID) -> None:
        """Schema, tables, rows; then whose they are."""
        live_map = read_tenant_map(self.conn, self.tenancy.settings)
        fit = fit_units(self.conn, tables, {(table.schema, table.name): table for table in live_map.tables})
        check_fit(fit)
        names = side_names([unit.tables[0] if len(unit.tables) == 1 else _root(tables, unit) for unit in fit.units])
        self.result.warnings += fit.warnings
        with self.phases.phase("schema"):
            self._create_schema(restore_id)
        with self.phases.phase("data"):
            for unit in fit.units:
                self._load(unit, (self.schema, names[unit.live.schema, unit.live.name]))
        with self.phases.phase("checking whose"):
            whose = read_whose(self.conn, self.tenancy.key, fit.units)
            placed = {unit.stage_name: (self.schema, names[unit.live.schema, unit.live.name]) for unit in fit.units}
            moved = Whose(whose.key, {name: placed[stage] for name, stage in whose.staged.items()})
            for unit in fit.units:
                refuse_strays(self.conn, unit, moved, place=sql.Identifier(*placed[unit.stage_name]))

    def _create_schema(self, restore_id: UUID) -> None:
        schema = sql.Identifier(self.schema)
        try:
            self.conn.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
        except psycopg.errors.DuplicateSchema as error:
            raise TargetNotEmptyError(
                f"A schema named {self.schema} exists already in this database.",
                hint="Choose another name, or drop it first.",
            ) from error
        text = (
            f"A tenant's rows as of {self.contents.snapshot.taken_at.isoformat()}, from backup {self.request.job_id}; "
            f"tui-backup restore {restore_id}"
        )
        self.conn.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(schema, sql.Literal(text)))

    def _load(self, unit: Unit, place: QualifiedName) -> None:
        dropped = create_like(self.conn, unit, place)
        with database_errors(f"loading {unit.label}", self.stager.stop):
            for table in unit.tables:
                self.result.rows_restored += copy_chunks(
                    self.conn,
                    table,
                    table.chunks,
                    self.stager.reader,
                    encoding=self.stager.encoding,
                    into=place,
                    columns=[dropped.get(name, name) for name in table.data_columns],
                    progress=self.stager.progress,
                    stop=self.stager.stop,
                )
                self.result.bytes_restored += table.raw_bytes
                self.result.tables_restored += 1
                self.stager.progress(tables_done=1)
        self.conn.execute(
            sql.SQL("COMMENT ON TABLE {} IS {}").format(
                sql.Identifier(*place), sql.Literal(f"{unit.label} of the backup")
            )
        )
        self.result.plan.tables.append(PlanRow(unit.label, 0, unit.rows, 0, 0))


def _root(tables: list[Table], unit: Unit) -> Table:
    """The backup's partitioned table that a unit's rows are of."""
    return next(table for table in tables if (table.schema, table.name) == (unit.live.schema, unit.live.name))
