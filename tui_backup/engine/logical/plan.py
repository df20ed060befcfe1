"""What a restore would do, shown before it is confirmed: what is replaced, what forbids it, how it is undone."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import humanize
import psycopg
from psycopg import sql

from tui_backup.engine.connection import Connection, PumpParameters, parse_conninfo
from tui_backup.engine.logical.choose import Chosen, choose_tables
from tui_backup.engine.logical.inplace import may_be_replica
from tui_backup.engine.logical.inplace_keys import foreign_keys, refusals_without_replica
from tui_backup.engine.logical.inplace_tables import fit_tables, live_tables
from tui_backup.engine.logical.names import shown
from tui_backup.engine.logical.own_catalog import CATALOG_SCHEMA, refuse_catalog
from tui_backup.engine.logical.plan_server import check_server, check_swap
from tui_backup.engine.logical.swap import kept_name, sessions_on
from tui_backup.engine.logical.target import Target, name_in_use, one
from tui_backup.errors import (
    PermissionRefusedError,
    TargetMismatchError,
    TargetNotEmptyError,
    TargetSpaceError,
    TuiBackupError,
    ValidationError,
)
from tui_backup.manifest import Contents, Table
from tui_backup.model import BackupJob, PlanCheck, PlanTable, RestorePlan, RestoreRequest, RestoreTarget

# counting is exact within this time for all tables together, an estimate after it
_COUNT_S = 5.0

_REASONS = {
    RestoreTarget.NEW_DATABASE: "A new database touches nothing that is live; you can look at it and drop it.",
    RestoreTarget.SWAP: "The copy is made and checked beside the live database and then takes its name; the old "
    "database is kept, so going back is a rename.",
    RestoreTarget.SIDE_SCHEMA: "A side schema shows the old rows beside the live ones; no live table is touched.",
    RestoreTarget.IN_PLACE: "The live tables are needed as they are, with their grants, keys and views; all rows are "
    "replaced in one transaction or none is.",
}


@dataclass(slots=True)
class _Findings:
    """Checks as they are made."""

    checks: list[PlanCheck] = field(default_factory=list[PlanCheck])

    def ok(self, name: str, message: str) -> None:
        self.checks.append(PlanCheck(name, "ok", message))

    def warn(self, name: str, message: str) -> None:
        self.checks.append(PlanCheck(name, "warning", message))

    def refuse(self, name: str, message: str, error: type[TuiBackupError]) -> None:
        self.checks.append(PlanCheck(name, "refused", message, error.code))


def plan_restore(
    request: RestoreRequest,
    job: BackupJob,
    contents: Contents,
    target_conninfo: str,
    *,
    passfile: Path | None = None,
    application_name: str = "tui-backup plan",
) -> RestorePlan:
    """Look at the target and say what a restore would do there; changes nothing.

    Args:
        request: what was chosen.
        job: the backup's row, for the plan.
        contents: the backup.
        target_conninfo: the server; for SWAP, IN_PLACE and SIDE_SCHEMA its database is the live one.
        passfile: a .pgpass file.
        application_name: of the session.

    Raises:
        ValidationError: a chosen table is not in the backup.
        ConnectionFailedError, LoginFailedError, …: the server cannot be looked at.
    """
    target = Target(target_conninfo, passfile, application_name)
    chosen = choose_tables(contents, request.tables)
    found = _Findings()
    live = live_database(target_conninfo, contents)
    with target.admin(what="looking at the server") as conn:
        live_is_there = name_in_use(conn, live)
    with _looking(target, live if live_is_there else None) as conn:
        server = f"PostgreSQL {conn.info.parameter_status('server_version')} at {conn.info.host or 'local socket'}"
        found.checks += check_server(conn, request, contents, chosen)
        database = live
        if request.target is RestoreTarget.NEW_DATABASE:
            database = request.database or ""
            _check_new_database(conn, database, found)
        elif request.target is RestoreTarget.SWAP:
            found.checks += check_swap(conn, live, live_is_there=live_is_there)
            if live_is_there:
                _check_catalog(conn, found)
        elif not live_is_there:
            found.refuse("database", f"there is no database {live}", TargetMismatchError)
        elif request.target is RestoreTarget.SIDE_SCHEMA:
            _check_side_schema(conn, request.schema or "", found)
        else:
            if any(table.schema == CATALOG_SCHEMA for table in chosen.tables):
                _check_catalog(conn, found)
            _check_in_place(conn, contents, chosen, found)
        looks = request.target is not RestoreTarget.NEW_DATABASE and live_is_there
        sessions = sessions_on(conn, live) if looks else 0
        tables = _tables(conn, chosen.tables, exact=request.target is RestoreTarget.IN_PLACE, looks=looks)
        needed = _bytes_needed(contents, chosen)
        free = _bytes_free(conn)
    _check_space(needed, free, found)
    return RestorePlan(
        job=job,
        target=request.target,
        server=server,
        database=database,
        schema=request.schema,
        tables=tables,
        checks=found.checks,
        sessions=sessions,
        bytes_needed=needed,
        bytes_free=free,
        reason=_REASONS[request.target],
        undo=_undo(request, database),
    )


def _looking(target: Target, live: str | None) -> AbstractContextManager[Connection]:
    """A session on the live database, or on any other where it is lost."""
    what = "looking at the target"
    return target.session(live, what=what) if live is not None else target.admin(what=what)


def live_database(target_conninfo: str, contents: Contents) -> str:
    """The database that the connection string names, else the backup's own name."""
    return str(parse_conninfo(target_conninfo).get("dbname") or contents.database.name)


