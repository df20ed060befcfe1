"""Verifications: ask the agent to read a backup back."""

from __future__ import annotations

from uuid import UUID

from tui_backup.model import Verification
from tui_backup.services.session import Session


async def verify_backup(session: Session, job_id: UUID | str) -> Verification:
    """Ask for a check of all files of a backup."""
    raise NotImplementedError


async def get_verification(session: Session, verification_id: UUID | str) -> Verification:
    """One verification by id."""
    raise NotImplementedError


async def get_latest_verification(session: Session, job_id: UUID | str) -> Verification | None:
    """The newest verification of a backup."""
    raise NotImplementedError
