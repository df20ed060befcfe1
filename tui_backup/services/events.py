"""Live changes of the catalog for the screens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from tui_backup.errors import TuiBackupError
from tui_backup.model import BackupJob, BackupRestoreLog, BackupSchedule, Source, Verification
from tui_backup.services.session import Session

Kind = Literal["job", "restore", "schedule", "verification", "source", "gone"]


@dataclass(frozen=True, slots=True)
class Change:
    """One row is new, changed or gone. ``row`` is None (kind ``gone``) when it no longer exists."""

    kind: Kind
    id: UUID
    row: BackupJob | BackupRestoreLog | BackupSchedule | Verification | Source | None


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """The catalog's connection was lost or is back."""

    connected: bool
    since: datetime
    error: TuiBackupError | None = None


@dataclass(frozen=True, slots=True)
class Resync:
    """Changes may have been missed: read everything shown again."""

    reason: str


async def watch(session: Session, *, poll_s: float = 5.0) -> AsyncIterator[Change | ConnectionState | Resync]:
    """Yield changes until the caller stops."""
    raise NotImplementedError
    yield  # type: ignore[unreachable]
