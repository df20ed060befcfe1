"""A tenant's rows put back in a database that others work in: staged, checked, planned, applied, compared."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.choose import Chosen, choose_tables
from tui_backup.engine.logical.compare import CompareReport, Difference
from tui_backup.engine.logical.frames import check_chunks
from tui_backup.engine.logical.inplace_keys import foreign_keys
from tui_backup.engine.logical.outcome import current_transaction
from tui_backup.engine.logical.own_catalog import CATALOG_SCHEMA, refuse_catalog
from tui_backup.engine.logical.result import Phases, RestoreResult
from tui_backup.engine.logical.target import Target, add_details, database_errors, monetary_locale, prepare_session
from tui_backup.engine.logical.tenants.apply import apply_plan, constraint_errors, lock_rows, rows_to_lock, taken_keys
from tui_backup.engine.logical.tenants.fit import Fit, Unit, fit_units
from tui_backup.engine.logical.tenants.map import read_tenant_map
from tui_backup.engine.logical.tenants.plan import PlanRow, make_plan, plan_query, rows_left
from tui_backup.engine.logical.tenants.quiet import Quiet, can_be_replica
from tui_backup.engine.logical.tenants.references import Blocker, References, refuse_blockers
from tui_backup.engine.logical.tenants.seen import look
from tui_backup.engine.logical.tenants.settings import TenantMapSettings
from tui_backup.engine.logical.tenants.staging import Stager
from tui_backup.engine.logical.tenants.whose import Whose, read_whose, refuse_strays
from tui_backup.errors import (
    KeyTakenError,
    LockTimeoutError,
    NotIdenticalError,
    TargetBusyError,
    TargetMismatchError,
)
from tui_backup.manifest import Contents
from tui_backup.model import BackupReader, ProgressReport, RestoreRequest, StopFlag

_LOCK_TIMEOUT_S = 30
_ATTEMPTS = 3
_WHAT = "restoring a tenant's rows"

Failure = TypeVar("Failure", bound=BaseException)


@dataclass(frozen=True, slots=True)
class Tenancy:
    """Whose rows a restore is about; nothing of it comes from the backup or from a request.

    Args:
        key: the tenant's value in the tenant column.
        settings: the source's tenant map.
    """

    key: str
    settings: TenantMapSettings


@dataclass(slots=True)
class TenantPlan:
    """What a restore does, or would do: per table, and what stands in the way."""

    tables: list[PlanRow] = field(default_factory=list[PlanRow])
    blocked_by: list[Blocker] = field(default_factory=list[Blocker])
    conflicts: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    notes: list[str] = field(default_factory=list[str])

    def to_json(self) -> dict[str, Any]:
        """As the restore log keeps it."""
        return {
            "tables": [row.to_json() for row in self.tables],
            "blocked_by": [blocker.to_json() for blocker in self.blocked_by],
            "conflicts": self.conflicts,
            "notes": self.notes,
        }


@dataclass(slots=True)
class TenantResult(RestoreResult):
    """A restore's result with its plan."""

    plan: TenantPlan = field(default_factory=TenantPlan)

    def to_json(self) -> dict[str, Any]:
        """The facts for a restore log's metadata."""
        # the dataclass is made anew because of its slots, so super() without arguments would not know it
        return {**RestoreResult.to_json(self), "plan": self.plan.to_json()}


class _Moved(Exception):
    """Rows were changed by others between the plan and their locks, or before the comparison: plan again."""


@contextmanager
def _given_way() -> Generator[None]:
    """Who waits for us while we wait for him: where the server ends ours, it is begun again."""
    try:
        yield
    except psycopg.errors.DeadlockDetected as error:
        raise _Moved("The tenant's rows were locked by others in another order.") from error