def _check_catalog(conn: Connection, found: _Findings) -> None:
    try:
        refuse_catalog(conn)
    except TargetMismatchError as error:
        found.refuse("catalog", error.message, TargetMismatchError)


def _check_new_database(conn: Connection, name: str, found: _Findings) -> None:
    if not name:
        found.refuse("database", "the new database needs a name", ValidationError)
    elif len(name.encode()) > 63:
        found.refuse("database", f"the name {name} is longer than 63 bytes", ValidationError)
    elif name_in_use(conn, name):
        message = f"a database named {name} exists already: choose another name, or swap"
        found.refuse("database", message, TargetNotEmptyError)
    else:
        found.ok("database", f"the name {name} is free")


def _check_side_schema(conn: Connection, name: str, found: _Findings) -> None:
    if not name or name.startswith("pg_") or len(name.encode()) > 63:
        found.refuse("schema", f"{name!r} cannot be a schema's name", ValidationError)
    elif one(conn, "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s", (name,)):
        message = f"a schema named {name} exists already: choose another name, or drop it first"
        found.refuse("schema", message, TargetNotEmptyError)
    elif not one(conn, "SELECT pg_catalog.has_database_privilege(current_database(), 'CREATE')"):
        message = "the login may not create schemas in this database: GRANT CREATE ON DATABASE"
        found.refuse("rights", message, PermissionRefusedError)
    else:
        found.ok("schema", f"the name {name} is free")


def _check_in_place(conn: Connection, contents: Contents, chosen: Chosen, found: _Findings) -> None:
    fit = fit_tables(conn, contents, chosen.tables)
    for refusal in fit.refusals:
        found.refuse("tables", refusal, TargetMismatchError)
    for warning in fit.warnings:
        found.warn("tables", warning)
    oids = [unit.live.oid for unit in fit.units]
    keys = foreign_keys(conn, oids)
    pointing_in = [key.label for key in keys if key.child_oid not in oids]
    if may_be_replica(conn):
        if pointing_in:
            message = f"other tables point into the restored ones and are checked at the end: {', '.join(pointing_in)}"
            found.warn("foreign keys", message)
    else:
        for refusal in refusals_without_replica(oids, keys):
            found.refuse("foreign keys", refusal, TargetMismatchError)
    if not fit.refusals:
        found.ok("tables", f"{len(fit.units)} live tables fit the backup's rows")


