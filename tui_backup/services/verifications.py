"""Verifications: ask the agent to read a backup back, and see what it found."""

from __future__ import annotations

from uuid import UUID

from tui_backup.catalog import rows
from tui_backup.errors import JobStateError
from tui_backup.model import Verification
from tui_backup.services import lookup
from tui_backup.services.backups import get_backup_job_by_id
from tui_backup.services.session import Session
from tui_backup.services.stored import check_restorable


async def verify_backup(session: Session, job_id: UUID | str) -> Verification:
    """Ask for a check of all files of a completed backup; one that is under way already is returned instead.

    Raises:
        NotFoundError: no such job.
        JobStateError: it is not completed, or its files were deleted.
        PermissionRefusedError: the role may not verify.
    """
    job = await get_backup_job_by_id(session, job_id)
    check_restorable(job)
    params = {"backup_job_id": job.id}
    found = await session.catalog.row("open_verification", params)
    if found is None:
        found = await session.catalog.one("insert_verification", params)
    return await get_verification(session, found["id"])


async def get_verification(session: Session, verification_id: UUID | str) -> Verification:
    """One verification by id or unique prefix.

    Raises:
        NotFoundError: there is none.
    """
    return rows.verification(await lookup.read_one(session, "verifications", verification_id, what="verification"))


async def get_latest_verification(session: Session, job_id: UUID | str) -> Verification | None:
    """The newest verification of a backup in whatever state, None when there was never one.

    Raises:
        NotFoundError: no such job.
    """
    job = await get_backup_job_by_id(session, job_id)
    found = await lookup.read(
        session,
        "verifications",
        ["v.backup_job_id = %(job)s"],
        {"job": job.id},
        order="ORDER BY v.created_at DESC",
        limit=1,
    )
    return rows.verification(found[0]) if found else None


async def cancel_verification(session: Session, verification_id: UUID | str) -> Verification:
    """Cancel a pending verification, or ask the agent to stop a running one.

    Raises:
        JobStateError: it has ended already.
    """
    verification = await get_verification(session, verification_id)
    done = await session.catalog.row("request_cancel", {"id": verification.id})
    if not done or not done["done"]:
        raise JobStateError(f"The verification is {verification.status}, there is nothing to cancel.")
    return await get_verification(session, verification.id)