def restore_tenant(
    request: RestoreRequest,
    contents: Contents,
    reader: BackupReader,
    target_conninfo: str,
    tenancy: Tenancy,
    *,
    passfile: Path | None = None,
    application_name: str = "tui-backup restore",
    progress: ProgressReport,
    stop: StopFlag,
    jobs: int = 2,
    lock_timeout_s: int = _LOCK_TIMEOUT_S,
    before_commit: Callable[[RestoreResult, str], None] | None = None,
) -> TenantResult:
    """Make the tenant's rows in the connection's database those of the backup, and touch no other row.

    On any failure, and on a stop, the transaction is rolled back and the error's details say so
    (``rollback_executed``, ``rollback_at``). With ``request.dry_run`` nothing is locked or changed; the plan is made.

    Args:
        request: what was chosen.
        contents: the backup, of one tenant.
        reader: where its frames are.
        target_conninfo: the live database.
        tenancy: whose rows.
        passfile: a .pgpass file.
        application_name: of the session.
        progress: told phases, tables, rows, bytes.
        stop: ends the restore.
        jobs: frames checked at a time before the start.
        lock_timeout_s: how long to wait for each lock.
        before_commit: called with the result and the transaction's id when only the commit is left; what it raises
            rolls everything back.

    Raises:
        OtherTenantError: the backup is another tenant's, or holds a row that is not the tenant's.
        TargetMismatchError: shapes, rights or references forbid it.
        RowsInUseError: rows that stay refer to rows that would be deleted.
        KeyTakenError: a key of the backup is another's by now.
        TargetBusyError: the tenant's rows are written all the time.
        LockTimeoutError: somebody holds a lock on the tenant's rows.
        NotIdenticalError: the rows were not the backup's in the end; rolled back.
    """
    chosen = choose_tables(contents, request.tables)
    target = Target(target_conninfo, passfile, application_name)
    result = TenantResult(database="")
    phases = Phases(progress, stop)
    progress(tables_total=len(chosen.with_rows), bytes_total=2 * chosen.raw_bytes)
    with phases.phase("checking"):
        check_chunks(contents, reader, chosen.tables, large_objects=False, progress=progress, stop=stop, workers=jobs)
    with target.session(what=_WHAT, stop=stop) as conn:
        result.database = conn.info.dbname
        if any(table.schema == CATALOG_SCHEMA for table in chosen.tables):
            refuse_catalog(conn)
        prepare_session(conn, lc_monetary=monetary_locale(contents))
        conn.execute("SELECT pg_catalog.set_config('lock_timeout', %s, false)", (f"{lock_timeout_s}s",))
        conn.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        run = _TenantRestore(request, contents, reader, tenancy, conn, progress, stop, phases, result, chosen)
        run.stage()
        run.carry_out(before_commit)
    result.seconds = phases.seconds
    return result


def check_fit(fit: Fit) -> None:
    """Refuse a backup that does not fit the live tables.

    Raises:
        TargetMismatchError: it does not; lists why.
    """
    if fit.refusals:
        more = f" (and {len(fit.refusals) - 3} more)" if len(fit.refusals) > 3 else ""
        raise TargetMismatchError(
            f"The live tables do not fit the backup: {'; '.join(fit.refusals[:3])}{more}.",
            details={"refusals": fit.refusals},
        )


