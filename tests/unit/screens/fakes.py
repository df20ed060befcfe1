"""A backend in memory, for screens alone: the services are tested against real servers elsewhere.

It keeps the promises of the services that screens rely on (errors, order, changes coming through ``watch``) and lets a
test take the catalog away, hold an answer back, or make the next call fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from tui_backup.config import Config, DashboardConfig, Settings
from tui_backup.errors import (
    CatalogUnavailableError,
    ConfirmationRequiredError,
    NotFoundError,
    NotSetUpError,
    TuiBackupError,
)
from tui_backup.model import (
    AgentInfo,
    BackupJob,
    BackupJobInsert,
    BackupRestoreLog,
    BackupSchedule,
    BackupScheduleInsert,
    Identity,
    JobStatus,
    JobType,
    PlanCheck,
    PlanTable,
    Progress,
    Proof,
    Repository,
    RestorePlan,
    RestoreRequest,
    RestoreTarget,
    Role,
    Safety,
    Source,
    SourceSafety,
    Verification,
)
from tui_backup.services.backups import BackupEstimate, BackupTable, JobFilters
from tui_backup.services.events import Change, ConnectionState, Resync
from tui_backup.services.repositories import RepositoryCheck
from tui_backup.services.sources import SourceTable, SourceTest
from tui_backup.services.statistics import SafetyOverview

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
SPACE = UUID("6f9619ff-8b86-d011-b42d-00cf4fc964ff")
TENANT = uuid5(SPACE, "tenant")
GIB = 1 << 30


def made_id(name: str) -> UUID:
    """The same id for the same name, in every run."""
    return uuid5(SPACE, name)


def make_job(name: str, **changes: Any) -> BackupJob:
    """A completed backup of two hours ago, with changes."""
    finished = NOW - timedelta(hours=2)
    job = BackupJob(
        id=made_id(name),
        job_type=JobType.FULL,
        status=JobStatus.COMPLETED,
        tenant_id=TENANT,
        created_at=finished - timedelta(seconds=90),
        started_at=finished - timedelta(seconds=82),
        completed_at=finished,
        duration_seconds=82,
        backup_size=int(12.4 * GIB),
        compressed_size_bytes=int(3.1 * GIB),
        storage_path=f"main/manifests/{made_id(name)}.json.zst",
        storage_bucket="/var/backups",
        tables_count=48,
        rows_count=1_204_118,
        files_count=99,
        source_id=made_id("source prod-main"),
        source_name="prod-main",
        repository_id=made_id("repository local"),
        repository_name="local",
    )
    return replace(job, **changes)


def make_log(name: str, **changes: Any) -> BackupRestoreLog:
    """A completed restore into a new database, with changes."""
    log = BackupRestoreLog(
        id=made_id(name),
        backup_job_id=made_id("job good"),
        restore_type=RestoreRequest(job_id=made_id("job good")).restore_type,
        status=JobStatus.COMPLETED,
        tenant_id=TENANT,
        created_at=NOW - timedelta(hours=1),
        started_at=NOW - timedelta(hours=1),
        completed_at=NOW - timedelta(minutes=58),
        duration_seconds=120,
        tables_restored=48,
        rows_restored=1_204_118,
        source_name="prod-main",
        target=RestoreTarget.NEW_DATABASE,
        target_database="prod_main_copy",
        metadata={"compare": {"identical": True, "tables": 48, "rows": 1_204_118, "definitions": "texts"}},
    )
    return replace(log, **changes)


def make_schedule(name: str, **changes: Any) -> BackupSchedule:
    """A nightly schedule that is on, with changes."""
    schedule = BackupSchedule(
        id=made_id(f"schedule {name}"),
        schedule_name=name,
        job_type=JobType.FULL,
        cron_expression="0 2 * * *",
        timezone="Asia/Riyadh",
        is_enabled=True,
        retention_days=30,
        max_backups_count=10,
        notify_on_success=False,
        notify_on_failure=True,
        tenant_id=TENANT,
        created_at=NOW - timedelta(days=60),
        last_run_at=NOW - timedelta(hours=7),
        last_run_status="completed",
        next_run_at=NOW + timedelta(hours=13, minutes=30),
        source_name="prod-main",
        repository_name="local",
    )
    return replace(schedule, **changes)


def make_source(name: str) -> Source:
    """A source."""
    return Source(made_id(f"source {name}"), name, f"host=db01 dbname={name}", TENANT, 86400, NOW)


def make_progress(fraction: float, **changes: Any) -> Progress:
    """Progress of a 12 GiB backup."""
    progress = Progress(
        phase="reading tables",
        tables_done=int(48 * fraction),
        tables_total=48,
        rows_done=int(1_204_118 * fraction),
        bytes_done=int(12.4 * GIB * fraction),
        bytes_total=int(12.4 * GIB),
        bytes_per_second=20.0 * (1 << 20),
        eta_seconds=360,
        updated_at=NOW,
    )
    return replace(progress, **changes)


@dataclass
class World:
    """What the fake catalog holds."""

    jobs: dict[UUID, BackupJob] = field(default_factory=dict)
    schedules: dict[UUID, BackupSchedule] = field(default_factory=dict)
    restores: dict[UUID, BackupRestoreLog] = field(default_factory=dict)
    verifications: dict[UUID, Verification] = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)
    safety: Safety = Safety.NOT_SAFE
    headline: str = "NOT SAFE: billing: last good 31h ago, RPO 24h"
    agent_age_s: float = 2.0

    @classmethod
    def example(cls) -> World:
        """The world of UX.md's drawing."""
        world = cls(sources=[make_source(name) for name in ("prod-main", "billing", "crm", "wiki")])
        jobs = (
            make_job(
                "job running",
                status=JobStatus.RUNNING,
                created_at=NOW - timedelta(seconds=255),
                started_at=NOW - timedelta(seconds=250),
                completed_at=None,
                duration_seconds=None,
                backup_size=None,
                compressed_size_bytes=None,
                progress=make_progress(0.41),
            ),
            make_job(
                "job failed",
                status=JobStatus.FAILED,
                source_name="billing",
                source_id=made_id("source billing"),
                created_at=NOW - timedelta(hours=31),
                started_at=NOW - timedelta(hours=31),
                completed_at=NOW - timedelta(hours=31),
                duration_seconds=7,
                backup_size=None,
                compressed_size_bytes=None,
                error_message="Server refused the connection.",
                error_details={"error": "connection_failed", "hint": "Is it up? `tui-backup source test billing`"},
            ),
            make_job("job good", proof=Proof.RESTORED, proof_at=NOW - timedelta(days=3), backup_name="before-upgrade"),
            make_job(
                "job old",
                created_at=NOW - timedelta(days=2),
                completed_at=NOW - timedelta(days=2),
                source_name="crm",
                source_id=made_id("source crm"),
                proof=Proof.FILES,
                proof_at=NOW - timedelta(hours=3),
            ),
            make_job("job cancelled", status=JobStatus.CANCELLED, created_at=NOW - timedelta(days=3)),
        )
        world.jobs = {job.id: job for job in jobs}
        schedules = (
            make_schedule("nightly-prod"),
            make_schedule("weekly-crm", cron_expression="0 2 * * 0", is_enabled=False, source_name="crm"),
            make_schedule("billing", last_run_status="failed", source_name="billing"),
        )
        world.schedules = {row.id: row for row in schedules}
        swap = make_log(
            "restore swap",
            target=RestoreTarget.SWAP,
            target_database="prod_main",
            undo_state="kept",
            created_at=NOW - timedelta(minutes=30),
            metadata={
                "compare": {"identical": True, "tables": 48, "rows": 1_204_118, "definitions": "texts"},
                "swap": {"kept": "prod_main_old_20261124", "live": "prod_main"},
            },
        )
        failed = make_log(
            "restore failed",
            status=JobStatus.FAILED,
            created_at=NOW - timedelta(days=1),
            error_message="The target has not enough room.",
            error_details={"error": "no_space_for_restore", "hint": "Free space or choose another target."},
            rollback_executed=True,
            rollback_at=NOW - timedelta(days=1),
            metadata={},
        )
        world.restores = {log.id: log for log in (swap, failed, make_log("restore good"))}
        return world


