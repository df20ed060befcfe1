"""The one door from the screens to the services, so that a test can put something else behind it.

Every method is the service function of the same name, with the session held here. All of them are coroutines on the
dashboard's own loop and none blocks it; all raise the errors of :mod:`tui_backup.errors` only.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote
from uuid import UUID

from tui_backup.config import Config, load_config
from tui_backup.errors import CatalogUnavailableError
from tui_backup.model import (
    BackupJob,
    BackupJobInsert,
    BackupRestoreLog,
    BackupSchedule,
    BackupScheduleInsert,
    Identity,
    Progress,
    Repository,
    RestorePlan,
    RestoreRequest,
    Source,
    Verification,
)
from tui_backup.services import (
    agents,
    backups,
    events,
    repositories,
    restores,
    schedules,
    session,
    setup,
    sources,
    statistics,
    verifications,
)
from tui_backup.services.backups import BackupEstimate, BackupTable, JobFilters
from tui_backup.services.events import Change, ConnectionState, Resync
from tui_backup.services.repositories import RepositoryCheck
from tui_backup.services.sources import SourceTable, SourceTest
from tui_backup.services.statistics import SafetyOverview

Notice = Callable[[str], None]


class Backend(Protocol):
    """What the screens may ask for."""

    @property
    def config(self) -> Config: ...

    @property
    def identity(self) -> Identity | None: ...

    async def open(self, notice: Notice) -> Identity: ...

    async def close(self) -> None: ...

    async def init_embedded(self, notice: Notice) -> None: ...

    async def ensure_agent(self, notice: Notice) -> bool: ...

    async def start_agent(self) -> int: ...

    def watch(self) -> AsyncGenerator[Change | ConnectionState | Resync, None]: ...

    async def get_safety(self) -> SafetyOverview: ...

    async def get_backup_jobs(self, filters: JobFilters) -> list[BackupJob]: ...

    async def get_backup_job_by_id(self, job_id: UUID) -> BackupJob: ...

    async def create_backup_job(self, job: BackupJobInsert) -> BackupJob: ...

    async def cancel_backup_job(self, job_id: UUID) -> BackupJob: ...

    async def delete_backup_job(self, job_id: UUID) -> None: ...

    async def download_backup_file(
        self, job_id: UUID, output: Path, on_progress: Callable[[Progress], None]
    ) -> int: ...

    async def get_backup_contents(self, job_id: UUID) -> list[BackupTable]: ...

    async def estimate_backup(self, source: str, tables: Sequence[str], repository: str | None) -> BackupEstimate: ...

    async def get_backup_schedules(self) -> list[BackupSchedule]: ...

    async def create_backup_schedule(self, schedule: BackupScheduleInsert) -> BackupSchedule: ...

    async def update_backup_schedule(self, schedule_id: UUID, updates: Mapping[str, Any]) -> BackupSchedule: ...

    async def toggle_backup_schedule(self, schedule_id: UUID, is_enabled: bool) -> BackupSchedule: ...

    async def delete_backup_schedule(self, schedule_id: UUID) -> None: ...

    async def plan_restore(self, request: RestoreRequest) -> RestorePlan: ...

    async def restore_from_backup(self, request: RestoreRequest) -> BackupRestoreLog: ...

    async def get_restore_logs(self, limit: int) -> list[BackupRestoreLog]: ...

    async def get_restore_log_by_id(self, restore_id: UUID) -> BackupRestoreLog: ...

    async def cancel_restore(self, restore_id: UUID) -> BackupRestoreLog: ...

    async def undo_restore(self, restore_id: UUID) -> BackupRestoreLog: ...

    async def finish_restore(self, restore_id: UUID) -> BackupRestoreLog: ...

    async def verify_backup(self, job_id: UUID) -> Verification: ...

    async def get_latest_verification(self, job_id: UUID) -> Verification | None: ...

    async def get_sources(self) -> list[Source]: ...

    async def add_source(self, name: str, dsn: str, password: str | None) -> Source: ...

    async def test_source(self, name: str) -> SourceTest: ...

    async def list_source_tables(self, name: str) -> list[SourceTable]: ...

    async def get_repositories(self) -> list[Repository]: ...

    async def check_repository(self, name: str) -> RepositoryCheck: ...


class ServiceBackend:
    """The services behind the door.

    Args:
        config: where the catalog is; read again after a set-up.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._session: session.Session | None = None

    @property
    def config(self) -> Config:
        """The configuration in use."""
        return self._config

    @property
    def identity(self) -> Identity | None:
        """Who we are, None before the catalog was opened."""
        return self._session.identity if self._session else None

    @property
    def _open_session(self) -> session.Session:
        if self._session is None:
            raise CatalogUnavailableError("The catalog is not open yet.")
        return self._session

    async def open(self, notice: Notice) -> Identity:
        """Open the catalog; what was open is closed first."""
        await self.close()
        self._session = await session.open_session(self._config, notice=notice)
        return self._session.identity

    async def close(self) -> None:
        """Close the catalog."""
        if self._session is not None:
            opened, self._session = self._session, None
            await opened.close()

    async def init_embedded(self, notice: Notice) -> None:
        """Make the embedded catalog, and take over the configuration that this wrote."""
        await setup.init_embedded(self._config, notice=notice)
        self._config = load_config()

    async def ensure_agent(self, notice: Notice) -> bool:
        return await agents.ensure_agent(self._open_session, notice=notice)

    async def start_agent(self) -> int:
        return await agents.start_agent(self._config)

    def watch(self) -> AsyncGenerator[Change | ConnectionState | Resync, None]:
        return events.watch(self._open_session)

    async def get_safety(self) -> SafetyOverview:
        return await statistics.get_safety(self._open_session)

    async def get_backup_jobs(self, filters: JobFilters) -> list[BackupJob]:
        return await backups.get_backup_jobs(self._open_session, filters)

    async def get_backup_job_by_id(self, job_id: UUID) -> BackupJob:
        return await backups.get_backup_job_by_id(self._open_session, job_id)

    async def create_backup_job(self, job: BackupJobInsert) -> BackupJob:
        return await backups.create_backup_job(self._open_session, job)

    async def cancel_backup_job(self, job_id: UUID) -> BackupJob:
        return await backups.cancel_backup_job(self._open_session, job_id)

    async def delete_backup_job(self, job_id: UUID) -> None:
        await backups.delete_backup_job(self._open_session, job_id, confirm=True)

    async def download_backup_file(self, job_id: UUID, output: Path, on_progress: Callable[[Progress], None]) -> int:
        return await backups.download_backup_file(self._open_session, job_id, output, on_progress=on_progress)

    async def get_backup_contents(self, job_id: UUID) -> list[BackupTable]:
        return await backups.get_backup_contents(self._open_session, job_id)

    async def estimate_backup(self, source: str, tables: Sequence[str], repository: str | None) -> BackupEstimate:
        return await backups.estimate_backup(self._open_session, source, tables, repository)

    async def get_backup_schedules(self) -> list[BackupSchedule]:
        return await schedules.get_backup_schedules(self._open_session)

    async def create_backup_schedule(self, schedule: BackupScheduleInsert) -> BackupSchedule:
        return await schedules.create_backup_schedule(self._open_session, schedule)

    async def update_backup_schedule(self, schedule_id: UUID, updates: Mapping[str, Any]) -> BackupSchedule:
        return await schedules.update_backup_schedule(self._open_session, schedule_id, updates)

    async def toggle_backup_schedule(self, schedule_id: UUID, is_enabled: bool) -> BackupSchedule:
        return await schedules.toggle_backup_schedule(self._open_session, schedule_id, is_enabled)

    async def delete_backup_schedule(self, schedule_id: UUID) -> None:
        await schedules.delete_backup_schedule(self._open_session, schedule_id)

    async def plan_restore(self, request: RestoreRequest) -> RestorePlan:
        return await restores.plan_restore(self._open_session, request)

    async def restore_from_backup(self, request: RestoreRequest) -> BackupRestoreLog:
        return await restores.restore_from_backup(self._open_session, request)

    async def get_restore_logs(self, limit: int) -> list[BackupRestoreLog]:
        return await restores.get_restore_logs(self._open_session, limit)

    async def get_restore_log_by_id(self, restore_id: UUID) -> BackupRestoreLog:
        return await restores.get_restore_log_by_id(self._open_session, restore_id)

    async def cancel_restore(self, restore_id: UUID) -> BackupRestoreLog:
        return await restores.cancel_restore(self._open_session, restore_id)

    async def undo_restore(self, restore_id: UUID) -> BackupRestoreLog:
        return await restores.undo_restore(self._open_session, restore_id)

    async def finish_restore(self, restore_id: UUID) -> BackupRestoreLog:
        return await restores.finish_restore(self._open_session, restore_id, confirm=True)

    async def verify_backup(self, job_id: UUID) -> Verification:
        return await verifications.verify_backup(self._open_session, job_id)

    async def get_latest_verification(self, job_id: UUID) -> Verification | None:
        return await verifications.get_latest_verification(self._open_session, job_id)

    async def get_sources(self) -> list[Source]:
        return await sources.get_sources(self._open_session)

    async def add_source(self, name: str, dsn: str, password: str | None) -> Source:
        """Register a source; a password typed apart travels in the DSN that the service takes it out of."""
        if password:
            dsn = (
                f"{dsn}{'&' if '?' in dsn else '?'}password={quote(password, safe='')}"
                if "://" in dsn
                else (dsn + " password='" + password.replace("\\", "\\\\").replace("'", "\\'") + "'")
            )
        return await sources.add_source(self._open_session, name, dsn)

    async def test_source(self, name: str) -> SourceTest:
        return await sources.test_source(self._open_session, name)

    async def list_source_tables(self, name: str) -> list[SourceTable]:
        return await sources.list_source_tables(self._open_session, name)

    async def get_repositories(self) -> list[Repository]:
        return await repositories.get_repositories(self._open_session)

    async def check_repository(self, name: str) -> RepositoryCheck:
        return await repositories.check_repository(self._open_session, name)