@dataclass(slots=True)
class _TenantRestore:
    """One session's work."""

    request: RestoreRequest
    contents: Contents
    reader: BackupReader
    tenancy: Tenancy
    conn: Connection
    progress: ProgressReport
    stop: StopFlag
    phases: Phases
    result: TenantResult
    chosen: Chosen
    units: list[Unit] = field(default_factory=list[Unit])
    whose: Whose = field(default_factory=lambda: Whose("", {}))
    planned: dict[int, PlanRow] = field(default_factory=dict[int, PlanRow])

    # -- before the transaction ---------------------------------------------------------------------------------

    def stage(self) -> None:
        """Load the backup's rows into staging tables and make sure that all of them are the tenant's."""
        with self.phases.phase("staging"):
            fit = self._fit()
            self.units, self.result.warnings = fit.units, list(fit.warnings)
            stager = Stager(self.conn, self.reader, self.contents.database.encoding, self.progress, self.stop)
            stager.check_rights()
            for unit in self.units:
                self.stop.check()
                stager.stage(unit)
                self.progress(tables_done=len([table for table in unit.tables if table.kind != "p"]))
        with self.phases.phase("checking whose"):
            by_policies = self.tenancy.settings.rows_by == "policies"
            self.whose = read_whose(self.conn, self.tenancy.key, self.units, by_policies=by_policies)
            for unit in self.units:
                self.stop.check()
                refuse_strays(self.conn, unit, self.whose)

    def _fit(self) -> Fit:
        live_map = read_tenant_map(self.conn, self.tenancy.settings)
        rules = {(table.schema, table.name): table for table in live_map.tables}
        fit = fit_units(self.conn, self.chosen.tables, rules)
        check_fit(fit)
        return fit

    # -- the transaction ----------------------------------------------------------------------------------------

    def carry_out(self, before_commit: Callable[[RestoreResult, str], None] | None) -> None:
        """Plan and apply; again, when the tenant's rows were changed meanwhile."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with database_errors(_WHAT, self.stop), _given_way(), constraint_errors(), self.conn.transaction():
                    self._once()
                    if self.request.dry_run:
                        raise psycopg.Rollback
                    if before_commit is not None:
                        before_commit(self.result, current_transaction(self.conn))
                return
            except _Moved as moved:
                if attempt == _ATTEMPTS:
                    raise self._undone(TargetBusyError(f"{moved} They were in {_ATTEMPTS} attempts.")) from moved
            except BaseException as error:
                # somebody of the tenant may have written before the comparison: that is not for ever
                if isinstance(error, NotIdenticalError) and attempt < _ATTEMPTS:
                    continue
                self._undone(error)
                raise

    def _undone(self, error: Failure) -> Failure:
        if not self.request.dry_run:
            add_details(error, rollback_executed=True, rollback_at=datetime.now(UTC).isoformat())
        return error

    def _once(self) -> None:
        with self.phases.phase("planning"):
            self._lock_tables()
            self._look()
            replica = can_be_replica(self.conn, self.units)
            self._plan(replica)
            references = self._references()
            quiet = Quiet(self.conn, [unit for unit in self.units if self.planned[unit.number].changes], replica)
            quiet.look()
            self.result.plan = TenantPlan([self.planned[unit.number] for unit in self.units])
            self.result.plan.notes = [*self.result.warnings, *quiet.warnings]
        if self.request.dry_run:
            with self.phases.phase("foreign keys"):
                self.result.plan.blocked_by = references.blockers()
                self.result.plan.conflicts = self._conflicts()
            return
        with self.phases.phase("locking"):
            self._lock_rows()
            refuse_blockers(references.blockers())
            self._refuse_conflicts()
        with self.phases.phase("data"):
            quiet.begin()
            if not apply_plan(self.conn, self.units, self.planned):
                raise _Moved("The tenant's rows were changed by others.")
        with self.phases.phase("foreign keys"):
            if replica:
                references.hold_parents()
                references.check()
            quiet.end()
        with self.phases.phase("comparing"):
            self._compare()
        self._count(quiet)

    def _lock_tables(self) -> None:
        """Keep the tables' shapes as they are; every reader and writer goes on. Then see whether they still are."""
        names = sorted((unit.live.oid, unit.live.rows) for unit in self.units)
        if names:
            tables = sql.SQL(", ").join(name for _, name in names)
            self.conn.execute(sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(tables))
        fit = self._fit()
        if [(unit.live, unit.rule) for unit in fit.units] != [(unit.live, unit.rule) for unit in self.units]:
            raise TargetMismatchError(
                "The live tables were altered while the restore began.", hint="Start it again when nobody alters them."
            )

    def _look(self) -> None:
        if self.whose.by_policies:
            units = [unit for unit in self.units if not unit.is_shared]
            look(self.conn, units, self.tenancy.key, self.tenancy.settings)

    def _plan(self, replica: bool) -> None:
        keys = foreign_keys(self.conn, [unit.live.oid for unit in self.units])
        # while foreign keys are in force a row that is deleted and inserted would take those along that refer to it
        acted_on = {key.parent_oid for key in keys if key.delete_action != "a"}
        self.planned = {}
        for unit in self.units:
            self.stop.check()
            free = replica or unit.live.oid not in acted_on
            replace_all = self.request.replace_all and free
            if self.request.replace_all and not free:
                self.result.warnings.append(f"{unit.label}: only what differs is replaced, since others refer to it")
            query = plan_query(unit, self.whose.live(unit, "l"), replace=free, replace_all=replace_all)
            self.planned[unit.number] = make_plan(self.conn, unit, query)

    def _references(self) -> References:
        keys = foreign_keys(self.conn, [unit.live.oid for unit in self.units])
        by_oid = {unit.live.oid: unit for unit in self.units}
        return References(self.conn, keys, by_oid, self.planned, self.whose.live)

    def _lock_rows(self) -> None:
        for unit in self.units:
            self.stop.check()
            if not self.planned[unit.number].changes:
                continue
            try:
                held = lock_rows(self.conn, unit, self.whose.live(unit, "l"))
            except psycopg.errors.LockNotAvailable as error:
                raise LockTimeoutError(
                    f"Rows of {unit.label} are locked by another session: {error.diag.message_primary}.",
                    hint="End the transaction that holds them, or restore when it is quiet.",
                ) from error
            if held != rows_to_lock(self.conn, unit):
                raise _Moved(f"Rows of {unit.label} were changed by others.")

    def _conflicts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for unit in self.units:
            rows, keys = taken_keys(self.conn, unit)
            if rows:
                found.append({"table": unit.label, "rows": rows, "keys": keys})
        return found

    def _refuse_conflicts(self) -> None:
        conflicts = self._conflicts()
        if conflicts:
            listed = "; ".join(f"{each['table']}: {', '.join(each['keys'])}" for each in conflicts[:5])
            raise KeyTakenError(
                f"Keys of the backup's rows belong to somebody else's rows by now: {listed}.",
                details={"conflicts": conflicts},
            )

    def _compare(self) -> None:
        """The tenant's rows must be the backup's now: planning once more must find nothing to do."""
        self._look()
        report = CompareReport()
        changed: list[str] = []
        for unit in self.units:
            self.stop.check()
            left = rows_left(self.conn, plan_query(unit, self.whose.live(unit, "l"), replace=True))
            report.tables += len(unit.tables)
            report.rows += unit.rows
            report.raw_bytes += sum(table.raw_bytes for table in unit.tables)
            if left:
                report.differences.append(Difference("table", unit.label, f"{left} rows are not as in the backup"))
                changed.append(unit.label)
        report.methods = {"by key": len([u for u in self.units if u.key]),
                          "as multiset": len([u for u in self.units if not u.key])}  # fmt: skip
        self.result.compare = report
        if changed:
            raise NotIdenticalError(
                f"The tenant's rows were not the backup's in the end: {report.summary()}.",
                hint="Nothing was changed: the transaction was rolled back. Does somebody write to the tenant's rows?",
                details={"compare": report.to_json()},
            )

    def _count(self, quiet: Quiet) -> None:
        self.result.tables_restored = len([t for unit in self.units for t in unit.tables if t.kind != "p"])
        self.result.rows_restored = sum(unit.rows for unit in self.units)
        self.result.bytes_restored = sum(table.raw_bytes for unit in self.units for table in unit.tables)
        self.result.warnings += [warning for warning in quiet.warnings if warning not in self.result.warnings]
