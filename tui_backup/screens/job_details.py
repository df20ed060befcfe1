"""Everything about one backup job."""

from __future__ import annotations

import json
from uuid import UUID

from textual import work

from tui_backup.errors import TuiBackupError
from tui_backup.messages import BoardChanged, Tick
from tui_backup.model import BackupJob, JobStatus, Proof, Verification
from tui_backup.screens.details import DetailsScreen, Facts
from tui_backup.screens.facts import backup_command, hint_of, problem_words, why_not_restore
from tui_backup.screens.formats import TABLE_COLUMNS, exact_time, number, progress_words
from tui_backup.services.backups import BackupTable
from tui_backup.services.incrementals import reuse_lines
from tui_backup.services.tenant_words import scope_words, tenant_lines
from tui_backup.services.utilities import format_bytes, format_duration
from tui_backup.widgets.live_table import LiveTable
from tui_backup.widgets.table_model import Cell, Row


class JobDetailsScreen(DetailsScreen):
    """Every column of the job, its tables, its timeline, its error with what to do, and its command.

    Args:
        job_id: the job, which must be on the board.
    """

    columns = TABLE_COLUMNS

    def __init__(self, job_id: UUID) -> None:
        super().__init__(classes="details")
        self._job_id = job_id

    def on_mount(self) -> None:
        """Read what is not on the board: tables, and the newest check."""
        self._read_contents()
        self._read_verification()

    @property
    def _job(self) -> BackupJob | None:
        return self.host.board.jobs.get(self._job_id)

    def on_board_changed(self, message: BoardChanged) -> None:
        """The job changed."""
        if message.id in (None, self._job_id):
            self.show_row()

    def on_tick(self, message: Tick) -> None:
        """The elapsed time of a running job."""
        if self._job is not None and self._job.status is JobStatus.RUNNING:
            self.show_row()

    def show_row(self) -> None:
        """Show the job as it is now."""
        job = self._job
        if job is None:
            self.put("This backup is gone: its row was deleted.", "", (), "", ())
            return
        signs = self.host.symbols
        verification = self.host.board.verifications.get(job.id)
        now = self.host.board.now()
        title = f"{signs.status(job.status)}  {job.source_name or '?'}  {job.backup_name or ''}"
        if job.status is JobStatus.RUNNING:
            title += f"  {progress_words(job.progress, job.started_at, now)}"
        self.put(
            title,
            _error(job, verification),
            _timeline(job, verification),
            backup_command(job),
            _facts(job),
        )

    @work(group="contents", exclusive=True, exit_on_error=False, description="reading the backup's contents")
    async def _read_contents(self) -> None:
        table = self.query_one("#tables", LiveTable)
        job = self._job
        reason = why_not_restore(job)
        if job is None or reason:
            table.set_placeholder(reason)
            self.fit_table()
            return
        table.set_placeholder("Reading the manifest")
        try:
            tables = await self.host.backend.get_backup_contents(job.id)
        except TuiBackupError as error:
            table.set_placeholder(f"The manifest cannot be read: {error.message}", error.hint)
        else:
            table.set_placeholder("This backup holds no tables.")
            table.set_rows([_table_row(each) for each in tables])
        self.fit_table()

    @work(group="verification", exclusive=True, exit_on_error=False, description="reading the last check")
    async def _read_verification(self) -> None:
        if self._job is None or self._job.status is not JobStatus.COMPLETED:
            return
        verification = await self.host.backend.get_latest_verification(self._job_id)
        if verification is not None:
            self.host.board.put_verification(verification)
            self.show_row()

    def action_copy_id(self) -> None:
        """Copy the id."""
        self.host.copy(str(self._job_id), "id")

    def action_copy_command(self) -> None:
        """Copy the command."""
        if self._job is not None:
            self.host.copy(backup_command(self._job), "command")


def _table_row(table: BackupTable) -> Row:
    return Row(
        table.name,
        (
            Cell(table.name),
            Cell(number(table.rows), sort=table.rows),
            Cell(format_bytes(table.raw_bytes), sort=table.raw_bytes),
            Cell(format_bytes(table.stored_bytes), sort=table.stored_bytes),
        ),
        rank=table.name,
    )


