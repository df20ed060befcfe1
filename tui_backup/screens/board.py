"""Everything the screens show, held once: the newest known rows, the answer to "are we safe?", the connection."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from tui_backup.errors import TuiBackupError
from tui_backup.model import BackupJob, BackupRestoreLog, BackupSchedule, Identity, Verification
from tui_backup.services.statistics import SafetyOverview

PAGE_ROWS = 500


@dataclass
class Connection:
    """How the catalog is reached. ``since`` and ``fresh_at`` are monotonic seconds."""

    connected: bool = False
    since: float = 0.0
    fresh_at: float | None = None
    error: TuiBackupError | None = None


@dataclass
class Board:
    """The rows by id. Only the feed and the services' answers write here; screens read.

    Args:
        wall: tells the time of day; a test gives its own.
        monotonic: counts seconds for ages.
    """

    wall: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic: Callable[[], float] = time.monotonic
    identity: Identity | None = None
    jobs: dict[UUID, BackupJob] = field(default_factory=dict[UUID, BackupJob])
    schedules: dict[UUID, BackupSchedule] = field(default_factory=dict[UUID, BackupSchedule])
    restores: dict[UUID, BackupRestoreLog] = field(default_factory=dict[UUID, BackupRestoreLog])
    verifications: dict[UUID, Verification] = field(default_factory=dict[UUID, Verification])
    safety: SafetyOverview | None = None
    source_count: int | None = None
    loaded: bool = False
    all_jobs_loaded: bool = False
    page_edge: datetime | None = None
    paused_at: float | None = None
    connection: Connection = field(default_factory=Connection)
    _ahead: timedelta = timedelta()

    def take_safety(self, overview: SafetyOverview) -> None:
        """Take over the overview, and with it the catalog's clock."""
        self.safety = overview
        self._ahead = overview.checked_at - self.wall()

    def now(self) -> datetime:
        """The time by the catalog's clock: a wrong clock here must not make a backup look young."""
        return self.wall() + self._ahead

    @property
    def paused(self) -> bool:
        """Whether the user has stopped the picture."""
        return self.paused_at is not None

    def age_s(self) -> int:
        """How old the shown rows are, in seconds."""
        fresh_at = self.paused_at if self.paused_at is not None else self.connection.fresh_at
        return 0 if fresh_at is None else int(self.monotonic() - fresh_at)

    def put_verification(self, verification: Verification) -> None:
        """Keep the newest verification of each job."""
        known = self.verifications.get(verification.backup_job_id)
        if known is None or known.created_at <= verification.created_at:
            self.verifications[verification.backup_job_id] = verification
