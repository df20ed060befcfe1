"""Restores: plan, start, look, undo, finish."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from tui_backup.catalog import rows
from tui_backup.errors import (
    ConfirmationRequiredError,
    JobStateError,
    PermissionRefusedError,
    TuiBackupError,
    ValidationError,
    WorkFailedError,
)
from tui_backup.model import BackupJob, BackupRestoreLog, RestorePlan, RestoreRequest, RestoreTarget, Role, Source
from tui_backup.services import lookup
from tui_backup.services.backups import get_backup_job_by_id
from tui_backup.services.patience import wait_until
from tui_backup.services.repositories import get_repository
from tui_backup.services.session import Session
from tui_backup.services.sources import get_source, passfile_of
from tui_backup.services.stored import check_restorable, opened_backup
from tui_backup.services.tenant_restores import TARGETS as TENANT_TARGETS
from tui_backup.services.tenant_restores import check_tenant_request, plan_by_agent

_NAME_BYTES = 63
# over live data: an admin's decision
_DESTRUCTIVE = (RestoreTarget.SWAP, RestoreTarget.IN_PLACE)


async def plan_restore(session: Session, request: RestoreRequest) -> RestorePlan:
    """What a restore will do, and whether it can; changes nothing.

    Raises:
        NotFoundError: no such backup or source.
        JobStateError: the job is no backup (any more).
        ValidationError: the request lacks something, or names what cannot be.
        PermissionRefusedError: the role may not restore in this way.
        TuiBackupError: the repository or the target's server cannot be read.
    """
    job, target = await _check(session, request)
    if job.tenant_scope and request.target in TENANT_TARGETS:
        return await plan_by_agent(
            session,
            job,
            target,
            request,
            start=lambda wish: restore_from_backup(session, wish),
            read=lambda restore_id: get_restore_log_by_id(session, restore_id),
        )
    repository = await get_repository(session, job.repository_name)

    def plan() -> RestorePlan:
        from tui_backup.engine.logical.plan import plan_restore as engine_plan

        with opened_backup(repository, job) as backup:
            contents = backup.manifest.contents
        return engine_plan(request, job, contents, target.conninfo, passfile=passfile_of(session, target))

    return await asyncio.to_thread(plan)


async def restore_from_backup(session: Session, request: RestoreRequest) -> BackupRestoreLog:
    """Insert a restore and put it into the queue, as one transaction.

    Raises:
        ConfirmationRequiredError: ``confirm_restore`` is not set.
        NotFoundError, JobStateError, ValidationError, PermissionRefusedError: as :func:`plan_restore`.
    """
    if not request.confirm_restore:
        raise ConfirmationRequiredError(
            "A restore needs the explicit confirmation.", hint="Look at the plan, then repeat it with --confirm."
        )
    job, target = await _check(session, request)
    options = {
        "compare": request.compare,
        "safety_backup": request.safety_backup,
        "no_owner": request.no_owner,
        **({"dry_run": True} if request.dry_run else {}),
        **({"replace_all": True} if request.replace_all else {}),
    }
    created = await session.catalog.one(
        "insert_restore",
        {
            "backup_job_id": job.id,
            "restore_type": request.restore_type.value,
            "restore_point": job.metadata.get("snapshot_at") or job.started_at,
            "notes": request.notes or None,
            "target": request.target.value,
            "target_source_id": target.id,
            "target_database": request.database,
            "target_schema": request.schema,
            "tables": list(request.tables),
            "options": Jsonb(options),
        },
    )
    return await get_restore_log_by_id(session, created["id"])


async def _check(session: Session, request: RestoreRequest) -> tuple[BackupJob, Source]:
    """What can be known without the repository and the target's server."""
    job = await get_backup_job_by_id(session, request.job_id)
    check_restorable(job)
    role = session.identity.role
    if role is Role.EMPLOYEE:
        raise PermissionRefusedError("An employee may look at backups, not restore them.")
    if request.target in _DESTRUCTIVE and role is not Role.ADMIN:
        raise PermissionRefusedError("Only an admin may restore over live data.")
    target = await get_source(session, request.target_source or job.source_name or "")
    check_tenant_request(job, target, request)
    _check_names(request, needs_tables=not job.tenant_scope)
    return job, target


def _check_names(request: RestoreRequest, *, needs_tables: bool) -> None:
    if request.target is RestoreTarget.NEW_DATABASE:
        _check_identifier("database", request.database)
    if request.target is RestoreTarget.SIDE_SCHEMA:
        _check_identifier("schema", request.schema)
        if needs_tables and not request.tables:
            raise ValidationError("tables", "Choose the tables that shall go into the side schema.")
        if (request.schema or "").startswith("pg_"):
            raise ValidationError("schema", "Names beginning with pg_ belong to the server.")