def _error(job: BackupJob, verification: Verification | None) -> str:
    lines: list[str] = []
    if job.error_message:
        lines.append(job.error_message)
        if hint := hint_of(job):
            lines.append(f"What to do: {hint}")
    if verification is not None and verification.error_message:
        lines += [f"The check of the files failed: {verification.error_message}", hint_of(verification)]
    for problem in verification.problems if verification else ():
        lines.append(problem_words(problem))
    return "\n".join(line for line in lines if line)


def _timeline(job: BackupJob, verification: Verification | None) -> Facts:
    steps = [(job.created_at, "asked for" if job.schedule_name is None else f"due by {job.schedule_name}")]
    if job.started_at:
        again = f" (tried again {job.retry_count} times)" if job.retry_count else ""
        steps.append((job.started_at, f"started{again}"))
    if job.completed_at:
        took = f" after {format_duration(job.duration_seconds)}" if job.duration_seconds is not None else ""
        steps.append((job.completed_at, f"{job.status}{took}"))
    if verification is not None:
        files = verification.kind is Proof.FILES
        what = "check of every file asked for" if files else "restored copy compared with the backup"
        steps.append((verification.created_at, what))
        if verification.completed_at:
            count = len(verification.problems)
            result = f"{count} problems" if count else f"{format_bytes(verification.bytes_read)} read, nothing damaged"
            words = f"check failed: {verification.error_message}" if verification.error_message else result
            steps.append((verification.completed_at, words))
    if job.proof_at is not None:
        steps.append((job.proof_at, f"proof: {job.proof}"))
    if job.deleted_at is not None:
        steps.append((job.deleted_at, "files deleted"))
    return [(exact_time(when), what) for when, what in sorted(steps, key=lambda step: step[0])]


def _facts(job: BackupJob) -> Facts:
    def size(value: int | None) -> str:
        return "-" if value is None else f"{format_bytes(value)} ({value:,} bytes)"

    def plain(value: object) -> str:
        return "-" if value is None or value == "" else str(value)

    return (
        ("id", str(job.id)),
        ("source", plain(job.source_name)),
        ("job_type", str(job.job_type)),
        *((("incremental", "\n".join(lines)),) if (lines := reuse_lines(job)) else ()),
        ("status", str(job.status)),
        ("backup_name", plain(job.backup_name)),
        ("description", plain(job.description)),
        ("tags", ", ".join(job.tags) or "-"),
        ("scope", scope_words(job)),
        *((("tenant", "\n".join(lines)),) if (lines := tenant_lines(job)) else ()),
        ("tables chosen", ", ".join(job.chosen_tables) or "all"),
        ("started_at", exact_time(job.started_at)),
        ("completed_at", exact_time(job.completed_at)),
        ("duration_seconds", number(job.duration_seconds)),
        ("backup_size", size(job.backup_size)),
        ("compressed_size_bytes", size(job.compressed_size_bytes)),
        ("tables_count", number(job.tables_count)),
        ("rows_count", number(job.rows_count)),
        ("files_count", number(job.files_count)),
        ("repository", plain(job.repository_name)),
        ("storage_bucket", plain(job.storage_bucket)),
        ("storage_path", plain(job.storage_path)),
        ("proof", f"{job.proof} {exact_time(job.proof_at) if job.proof_at else ''}".strip()),
        ("schedule", plain(job.schedule_name)),
        ("parent_job_id", plain(job.parent_job_id)),
        ("retry_count", number(job.retry_count)),
        ("error_message", plain(job.error_message)),
        ("error_details", json.dumps(job.error_details, default=str) if job.error_details else "-"),
        ("metadata", json.dumps(job.metadata, default=str) if job.metadata else "-"),
        ("tenant_id", str(job.tenant_id)),
        ("created_at", exact_time(job.created_at)),
        ("created_by", plain(job.created_by)),
        ("updated_at", exact_time(job.updated_at)),
        ("updated_by", plain(job.updated_by)),
    )
