"""Restores of one tenant's rows: what may be asked for, the plan that an agent makes, and the rows as a file.

A member need not be able to reach the source: a dry run is a restore row like any other, carried out by an agent in a
transaction that it rolls back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from tui_backup import errors
from tui_backup.errors import PermissionRefusedError, RefusedError, TuiBackupError, ValidationError, WorkFailedError
from tui_backup.model import (
    BackupJob,
    BackupRestoreLog,
    JobStatus,
    PlanCheck,
    PlanTable,
    Progress,
    RestorePlan,
    RestoreRequest,
    RestoreTarget,
    Source,
)
from tui_backup.services.agents import ensure_agent
from tui_backup.services.new_file import new_file
from tui_backup.services.patience import wait_until
from tui_backup.services.repositories import get_repository
from tui_backup.services.session import Session
from tui_backup.services.stored import opened_backup, storage_allows
from tui_backup.services.transfer import Transfer

if TYPE_CHECKING:
    from collections.abc import Awaitable

TARGETS = (RestoreTarget.IN_PLACE, RestoreTarget.SIDE_SCHEMA)
_REASONS = {
    RestoreTarget.IN_PLACE: "Only the tenant's rows are made as they were, in one transaction; other tenants go on.",
    RestoreTarget.SIDE_SCHEMA: "A side schema shows the tenant's old rows beside the live ones; none is touched.",
}


def check_tenant_request(job: BackupJob, target: Source, request: RestoreRequest) -> None:
    """Refuse what does not go with one tenant's rows, or with a source that is only shared with us.

    Raises:
        ValidationError: a way of restoring that needs a whole database, or an option that needs one tenant's rows.
        PermissionRefusedError: the source is shared for one tenant's rows only.
    """
    if job.tenant_scope and request.target is RestoreTarget.SWAP:
        raise ValidationError(
            "target",
            "This backup holds one tenant's rows: they cannot take the place of a whole database.",
            hint="Use --in-place, or --into-schema to look at them first.",
        )
    if getattr(target, "is_shared", False) and not (job.tenant_scope and request.target in TARGETS):
        raise PermissionRefusedError(
            "The source is shared for one tenant's rows only: in place, or into a side schema.",
            hint="Restore a tenant backup there (--in-place, --into-schema), or into a source of your own.",
        )
    if request.replace_all and not (job.tenant_scope and request.target is RestoreTarget.IN_PLACE):
        raise ValidationError("replace_all", "Only the rows of one tenant, in place, can be replaced all.")


async def plan_by_agent(
    session: Session,
    job: BackupJob,
    target: Source,
    request: RestoreRequest,
    *,
    start: Callable[[RestoreRequest], Awaitable[BackupRestoreLog]],
    read: Callable[[UUID], Awaitable[BackupRestoreLog]],
) -> RestorePlan:
    """Let an agent try the restore, and wait for its plan.

    Args:
        session: open.
        job: the backup, of one tenant.
        target: where it goes.
        request: what was chosen.
        start: inserts a restore.
        read: looks at one.

    Raises:
        AgentLostError: no agent is alive.
        WorkFailedError: the plan could not be made.
    """
    await ensure_agent(session)
    log = await start(replace(request, dry_run=True, confirm_restore=True))

    async def is_final() -> bool:
        return (await read(log.id)).status.is_final

    await wait_until(session, is_final, timeout_s=None, what="making the plan")
    return _plan(await read(log.id), job, target, request)


def _plan(log: BackupRestoreLog, job: BackupJob, target: Source, request: RestoreRequest) -> RestorePlan:
    checks = _checks(log)
    plan = cast("Mapping[str, Any]", log.metadata.get("plan") or {})
    blocked = cast("Sequence[dict[str, Any]]", plan.get("blocked_by") or ())
    return RestorePlan(
        job=job,
        target=request.target,
        server=target.source_name,
        database=str(log.metadata.get("database") or target.source_name),
        schema=request.schema,
        tables=[_table(row, request) for row in plan.get("tables") or ()],
        checks=checks,
        sessions=0,
        bytes_needed=2 * (job.backup_size or 0),
        bytes_free=None,
        reason=_REASONS[request.target],
        undo=_undo(request),
        blocked_by=list(blocked),
    )


def _table(row: Mapping[str, Any], request: RestoreRequest) -> PlanTable:
    deleted, inserted, updated, same = (int(row[f"rows_{what}"]) for what in ("delete", "insert", "update", "same"))
    if request.target is RestoreTarget.SIDE_SCHEMA:
        return PlanTable(str(row["table"]), inserted, None)
    return PlanTable(
        str(row["table"]),
        rows_in_backup=inserted + updated + same,
        rows_now=deleted + updated + same,
        rows_delete=deleted,
        rows_insert=inserted,
        rows_update=updated,
        rows_same=same,
    )


def _checks(log: BackupRestoreLog) -> list[PlanCheck]:
    """What the agent found, as checks.

    Raises:
        WorkFailedError: it found nothing, because something else went wrong.
    """
    if log.status is not JobStatus.COMPLETED:
        details = log.error_details or {}
        code = str(details.get("error") or "")
        if code not in _refusals():
            raise WorkFailedError(
                log.error_message or "The plan could not be made.", hint=details.get("hint"), details={"cause": code}
            )
        return [PlanCheck("tenant", "refused", log.error_message or "", code)]
    plan = cast("Mapping[str, Any]", log.metadata.get("plan") or {})
    checks = [PlanCheck("tables", "warning", str(note)) for note in plan.get("notes") or ()]
    checks += [
        PlanCheck(
            "foreign keys",
            "refused",
            f"{each['rows']} rows of {each['table']} that are not restored refer to rows that would be deleted "
            f"({each['constraint']})",
            errors.RowsInUseError.code,
        )
        for each in plan.get("blocked_by") or ()
    ]
    checks += [
        PlanCheck(
            "keys",
            "refused",
            f"{each['rows']} keys of {each['table']} belong to somebody else's rows by now: {', '.join(each['keys'])}",
            errors.KeyTakenError.code,
        )
        for each in plan.get("conflicts") or ()
    ]
    if not any(check.level == "refused" for check in checks):
        checks.append(PlanCheck("tenant", "ok", "all rows of the backup are the tenant's, and nothing is in their way"))
    return checks


def _refusals() -> set[str]:
    """Codes of errors that say no on purpose."""
    found: set[str] = set()
    waiting: list[type[TuiBackupError]] = [RefusedError]
    while waiting:
        one = waiting.pop()
        found.add(one.code)
        waiting += one.__subclasses__()
    return found


def _undo(request: RestoreRequest) -> str | None:
    if request.target is RestoreTarget.SIDE_SCHEMA:
        return f"Drop the schema {request.schema}; nothing else is changed."
    if request.safety_backup:
        return "The tenant's rows are backed up first; `restore-log undo` puts them back."
    return None


async def write_rows(
    session: Session,
    job: BackupJob,
    output: Path,
    *,
    tables: Sequence[str] = (),
    on_progress: Callable[[Progress], None] | None = None,
) -> int:
    """Write a backup's rows as SQL for a reviewer: COPY blocks, parents first, for ``psql -1``.

    Args:
        session: open.
        job: a completed backup.
        output: a file that does not exist yet; made with mode 0600.
        tables: only these, empty for all.
        on_progress: called about once a second, in the event loop.

    Returns:
        The bytes written.

    Raises:
        AlreadyExistsError: the file exists.
        PermissionRefusedError: only an admin may read a tenant's files, or the repository is only shared.
        StoreError, DamagedError: the backup cannot be read.
    """
    if not await storage_allows(session, "view"):
        raise PermissionRefusedError("Only an admin of the tenant may download its backups.")
    repository = await get_repository(session, job.repository_name)
    if getattr(repository, "is_shared", False):
        raise PermissionRefusedError(
            "The repository is shared and its files cannot be read from here.",
            hint="Look at the rows with --into-schema, or ask the platform's admin for the file.",
        )
    transfer = Transfer("rows as SQL", on_progress)
    bin_dir = session.config.settings.tools.bin_dir

    def write() -> int:
        from tui_backup.engine.logical.tenants.rows_as_sql import write_rows_as_sql

        with new_file(output) as part, opened_backup(repository, job) as backup:
            with part.open("wb") as stream:
                write_rows_as_sql(
                    backup.manifest.contents,
                    backup.reader,
                    stream,
                    tables=tables,
                    progress=transfer,
                    stop=transfer.stop,
                    tools_dir=Path(bin_dir) if bin_dir else None,
                )
            return part.stat().st_size

    return await transfer.run(write)