def _check_identifier(field: str, name: str | None) -> None:
    if not name:
        raise ValidationError(field, f"A name for the new {field} is needed.")
    if len(name.encode()) > _NAME_BYTES or "\0" in name:
        raise ValidationError(field, f"A name of a {field} has at most {_NAME_BYTES} bytes.")


async def get_restore_logs(session: Session, limit: int = 100) -> list[BackupRestoreLog]:
    """Restores of the tenant, newest first."""
    found = await lookup.read(session, "restores", [], {}, order="ORDER BY l.created_at DESC, l.id", limit=limit)
    return [rows.restore_log(row) for row in found]


async def get_restore_log_by_id(session: Session, restore_id: UUID | str) -> BackupRestoreLog:
    """One restore by id or unique prefix (at least 4 characters).

    Raises:
        NotFoundError: there is none, or it is another tenant's.
        ValidationError: several ids start so.
    """
    return rows.restore_log(await lookup.read_one(session, "restores", restore_id, what="restore"))


async def cancel_restore(session: Session, restore_id: UUID | str) -> BackupRestoreLog:
    """Cancel a pending restore at once; ask the agent to stop a running one and to put the target back.

    Raises:
        JobStateError: it has ended already.
        PermissionRefusedError: the role may not cancel.
    """
    log = await get_restore_log_by_id(session, restore_id)
    done = await session.catalog.row("request_cancel", {"id": log.id})
    if not done or not done["done"]:
        raise JobStateError(f"The restore is {log.status}, there is nothing to cancel.")
    return await get_restore_log_by_id(session, log.id)


async def undo_restore(session: Session, restore_id: UUID | str, *, timeout_s: float = 300) -> BackupRestoreLog:
    """Swap back to the kept old database, or put a tenant's rows back from the safety backup; wait until it is done.

    Args:
        session: open.
        restore_id: id or prefix of a completed restore by swap, or of one of a tenant's rows in place.
        timeout_s: how long to wait.

    Raises:
        JobStateError: there is nothing kept to go back to.
        PermissionRefusedError: only an admin may.
        AgentLostError: no agent is alive to do it.
        WorkFailedError: it could not be done; the kept database is as it was.
    """
    log = await get_restore_log_by_id(session, restore_id)
    # of a tenant's rows there may be many, and the waiting ends anyway when no agent is alive
    limit = None if log.target is RestoreTarget.IN_PLACE else timeout_s
    return await _settle(session, log.id, "undo_requested", "undone", limit)


async def finish_restore(
    session: Session, restore_id: UUID | str, *, confirm: bool, timeout_s: float = 300
) -> BackupRestoreLog:
    """Drop the kept old database, and wait until the agent has; there is no undo after that.

    Raises:
        ConfirmationRequiredError: not confirmed.
        JobStateError, PermissionRefusedError, AgentLostError, WorkFailedError: as :func:`undo_restore`.
    """
    if not confirm:
        raise ConfirmationRequiredError(
            "The kept old database would be dropped, and with it the way back.",
            hint="Repeat the command with --confirm.",
        )
    return await _settle(session, restore_id, "finish_requested", "finished", timeout_s)


async def _settle(
    session: Session, restore_id: UUID | str, request: str, goal: str, timeout_s: float | None
) -> BackupRestoreLog:
    log = await get_restore_log_by_id(session, restore_id)
    done = await session.catalog.row("request_undo", {"id": log.id, "state": request})
    if not done or not done["done"]:
        raise JobStateError(
            _nothing_kept(log),
            hint="A restore by swap keeps the old database; one of a tenant's rows in place its safety backup.",
        )

    async def is_settled() -> bool:
        state = (await get_restore_log_by_id(session, log.id)).undo_state
        return not state.endswith("_requested")

    await wait_until(session, is_settled, timeout_s=timeout_s, what="undoing it" if goal == "undone" else "dropping")
    after = await get_restore_log_by_id(session, log.id)
    if after.undo_state != goal:
        raise _told(after.metadata.get("undo_error") or {})
    return after


def _nothing_kept(log: BackupRestoreLog) -> str:
    said = {
        "undone": "It was undone already.",
        "finished": "The old database was dropped already.",
        "undo_requested": "It is being undone already.",
        "finish_requested": "The old database is being dropped already.",
    }
    if log.target is RestoreTarget.IN_PLACE and log.undo_state == "kept":
        return "The safety backup was deleted, or nothing of it needs to be dropped."
    return said.get(log.undo_state, "This restore has kept no old database.")


def _told(failure: dict[str, Any]) -> TuiBackupError:
    """What the agent wrote about a failed undo."""
    return WorkFailedError(
        str(failure.get("message") or "It could not be done."),
        hint=failure.get("hint"),
        details={"cause": failure.get("error")},
    )
