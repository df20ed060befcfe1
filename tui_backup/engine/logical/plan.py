"""What a restore would do, shown before it is confirmed: what is replaced, what forbids it, how it is undone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql

from tui_backup.engine.connection import Connection, PumpParameters
from tui_backup.engine.logical.choose import Chosen, choose_tables
from tui_backup.engine.logical.inplace import may_be_replica
from tui_backup.engine.logical.inplace_keys import foreign_keys, refusals_without_replica
from tui_backup.engine.logical.inplace_tables import fit_tables, live_tables
from tui_backup.engine.logical.names import shown
from tui_backup.engine.logical.plan_server import check_server, check_swap
from tui_backup.engine.logical.swap import kept_name, sessions_on
from tui_backup.engine.logical.target import Target, name_in_use, one
from tui_backup.errors import ConfirmationRequiredError
from tui_backup.manifest import Contents, Table
from tui_backup.model import BackupJob, PlanCheck, PlanTable, RestorePlan, RestoreRequest, RestoreTarget

# counting is exact within this time for all tables together, an estimate after it
_COUNT_S = 5.0

_REASONS = {
    RestoreTarget.NEW_DATABASE: "A new database touches nothing that is live; you can look at it and drop it.",
    RestoreTarget.SWAP: "The copy is made and checked beside the live database and then takes its name; the old "
    "database is kept, so going back is a rename.",
    RestoreTarget.SIDE_SCHEMA: "A side schema shows the old rows beside the live ones; the live tables are not touched.",
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

    def refuse(self, name: str, message: str) -> None:
        self.checks.append(PlanCheck(name, "refused", message))


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
    with _session(target, request, contents) as (conn, live_is_there):
        server = f"PostgreSQL {conn.info.parameter_status('server_version')} at {conn.info.host or 'local socket'}"
        database = conn.info.dbname
        found.checks += check_server(conn, request, contents, chosen)
        if request.target is RestoreTarget.NEW_DATABASE:
            database = request.database or ""
            _check_new_database(conn, database, found)
        elif request.target is RestoreTarget.SWAP:
            database = _live_name(target_conninfo, contents)
            found.checks += check_swap(conn, database, live_is_there=live_is_there)
        elif request.target is RestoreTarget.SIDE_SCHEMA:
            _check_side_schema(conn, request.schema or "", found)
        else:
            _check_in_place(conn, contents, chosen, found)
        sessions = sessions_on(conn, database) if request.target is not RestoreTarget.NEW_DATABASE else 0
        looks = request.target is not RestoreTarget.NEW_DATABASE and live_is_there
        tables = _tables(conn, chosen.tables, exact=request.target is RestoreTarget.IN_PLACE, looks=looks)
        needed = _bytes_needed(contents, chosen)
        free = _bytes_free(conn)
    if free is not None and free < needed:
        found.refuse("space", f"about {needed} bytes are needed, {free} are free")
    elif free is not None:
        found.ok("space", f"about {needed} bytes are needed, {free} are free")
    else:
        found.warn("space", f"about {needed} bytes are needed; how much is free cannot be seen from here")
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