def _tables(conn: Connection, tables: Sequence[Table], *, exact: bool, looks: bool) -> list[PlanTable]:
    """Rows in the backup beside rows now."""
    names = [(table.schema, table.name) for table in tables if table.kind != "p"]
    live = live_tables(conn, names) if looks else {}
    estimates = dict(
        conn.execute(
            "SELECT oid::pg_catalog.int8, GREATEST(reltuples, 0)::pg_catalog.int8 FROM pg_catalog.pg_class"
            " WHERE oid = ANY (%s::pg_catalog.int8[]::pg_catalog.oid[])",
            ([table.oid for table in live.values()],),
        ).fetchall()
    )
    deadline = time.monotonic() + _COUNT_S
    planned: list[PlanTable] = []
    for table in tables:
        if table.kind == "p":
            continue
        name = shown((table.schema, table.name))
        found = live.get((table.schema, table.name))
        if found is None:
            planned.append(PlanTable(name, table.rows, None))
            continue
        rows = _count(conn, table, deadline) if exact else None
        estimate = rows is None
        planned.append(PlanTable(name, table.rows, estimates.get(found.oid, 0) if rows is None else rows, estimate))
    return planned


def _count(conn: Connection, table: Table, deadline: float) -> int | None:
    """The exact number of rows, None where counting takes too long or is not allowed."""
    left_ms = int((deadline - time.monotonic()) * 1000)
    if left_ms <= 0:
        return None
    try:
        with conn.transaction():
            conn.execute("SELECT pg_catalog.set_config('statement_timeout', %s, true)", (str(left_ms),))
            statement = sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.Identifier(table.schema, table.name))
            return int(one(conn, statement))
    except (psycopg.errors.QueryCanceled, psycopg.errors.InsufficientPrivilege):
        return None


def _check_space(needed: int, free: int | None, found: _Findings) -> None:
    wanted = f"about {humanize.naturalsize(needed, binary=True)} are needed"
    if free is None:
        found.warn("space", f"{wanted}; how much is free cannot be seen from here")
        return
    message = f"{wanted}, {humanize.naturalsize(free, binary=True)} are free"
    if free < needed:
        found.refuse("space", message, TargetSpaceError)
    else:
        found.ok("space", message)


def _bytes_needed(contents: Contents, chosen: Chosen) -> int:
    """About what the rows and their indexes will take: the source database's size, or the tables' share of it."""
    if chosen.everything and contents.database.size_bytes:
        return contents.database.size_bytes
    everything = sum(table.raw_bytes for table in contents.tables)
    if everything and contents.database.size_bytes:
        return max(chosen.raw_bytes, contents.database.size_bytes * chosen.raw_bytes // everything)
    return 2 * chosen.raw_bytes


def _bytes_free(conn: Connection) -> int | None:
    """Room in the server's data folder, where it is on this machine and can be seen."""
    if not PumpParameters.from_connection(conn).is_local:
        return None
    try:
        with conn.transaction():
            folder = str(one(conn, "SELECT pg_catalog.current_setting('data_directory')"))
    except psycopg.errors.InsufficientPrivilege:
        return None
    if not (Path(folder) / "base").is_dir():
        return None
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize


def _undo(request: RestoreRequest, database: str) -> str | None:
    if request.target is RestoreTarget.SWAP:
        kept = kept_name(database, datetime.now(UTC))
        return (
            f"The old database is kept as {kept[:-14]}… until you drop it (`restore-log finish`); going back is one "
            "command (`restore-log undo`)."
        )
    if request.target is RestoreTarget.NEW_DATABASE:
        return f"Drop the database {database}; nothing else is changed."
    if request.target is RestoreTarget.SIDE_SCHEMA:
        return f"Drop the schema {request.schema}; nothing else is changed."
    if request.safety_backup:
        return (
            "A safety backup of the tables is made first; restore that one in place to go back. What is written to "
            "them between that backup and the restore's locks is in neither: stop the writers before."
        )
    return None
