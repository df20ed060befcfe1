"""The product's nouns: rows of the catalog, what the engine hands to a store, and progress.

Nothing here does I/O, and nothing here imports another part of the package, so every layer may use it. Sizes are
bytes, durations seconds, times timezone-aware UTC unless a name says otherwise.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID


class JobType(StrEnum):
    """What a backup job makes. ``snapshot`` exists in the catalog; the physical engine that makes it comes later."""

    FULL = "full"
    INCREMENTAL = "incremental"
    SNAPSHOT = "snapshot"


BUILT_TYPES = (JobType.FULL, JobType.INCREMENTAL)
"""Types of backup that there is an engine for."""


class JobStatus(StrEnum):
    """Life of a backup job and of a restore."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)


class RestoreType(StrEnum):
    """How much of a backup is restored."""

    FULL = "full"
    PARTIAL = "partial"


class RestoreTarget(StrEnum):
    """Where a restore goes."""

    NEW_DATABASE = "new_database"
    SWAP = "swap"
    SIDE_SCHEMA = "side_schema"
    IN_PLACE = "in_place"


class Role(StrEnum):
    """What a member may do in a tenant."""

    ADMIN = "admin"
    OPERATOR = "operator"
    EMPLOYEE = "employee"


class Proof(StrEnum):
    """What has been shown about a completed backup, weakest first."""

    NONE = "none"
    FILES = "files"
    RESTORED = "restored"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is asking, as the catalog's connection says, never as the caller says."""

    login: str
    tenant_id: UUID
    tenant_name: str
    role: Role
    user_id: UUID | None = None
    is_platform: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """A database to back up. ``conninfo`` never holds a password."""

    id: UUID
    source_name: str
    conninfo: str
    tenant_id: UUID
    rpo_seconds: int
    created_at: datetime
    created_by: UUID | None = None
    updated_at: datetime | None = None
    updated_by: UUID | None = None
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    tenant_map: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Repository:
    """A place where backups are stored. ``location`` is a directory or ``s3://bucket/prefix?endpoint=…``."""

    id: UUID
    repository_name: str
    location: str
    tenant_id: UUID
    is_default: bool
    max_object_bytes: int
    created_at: datetime
    created_by: UUID | None = None
    updated_at: datetime | None = None
    updated_by: UUID | None = None
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class BackupJob:
    """One row of backup_jobs, with what the views add (names, proof, progress)."""

    id: UUID
    job_type: JobType
    status: JobStatus
    tenant_id: UUID
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    backup_size: int | None = None
    storage_path: str | None = None
    backup_name: str | None = None
    description: str | None = None
    duration_seconds: int | None = None
    compressed_size_bytes: int | None = None
    storage_bucket: str | None = None
    tables_count: int | None = None
    rows_count: int | None = None
    files_count: int | None = None
    error_message: str | None = None
    error_details: dict[str, Any] | None = None
    retry_count: int = 0
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    tags: Sequence[str] = ()
    created_by: UUID | None = None
    updated_at: datetime | None = None
    updated_by: UUID | None = None
    source_id: UUID | None = None
    repository_id: UUID | None = None
    schedule_id: UUID | None = None
    parent_job_id: UUID | None = None
    source_name: str | None = None
    repository_name: str | None = None
    schedule_name: str | None = None
    proof: Proof = Proof.NONE
    proof_at: datetime | None = None
    progress: Progress | None = None
    chosen_tables: Sequence[str] = ()
    scheduled_for: datetime | None = None
    cancel_requested: bool = False
    deleted_at: datetime | None = None
    tenant_scope: bool = False


@dataclass(frozen=True, slots=True)
class BackupSchedule:
    """One row of backup_schedules, with the source's name."""

    id: UUID
    schedule_name: str
    job_type: JobType
    cron_expression: str
    timezone: str
    is_enabled: bool
    retention_days: int | None
    max_backups_count: int | None
    notify_on_success: bool
    notify_on_failure: bool
    tenant_id: UUID
    created_at: datetime
    description: str | None = None
    last_run_at: datetime | None = None
    last_run_status: str | None = None
    next_run_at: datetime | None = None
    notification_emails: Sequence[str] = ()
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    created_by: UUID | None = None
    updated_at: datetime | None = None
    updated_by: UUID | None = None
    source_id: UUID | None = None
    repository_id: UUID | None = None
    source_name: str | None = None
    repository_name: str | None = None
    chosen_tables: Sequence[str] = ()
    tenant_scope: bool = False