class FakeBackend:
    """The services in memory.

    Args:
        tmp_path: where logs and configuration would be.
        world: what there is.
        set_up: whether a catalog exists.
        dashboard: settings of the dashboard.
    """

    def __init__(
        self,
        tmp_path: Path,
        world: World | None = None,
        *,
        set_up: bool = True,
        dashboard: DashboardConfig | None = None,
    ) -> None:
        settings = Settings(dashboard=dashboard or DashboardConfig())
        self._config = Config(settings, tmp_path / "config.toml", tmp_path / "state", tmp_path / "data")
        self.world = world if world is not None else World.example()
        self.set_up = set_up
        self.identity: Identity | None = None
        self.down: TuiBackupError | None = None
        self.fail_next: dict[str, TuiBackupError] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.queues: list[asyncio.Queue[Change | ConnectionState | Resync]] = []
        self.plan_checks: list[PlanCheck] = [PlanCheck("checksums", "ok", "all 99 objects are there")]
        self.agent_started = False
        self.tables = [
            SourceTable("public", name, f"public.{name}", rows, rows * 100)
            for name, rows in (("orders", 1_204_118), ("customers", 48_000), ("events", 9_000_000))
        ]

    @property
    def config(self) -> Config:
        return self._config

    async def _call(self, name: str, *arguments: Any) -> None:
        """Every call: recorded, held back, refused."""
        self.calls.append((name, *arguments))
        if (gate := self.gates.get(name)) is not None:
            await gate.wait()
        await asyncio.sleep(0)
        if self.down is not None:
            raise self.down
        if (error := self.fail_next.pop(name, None)) is not None:
            raise error

    def called(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of every call of a method."""
        return [call[1:] for call in self.calls if call[0] == name]

    # -- what a test does ---------------------------------------------------------------------------------------

    def put(self, row: BackupJob | BackupRestoreLog | BackupSchedule | Verification) -> None:
        """Change a row and tell the watchers."""
        match row:
            case BackupJob():
                self.world.jobs[row.id] = row
                kind = "job"
            case BackupRestoreLog():
                self.world.restores[row.id] = row
                kind = "restore"
            case BackupSchedule():
                self.world.schedules[row.id] = row
                kind = "schedule"
            case Verification():
                self.world.verifications[row.backup_job_id] = row
                kind = "verification"
        self.tell(Change(kind, row.id, row))

    def tell(self, event: Change | ConnectionState | Resync) -> None:
        """Send an event to the watchers."""
        for queue in self.queues:
            queue.put_nowait(event)

    def go_down(self) -> None:
        """Take the catalog away."""
        self.down = CatalogUnavailableError("The catalog's server does not answer.")
        self.tell(ConnectionState(False, NOW, self.down))

    def come_back(self) -> None:
        """Give it back."""
        self.down = None
        self.tell(ConnectionState(True, NOW))

    # -- the services -------------------------------------------------------------------------------------------

    async def open(self, notice: Callable[[str], None]) -> Identity:
        await self._call("open")
        if not self.set_up:
            raise NotSetUpError("No catalog is configured.")
        self.identity = Identity("tui_backup", TENANT, "main", Role.ADMIN)
        return self.identity

    async def close(self) -> None:
        self.calls.append(("close",))

    async def init_embedded(self, notice: Callable[[str], None]) -> None:
        await self._call("init_embedded")
        notice("Made the embedded catalog.")
        self.set_up = True

    async def ensure_agent(self, notice: Callable[[str], None]) -> bool:
        await self._call("ensure_agent")
        if not self.agent_started and self.world.agent_age_s > 10:
            notice("Started an agent, pid 4711. It goes on without the dashboard.")
            self.agent_started, self.world.agent_age_s = True, 0.5
        return True

    async def start_agent(self) -> int:
        await self._call("start_agent")
        self.world.agent_age_s = 0.5
        return 4711

    async def watch(self) -> AsyncGenerator[Change | ConnectionState | Resync, None]:
        queue: asyncio.Queue[Change | ConnectionState | Resync] = asyncio.Queue()
        self.queues.append(queue)
        try:
            yield ConnectionState(True, NOW)
            while True:
                yield await queue.get()
        finally:
            self.queues.remove(queue)

    async def get_safety(self) -> SafetyOverview:
        await self._call("get_safety")
        world = self.world
        sources = [
            SourceSafety(source.source_name, Safety.SAFE, 86400, NOW - timedelta(hours=2), 7200)
            for source in world.sources
            if source.source_name != "billing"
        ]
        if any(source.source_name == "billing" for source in world.sources):
            sources.insert(0, SourceSafety("billing", Safety.NOT_SAFE, 86400, NOW - timedelta(hours=31), 111600))
        agent = AgentInfo(made_id("agent"), "db01", 4711, "0.1.0", NOW, NOW, world.agent_age_s)
        down = world.agent_age_s > 10
        return SafetyOverview(
            safety=Safety.UNKNOWN if down else world.safety,
            headline="AGENT DOWN: no backup starts or runs" if down else world.headline,
            sources=sources,
            agents=[agent],
            running=sum(1 for job in world.jobs.values() if job.status is JobStatus.RUNNING),
            failed=sum(1 for job in world.jobs.values() if job.status is JobStatus.FAILED),
            stored_bytes=212 * GIB,
            next_schedule=next((row for row in world.schedules.values() if row.is_enabled), None),
            checked_at=NOW,
        )

    async def get_backup_jobs(self, filters: JobFilters) -> list[BackupJob]:
        await self._call("get_backup_jobs", filters)
        jobs = sorted(self.world.jobs.values(), key=lambda job: job.created_at, reverse=True)
        if filters.before is not None:
            jobs = [job for job in jobs if job.created_at < filters.before]
        if filters.text is not None:
            jobs = [job for job in jobs if filters.text in f"{job.source_name} {job.backup_name} {job.description}"]
        return jobs[: filters.limit]

    async def get_backup_job_by_id(self, job_id: UUID) -> BackupJob:
        await self._call("get_backup_job_by_id", job_id)
        if job_id not in self.world.jobs:
            raise NotFoundError("No such job.")
        return self.world.jobs[job_id]

    async def create_backup_job(self, job: BackupJobInsert) -> BackupJob:
        await self._call("create_backup_job", job)
        made = make_job(
            f"job {len(self.world.jobs)}",
            status=JobStatus.PENDING,
            created_at=NOW,
            started_at=None,
            completed_at=None,
            duration_seconds=None,
            backup_size=None,
            compressed_size_bytes=None,
            source_name=job.source,
            backup_name=job.backup_name,
            description=job.description,
            chosen_tables=job.tables,
            job_type=job.job_type,
        )
        self.world.jobs[made.id] = made
        return made

    async def cancel_backup_job(self, job_id: UUID) -> BackupJob:
        await self._call("cancel_backup_job", job_id)
        job = replace(self.world.jobs[job_id], cancel_requested=True)
        self.world.jobs[job_id] = job
        return job

    async def delete_backup_job(self, job_id: UUID) -> None:
        await self._call("delete_backup_job", job_id)
        del self.world.jobs[job_id]

    async def download_backup_file(self, job_id: UUID, output: Path, on_progress: Callable[[Progress], None]) -> int:
        await self._call("download_backup_file", job_id, output)
        on_progress(make_progress(0.5))
        return 12345

    async def get_backup_contents(self, job_id: UUID) -> list[BackupTable]:
        await self._call("get_backup_contents", job_id)
        return [BackupTable(t.quoted_name, t.rows_estimate, t.bytes, t.bytes // 4, 3) for t in self.tables]

    async def estimate_backup(self, source: str, tables: Sequence[str], repository: str | None) -> BackupEstimate:
        await self._call("estimate_backup", source, list(tables), repository)
        return BackupEstimate(13 * GIB, 900, 812 * GIB, repository or "local")

    async def get_backup_schedules(self) -> list[BackupSchedule]:
        await self._call("get_backup_schedules")
        return list(self.world.schedules.values())

    async def create_backup_schedule(self, schedule: BackupScheduleInsert) -> BackupSchedule:
        await self._call("create_backup_schedule", schedule)
        made = make_schedule(
            schedule.schedule_name,
            cron_expression=schedule.cron_expression,
            timezone=schedule.timezone,
            source_name=schedule.source,
            last_run_at=None,
            last_run_status=None,
        )
        self.world.schedules[made.id] = made
        return made

    async def update_backup_schedule(self, schedule_id: UUID, updates: Mapping[str, Any]) -> BackupSchedule:
        await self._call("update_backup_schedule", schedule_id, dict(updates))
        known = {k: v for k, v in updates.items() if k not in ("source", "repository")}
        row = replace(self.world.schedules[schedule_id], **known)
        self.world.schedules[schedule_id] = row
        return row

    async def toggle_backup_schedule(self, schedule_id: UUID, is_enabled: bool) -> BackupSchedule:
        await self._call("toggle_backup_schedule", schedule_id, is_enabled)
        row = replace(self.world.schedules[schedule_id], is_enabled=is_enabled)
        self.world.schedules[schedule_id] = row
        return row

    async def delete_backup_schedule(self, schedule_id: UUID) -> None:
        await self._call("delete_backup_schedule", schedule_id)
        del self.world.schedules[schedule_id]

    async def plan_restore(self, request: RestoreRequest) -> RestorePlan:
        await self._call("plan_restore", request)
        job = self.world.jobs[request.job_id]
        live = request.target in (RestoreTarget.SWAP, RestoreTarget.IN_PLACE)
        chosen = request.tables or [table.quoted_name for table in self.tables]
        tables = [
            PlanTable(t.quoted_name, t.rows_estimate, t.rows_estimate + 6098 if live else None)
            for t in self.tables
            if t.quoted_name in chosen
        ]
        if job.tenant_scope:
            tables = [replace(t, rows_delete=2, rows_insert=8, rows_update=0, rows_same=1000) for t in tables]
        return RestorePlan(
            job=job,
            target=request.target,
            server="db01:5432",
            database=request.database or "prod-main",
            schema=request.schema,
            tables=tables,
            checks=self.plan_checks,
            sessions=6 if live else 0,
            bytes_needed=13 * GIB,
            bytes_free=812 * GIB,
            reason="Chosen by you; a new database is the safest way.",
            undo="the old database is kept as prod-main_old_20261124" if live else None,
        )

    async def restore_from_backup(self, request: RestoreRequest) -> BackupRestoreLog:
        await self._call("restore_from_backup", request)
        if not request.confirm_restore:
            raise ConfirmationRequiredError("Not confirmed.")
        log = make_log(
            f"restore {len(self.world.restores)}",
            status=JobStatus.PENDING,
            created_at=NOW,
            started_at=None,
            completed_at=None,
            duration_seconds=None,
            tables_restored=None,
            rows_restored=None,
            target=request.target,
            target_database=request.database,
            target_schema=request.schema,
            metadata={},
        )
        self.world.restores[log.id] = log
        return log

    async def get_restore_logs(self, limit: int) -> list[BackupRestoreLog]:
        await self._call("get_restore_logs", limit)
        return list(self.world.restores.values())[:limit]

    async def get_restore_log_by_id(self, restore_id: UUID) -> BackupRestoreLog:
        await self._call("get_restore_log_by_id", restore_id)
        return self.world.restores[restore_id]

    async def cancel_restore(self, restore_id: UUID) -> BackupRestoreLog:
        await self._call("cancel_restore", restore_id)
        return self._change_restore(restore_id, cancel_requested=True)

    async def undo_restore(self, restore_id: UUID) -> BackupRestoreLog:
        await self._call("undo_restore", restore_id)
        return self._change_restore(restore_id, undo_state="undone")

    async def finish_restore(self, restore_id: UUID) -> BackupRestoreLog:
        await self._call("finish_restore", restore_id)
        return self._change_restore(restore_id, undo_state="finished")

    def _change_restore(self, restore_id: UUID, **changes: Any) -> BackupRestoreLog:
        log = replace(self.world.restores[restore_id], **changes)
        self.world.restores[restore_id] = log
        return log

    async def verify_backup(self, job_id: UUID) -> Verification:
        await self._call("verify_backup", job_id)
        row = Verification(made_id(f"check {job_id}"), job_id, Proof.FILES, JobStatus.PENDING, NOW)
        self.world.verifications[job_id] = row
        return row

    async def get_latest_verification(self, job_id: UUID) -> Verification | None:
        await self._call("get_latest_verification", job_id)
        return self.world.verifications.get(job_id)

    async def get_sources(self) -> list[Source]:
        await self._call("get_sources")
        return list(self.world.sources)

    async def add_source(self, name: str, dsn: str, password: str | None) -> Source:
        await self._call("add_source", name, dsn, password)
        source = make_source(name)
        self.world.sources.append(source)
        return source

    async def test_source(self, name: str) -> SourceTest:
        await self._call("test_source", name)
        return SourceTest("18.1", name, "backup", 13 * GIB, 48, False, True, "18.1", [], [])

    async def list_source_tables(self, name: str) -> list[SourceTable]:
        await self._call("list_source_tables", name)
        return list(self.tables)

    async def get_repositories(self) -> list[Repository]:
        await self._call("get_repositories")
        return [Repository(made_id("repository local"), "local", "/var/backups", TENANT, True, 100 << 20, NOW)]

    async def check_repository(self, name: str) -> RepositoryCheck:
        await self._call("check_repository", name)
        return RepositoryCheck(name, "/var/backups", 812 * GIB, [])
