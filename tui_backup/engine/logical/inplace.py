"""Putting chosen tables' rows back into the live tables, in one transaction: all of it or nothing.

Readers see the old rows until the commit; writers wait. The rows are compared with the backup, and the foreign keys
around them checked, before the commit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql

from tui_backup import manifest
from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.choose import choose_tables
from tui_backup.engine.logical.compare import CompareReport
from tui_backup.engine.logical.compare_rows import RowsResult, as_multiset, in_order, rows_query
from tui_backup.engine.logical.frames import check_chunks
from tui_backup.engine.logical.inplace_keys import (
    ForeignKey,
    check_keys,
    foreign_keys,
    load_order,
    refusals_without_replica,
)
from tui_backup.engine.logical.inplace_tables import Fit, Unit, fit_tables
from tui_backup.engine.logical.load import copy_chunks
from tui_backup.engine.logical.names import qualified, quote, shown
from tui_backup.engine.logical.outcome import current_transaction
from tui_backup.engine.logical.own_catalog import CATALOG_SCHEMA, refuse_catalog
from tui_backup.engine.logical.reading import HEAP_ORDER, session_reader
from tui_backup.engine.logical.result import Phases, RestoreResult
from tui_backup.engine.logical.target import (
    Target,
    add_details,
    database_errors,
    monetary_locale,
    one,
    prepare_session,
    server_major,
)
from tui_backup.errors import LockTimeoutError, NotIdenticalError, TargetMismatchError
from tui_backup.manifest import Contents
from tui_backup.model import BackupReader, ProgressReport, RestoreRequest, StopFlag

_LOCK_TIMEOUT_S = 30

# Triggers and rules that would fire while rows are replaced: ordinary ones when the session is an ordinary one, those
# marked REPLICA or ALWAYS when it is a replica's.
_FIRING = """
WITH RECURSIVE family AS (
    SELECT o::pg_catalog.oid AS oid FROM pg_catalog.unnest(%(oids)s::pg_catalog.int8[]) AS o
    UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN family f ON f.oid = i.inhparent
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition
)
SELECT n.nspname::text, c.relname::text, x.kind, x.name::text, x.state
FROM family f JOIN pg_catalog.pg_class c ON c.oid = f.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT 'TRIGGER' AS kind, t.tgname AS name, t.tgenabled::text AS state
    FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
    UNION ALL
    SELECT 'RULE', r.rulename, r.ev_enabled::text FROM pg_catalog.pg_rewrite r
    WHERE r.ev_class = c.oid AND r.ev_type = '4'
) AS x
WHERE x.state = ANY (%(states)s)
"""
_ENABLE = {"O": "ENABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}


def may_be_replica(conn: Connection) -> bool:
    """Whether the login may keep ordinary triggers and foreign keys from firing in its session."""
    superuser = one(conn, "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user")
    if superuser or server_major(conn) < 15:
        return bool(superuser)
    return bool(one(conn, "SELECT pg_catalog.has_parameter_privilege('session_replication_role', 'SET')"))


def restore_in_place(
    request: RestoreRequest,
    contents: Contents,
    reader: BackupReader,
    target_conninfo: str,
    *,
    passfile: Path | None = None,
    application_name: str = "tui-backup restore",
    progress: ProgressReport,
    stop: StopFlag,
    jobs: int = 2,
    lock_timeout_s: int = _LOCK_TIMEOUT_S,
    before_commit: Callable[[RestoreResult, str], None] | None = None,
) -> RestoreResult:
    """Replace the rows of the chosen tables (or of all tables of the backup) in the connection's database.

    On any failure, and on a stop, the transaction is rolled back and the error's details say so
    (``rollback_executed``, ``rollback_at``).

    Args:
        request: what was chosen.
        contents: the backup.
        reader: where its frames are.
        target_conninfo: the live database.
        passfile: a .pgpass file for it.
        application_name: of the session.
        progress: told phases, tables, rows, bytes.
        stop: ends the restore.
        jobs: frames checked at a time before the start.
        lock_timeout_s: how long to wait for each lock.
        before_commit: called with the result and the transaction's id when only the commit is left; what it raises
            rolls everything back.

    Raises:
        TargetMismatchError: shapes, rights or references forbid it, or rows elsewhere would point nowhere.
        LockTimeoutError: somebody holds a lock on a table.
        NotIdenticalError: the rows in the table were not the backup's; rolled back.
    """
    chosen = choose_tables(contents, request.tables)
    target = Target(target_conninfo, passfile, application_name)
    result = RestoreResult(database="")
    phases = Phases(progress, stop)
    reads = 3 if request.compare else 2
    progress(tables_total=len(chosen.with_rows), bytes_total=reads * chosen.raw_bytes)
    with phases.phase("checking"):
        with target.session(what="looking at the live tables", stop=stop) as conn:
            result.database = conn.info.dbname
            if any(table.schema == CATALOG_SCHEMA for table in chosen.tables):
                refuse_catalog(conn)
            _check_fit(fit_tables(conn, contents, chosen.tables))
        check_chunks(contents, reader, chosen.tables, large_objects=False, progress=progress, stop=stop, workers=jobs)
    with target.session(what="restoring in place", stop=stop) as conn:
        prepare_session(conn, lc_monetary=monetary_locale(contents))
        for name, value in {**HEAP_ORDER, "lock_timeout": f"{lock_timeout_s}s"}.items():
            conn.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))
        run = _InPlace(request, contents, reader, conn, progress, stop, phases, result)
        try:
            with database_errors("restoring in place", stop), conn.transaction():
                run.replace(chosen.tables)
                if before_commit is not None:
                    before_commit(result, current_transaction(conn))
                run.set_sequences(chosen.sequences)
        except BaseException as error:
            add_details(error, rollback_executed=True, rollback_at=datetime.now(UTC).isoformat())
            raise
        run.analyze()
    result.seconds = phases.seconds
    return result


def _check_fit(fit: Fit) -> None:
    if fit.refusals:
        more = f" (and {len(fit.refusals) - 3} more)" if len(fit.refusals) > 3 else ""
        raise TargetMismatchError(
            f"The live tables do not fit the backup: {'; '.join(fit.refusals[:3])}{more}.",
            details={"refusals": fit.refusals},
        )


@dataclass(slots=True)
class _InPlace:
    """One transaction's work."""

    request: RestoreRequest
    contents: Contents
    reader: BackupReader
    conn: Connection
    progress: ProgressReport
    stop: StopFlag
    phases: Phases
    result: RestoreResult
    units: list[Unit] = field(default_factory=list[Unit])

    def replace(self, tables: Sequence[manifest.Table]) -> None:
        """Lock, delete, load, check, compare."""
        with self.phases.phase("locking"):
            keys = self._lock(tables)
        oids = [unit.live.oid for unit in self.units]
        replica = may_be_replica(self.conn)
        if replica:
            # neither ordinary triggers nor foreign keys fire now; the keys are checked at the end
            self.conn.execute("SELECT pg_catalog.set_config('session_replication_role', 'replica', true)")
        else:
            self._check_without_replica(oids, keys)
            self.conn.execute("SET CONSTRAINTS ALL DEFERRED")
        quiet = self._silence(oids, ["A", "R"] if replica else ["A", "O"])
        order, _ = load_order(oids, keys)
        by_oid = {unit.live.oid: unit for unit in self.units}
        with self.phases.phase("deleting"):
            for oid in reversed(order):
                self.stop.check()
                self._delete(by_oid[oid])
        with self.phases.phase("data"):
            for oid in order:
                self._load(by_oid[oid])
        with self.phases.phase("foreign keys"):
            if replica:
                check_keys(self.conn, keys)
            else:
                self.conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for statement in quiet:
            self.conn.execute(statement)
        if self.request.compare:
            with self.phases.phase("comparing"):
                self._compare()

    def set_sequences(self, sequences: Sequence[manifest.Sequence]) -> None:
        """Move the tables' sequences forward to where the backup has them, never back.

        setval() is not undone by a rollback, so it is the last thing before the commit; should the commit fail, numbers
        are skipped and none is given twice. A sequence that is further already stays: the numbers that it has given
        since the backup may be known elsewhere.
        """
        for sequence in sequences:
            name = sql.Identifier(sequence.schema, sequence.name)
            row = self.conn.execute(
                sql.SQL(
                    "SELECT s.last_value, s.is_called, p.increment_by FROM {} s, pg_catalog.pg_sequences p"
                    " WHERE p.schemaname = %s AND p.sequencename = %s"
                ).format(name),
                (sequence.schema, sequence.name),
            ).fetchone()
            if row is None:
                self.result.warnings.append(f"sequence {sequence.schema}.{sequence.name} is not there any more")
                continue
            sign = 1 if row[2] > 0 else -1
            if (sign * row[0], row[1]) >= (sign * sequence.last_value, sequence.is_called):
                continue
            self.conn.execute(
                "SELECT pg_catalog.setval(%s::pg_catalog.regclass, %s, %s)",
                (name.as_string(self.conn), sequence.last_value, sequence.is_called),
            )

    def analyze(self) -> None:
        """Fresh statistics, after the commit; the restore is done whether or not they can be had."""
        # a phase would raise after a stop, and what is committed must not be called cancelled
        self.progress(phase="statistics")
        for unit in self.units:
            if self.stop.is_set:
                self.result.warnings.append(f"{unit.name} was not analysed")
                continue
            try:
                self.conn.execute(sql.SQL("ANALYZE {}").format(_identifier(unit)))
            except psycopg.Error as error:
                self.result.warnings.append(f"{unit.name} was not analysed: {error.diag.message_primary}")

    def _lock(self, tables: Sequence[manifest.Table]) -> list[ForeignKey]:
        """Keep writers out of the tables and of those that their foreign keys connect them with."""
        fit = fit_tables(self.conn, self.contents, tables)
        _check_fit(fit)
        waiting_for = ""
        try:
            for unit in sorted(fit.units, key=lambda unit: unit.live.oid):
                waiting_for = unit.name
                self.conn.execute(sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(_identifier(unit)))
            # the tables may have changed while we waited
            fit = fit_tables(self.conn, self.contents, tables)
            _check_fit(fit)
            keys = foreign_keys(self.conn, [unit.live.oid for unit in fit.units])
            if may_be_replica(self.conn):
                for schema, name in sorted(_neighbours(keys, {unit.live.oid for unit in fit.units})):
                    waiting_for = shown((schema, name))
                    self.conn.execute(sql.SQL("LOCK TABLE {} IN SHARE MODE").format(sql.Identifier(schema, name)))
        except psycopg.errors.LockNotAvailable as error:
            raise LockTimeoutError(
                f"Table {waiting_for} is locked by another session: {error.diag.message_primary}.",
                hint="End the session that holds the lock, or restore when it is quiet.",
            ) from error
        self.units = fit.units
        self.result.warnings += fit.warnings
        return keys

    def _check_without_replica(self, oids: Sequence[int], keys: Sequence[ForeignKey]) -> None:
        reasons = refusals_without_replica(oids, keys)
        if reasons:
            raise TargetMismatchError(
                f"The tables' foreign keys forbid it for this login: {'; '.join(reasons[:3])}.",
                hint="Restore as a superuser (or GRANT SET ON PARAMETER session_replication_role, 15 and newer), or "
                "into a side schema.",
                details={"refusals": reasons},
            )

    def _silence(self, oids: Sequence[int], states: Sequence[str]) -> list[sql.Composed]:
        """Disable what would fire; returns the statements that enable it again as it was."""
        rows = self.conn.execute(_FIRING, {"oids": list(oids), "states": list(states)}).fetchall()
        unowned = [unit.name for unit in self.units if not unit.live.owned]
        if rows and unowned:
            raise TargetMismatchError(
                f"Triggers of {', '.join(unowned)} cannot be kept from firing: the login does not own the table.",
                hint="Restore as the tables' owner or as a superuser.",
            )
        enable: list[sql.Composed] = []
        for schema, table, kind, name, state in rows:
            alter = sql.SQL("ALTER TABLE {}{} {} {} {}")
            # ONLY: each partition's copy of a trigger has a state of its own
            only = sql.SQL("ONLY " if kind == "TRIGGER" else "")
            where, what = sql.Identifier(schema, table), sql.Identifier(name)
            word = sql.SQL("TRIGGER") if kind == "TRIGGER" else sql.SQL("RULE")
            self.conn.execute(alter.format(only, where, sql.SQL("DISABLE"), word, what))
            enable.append(alter.format(only, where, sql.SQL(_ENABLE[state]), word, what))  # pyright: ignore[reportArgumentType]
        return enable

    def _delete(self, unit: Unit) -> None:
        only = "" if unit.live.kind == "p" else "ONLY "
        self.conn.execute(sql.SQL("DELETE FROM {}{}").format(sql.SQL(only), _identifier(unit)))

    def _load(self, unit: Unit) -> None:
        with database_errors(f"loading {unit.name}", self.stop):
            for table in unit.tables:
                self.result.rows_restored += copy_chunks(
                    self.conn,
                    table,
                    table.chunks,
                    self.reader,
                    encoding=self.contents.database.encoding,
                    into=(unit.live.schema, unit.live.name),
                    progress=self.progress,
                    stop=self.stop,
                )
                self.result.bytes_restored += table.raw_bytes
                self.result.tables_restored += 1
                self.progress(tables_done=1)

    def _compare(self) -> None:
        report = CompareReport()
        self.result.compare = report
        for unit in self.units:
            for tables, result in self._compare_unit(unit):
                report.note(tables, result)
            self.progress(bytes_=sum(table.raw_bytes for table in unit.tables))
        if not report.identical:
            raise NotIdenticalError(
                f"The rows in the live tables were not the backup's: {report.summary()}.",
                hint="Nothing was changed: the transaction was rolled back.",
                details={"compare": report.to_json()},
            )

    def _compare_unit(self, unit: Unit) -> list[tuple[list[manifest.Table], RowsResult]]:
        read = session_reader(self.conn, self.contents.database.encoding, self.stop)
        tables = list(unit.tables)
        if unit.live.kind != "p":
            table = tables[0]
            result = in_order(table.chunks, rows_query(table), read)
            if not result.identical:
                result = as_multiset(table.chunks, rows_query(table), read, self.reader, self.stop)
            return [(tables, result)]
        if len({tuple(table.data_columns) for table in tables}) == 1:
            columns = ", ".join(map(quote, tables[0].data_columns))
            query = f"SELECT {columns} FROM {qualified(unit.live.schema, unit.live.name)}"
            chunks = [chunk for table in tables for chunk in table.chunks]
            return [(tables, as_multiset(chunks, query, read, self.reader, self.stop))]
        # the order of columns differs from partition to partition, and so does the text of their rows
        return [
            ([table], as_multiset(table.chunks, rows_query(table), read, self.reader, self.stop)) for table in tables
        ]


def _identifier(unit: Unit) -> sql.Identifier:
    return sql.Identifier(unit.live.schema, unit.live.name)


def _neighbours(keys: Sequence[ForeignKey], oids: set[int]) -> set[tuple[str, str]]:
    """Tables on the other side of foreign keys."""
    found = {(key.parent_schema, key.parent_name) for key in keys if key.parent_oid not in oids}
    return found | {(key.child_schema, key.child_name) for key in keys if key.child_oid not in oids}