@dataclass(frozen=True, slots=True)
class BackupRestoreLog:
    """One row of backup_restore_logs, with the backup's source and progress."""

    id: UUID
    backup_job_id: UUID
    restore_type: RestoreType
    status: JobStatus
    tenant_id: UUID
    created_at: datetime
    restore_point: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration_seconds: int | None = None
    tables_restored: int | None = None
    rows_restored: int | None = None
    error_message: str | None = None
    error_details: dict[str, Any] | None = None
    rollback_executed: bool = False
    rollback_at: datetime | None = None
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    notes: str | None = None
    created_by: UUID | None = None
    initiated_by: UUID | None = None
    updated_at: datetime | None = None
    source_name: str | None = None
    progress: Progress | None = None
    target: RestoreTarget = RestoreTarget.NEW_DATABASE
    target_source_name: str | None = None
    target_database: str | None = None
    target_schema: str | None = None
    chosen_tables: Sequence[str] = ()
    safety_job_id: UUID | None = None
    undo_state: str = "none"
    cancel_requested: bool = False
    options: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def is_dry_run(self) -> bool:
        """Whether only a plan was made."""
        return bool(self.options.get("dry_run"))


@dataclass(frozen=True, slots=True)
class BackupJobInsert:
    """What a user fills in for a new backup. ``tables`` empty means the whole database.

    ``tenant_scope``: only the rows of the caller's own tenant, by the source's tenant map.
    """

    source: str
    job_type: JobType = JobType.FULL
    backup_name: str | None = None
    description: str | None = None
    tables: Sequence[str] = ()
    repository: str | None = None
    tags: Sequence[str] = ()
    tenant_scope: bool = False


@dataclass(frozen=True, slots=True)
class BackupScheduleInsert:
    """What a user fills in for a new schedule; ``tenant_scope`` as in BackupJobInsert."""

    schedule_name: str
    source: str
    cron_expression: str
    job_type: JobType = JobType.FULL
    timezone: str = "UTC"
    description: str | None = None
    repository: str | None = None
    is_enabled: bool = True
    retention_days: int | None = 30
    max_backups_count: int | None = 10
    notify_on_success: bool = False
    notify_on_failure: bool = True
    notification_emails: Sequence[str] = ()
    tables: Sequence[str] = ()
    tenant_scope: bool = False


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """What a user chooses in the restore wizard.

    Args:
        job_id: the completed backup.
        target: where it goes.
        database: new database's name (NEW_DATABASE; for SWAP the temporary name, made up when None).
        schema: side schema's name (SIDE_SCHEMA).
        tables: chosen tables as ``schema.table``, quoted where SQL needs it; empty means all of the backup.
        confirm_restore: the explicit confirmation, without it nothing happens.
        compare: compare the restored copy with the backup's content.
        safety_backup: back the tables up first (IN_PLACE).
        no_owner: leave owners and grants out, for a server that lacks the roles.
        target_source: restore onto another source's server; the backup's own source when None.
        notes: free text for the log.
        dry_run: only make the plan (a tenant's backup, IN_PLACE); nothing is changed.
        replace_all: delete and insert every row of the tenant rather than those that differ (a tenant's backup).
    """

    job_id: UUID
    target: RestoreTarget = RestoreTarget.NEW_DATABASE
    database: str | None = None
    schema: str | None = None
    tables: Sequence[str] = ()
    confirm_restore: bool = False
    compare: bool = True
    safety_backup: bool = True
    no_owner: bool = False
    target_source: str | None = None
    notes: str | None = None
    dry_run: bool = False
    replace_all: bool = False

    @property
    def restore_type(self) -> RestoreType:
        """Full or partial, as the log records it."""
        return RestoreType.PARTIAL if self.tables else RestoreType.FULL


@dataclass(frozen=True, slots=True)
class PlanTable:
    """One table in a restore plan. ``rows_now`` is None where the table does not exist in the target.

    What happens to how many rows is known for one tenant's rows in place, and None else; only the tenant's are counted.
    """

    name: str
    rows_in_backup: int
    rows_now: int | None
    rows_now_is_estimate: bool = False
    rows_delete: int | None = None
    rows_insert: int | None = None
    rows_update: int | None = None
    rows_same: int | None = None


@dataclass(frozen=True, slots=True)
class PlanCheck:
    """One check made before a restore. ``level`` is ``ok``, ``warning`` or ``refused``.

    ``code`` of a refused one is that of the error in which the restore would end, '' where no other than ``refused``
    fits.
    """

    name: str
    level: str
    message: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What a restore will do, shown before it is confirmed.

    ``blocked_by`` lists rows that refer to rows which would be deleted (table, constraint, rows).
    """

    job: BackupJob
    target: RestoreTarget
    server: str
    database: str
    schema: str | None
    tables: Sequence[PlanTable]
    checks: Sequence[PlanCheck]
    sessions: int
    bytes_needed: int
    bytes_free: int | None
    reason: str
    undo: str | None
    blocked_by: Sequence[dict[str, Any]] = ()

    @property
    def refused(self) -> list[PlanCheck]:
        """The checks that forbid the restore."""
        return [check for check in self.checks if check.level == "refused"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running job is. ``bytes_total`` is an estimate made at the start; None when unknown."""

    phase: str
    tables_done: int = 0
    tables_total: int = 0
    rows_done: int = 0
    bytes_done: int = 0
    bytes_total: int | None = None
    bytes_per_second: float | None = None
    eta_seconds: int | None = None
    updated_at: datetime | None = None

    @property
    def fraction(self) -> float | None:
        """Done as 0…1, None when the total is unknown."""
        if not self.bytes_total:
            return None
        return min(1.0, self.bytes_done / self.bytes_total)


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """A living (or lately living) agent process."""

    id: UUID
    host: str
    pid: int
    version: str
    started_at: datetime
    heartbeat_at: datetime
    age_seconds: float

    @property
    def is_alive(self) -> bool:
        """Whether it has given a sign of life in the last ten seconds (UX.md, "Are we safe?")."""
        return self.age_seconds <= 10.0


class Safety(StrEnum):
    """The answer to "are we safe?", best first."""

    SAFE = "SAFE"
    AT_RISK = "AT RISK"
    NOT_SAFE = "NOT SAFE"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class SourceSafety:
    """One source's age of the last good backup against its RPO."""

    source_name: str
    safety: Safety
    rpo_seconds: int
    last_good_at: datetime | None
    age_seconds: int | None


@dataclass(frozen=True, slots=True)
class BackupStatistics:
    """What get_backup_statistics() of the catalog returns, with the figures that the header shows."""

    total_backups: int
    successful_backups: int
    failed_backups: int
    total_size_bytes: int
    avg_duration_seconds: float | None
    last_backup_at: datetime | None
    next_scheduled_backup: datetime | None


@dataclass(frozen=True, slots=True)
class Verification:
    """A check of a backup, run by the agent. ``kind`` is ``files`` or ``restored``."""

    id: UUID
    backup_job_id: UUID
    kind: Proof
    status: JobStatus
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    bytes_read: int | None = None
    problems: Sequence[dict[str, Any]] = ()
    error_message: str | None = None
    error_details: dict[str, Any] | None = None
    progress: Progress | None = None


# -- between engine and repository ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BlobRef:
    """Where one compressed frame lies and what it must be.

    ``id`` is the SHA-256 of the raw (uncompressed) content in hex; ``pack`` the SHA-256 of the pack object.
    """

    id: str
    pack: str
    offset: int
    stored_bytes: int
    raw_bytes: int


@dataclass(frozen=True, slots=True)
class PendingBlob:
    """A frame handed to a sink whose place is known only after the sink's flush().

    ``id`` is the SHA-256 of the raw content in hex. ``stored_bytes`` is the frame's compressed size as made now; a
    frame that the repository had already may be stored with another one, the :class:`BlobRef` tells.
    """

    id: str
    stored_bytes: int
    raw_bytes: int


class BlobWriter(Protocol):
    """Takes one content stream; made by a sink, used by one thread."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append raw bytes."""
        ...

    def close(self) -> list[PendingBlob]:
        """Finish the stream and name its frames in order (empty for an empty stream)."""
        ...

    def abort(self) -> None:
        """Forget the stream."""
        ...


class BackupSink(Protocol):
    """Where the engine puts what it reads. Thread-safe: every worker opens its own writers."""

    def open_blob(self) -> BlobWriter:
        """Start a content stream of any length."""
        ...

    def flush(self) -> None:
        """Make everything written so far durable and read back the store's answer for it."""
        ...

    def locate(self, pending: PendingBlob) -> BlobRef:
        """Say where a closed stream's frame lies; only after a flush() that followed its close()."""
        ...

    def reuse(self, blob_id: str) -> PendingBlob | None:
        """A frame that the repository holds whole and trusted, to be named again; None when it must be written."""
        ...


class BackupReader(Protocol):
    """Where a restore reads from. Thread-safe."""

    def read_blob(self, ref: BlobRef) -> bytes:
        """Fetch, check and decompress one frame.

        Raises:
            ObjectMissingError: the pack is not there.
            DamagedError: the content is not what was written.
        """
        ...

    def check_blobs(self, refs: Sequence[BlobRef]) -> None:
        """Make sure that frames, all in one pack, are what was written; they will be read soon.

        Raises:
            As read_blob().
        """
        ...


class ProgressReport(Protocol):
    """Called by engine threads; cheap, may be called often."""

    def __call__(
        self,
        *,
        phase: str | None = None,
        tables_done: int = 0,
        rows: int = 0,
        bytes_: int = 0,
        tables_total: int | None = None,
        bytes_total: int | None = None,
    ) -> None:
        """Add to the counters (``tables_done``, ``rows``, ``bytes_``) or set (the others)."""
        ...


class StopFlag:
    """Tells the engine's threads to stop. Set once, with the reason that shall be raised."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._reason: BaseException | None = None
        self._lock = threading.Lock()

    def set(self, reason: BaseException) -> None:
        """Ask everything to stop; the first reason wins."""
        with self._lock:
            if self._reason is None:
                self._reason = reason
        self._event.set()

    @property
    def is_set(self) -> bool:
        """Whether stopping was asked for."""
        return self._event.is_set()

    @property
    def reason(self) -> BaseException | None:
        """Why, once set."""
        return self._reason

    def check(self) -> None:
        """Raise the reason if stopping was asked for."""
        if self._reason is not None:
            raise self._reason

    def wait(self, timeout_s: float) -> bool:
        """Sleep up to ``timeout_s`` or until set; True when set."""
        return self._event.wait(timeout_s)
