"""The first tab: every backup of every source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar
from uuid import UUID

from textual.app import ComposeResult

from tui_backup.messages import Subject
from tui_backup.model import BackupJob, JobStatus, Proof
from tui_backup.screens.facts import hint_of, problem_words
from tui_backup.screens.formats import number, progress_words
from tui_backup.screens.job_rows import BACKUP_COLUMNS, job_row
from tui_backup.screens.pane import Pane
from tui_backup.screens.rows import RowCache
from tui_backup.services.incrementals import reuse_lines
from tui_backup.services.utilities import format_age, format_bytes
from tui_backup.widgets.detail_pane import PaneMessage
from tui_backup.widgets.live_table import LiveTable
from tui_backup.widgets.rows import Row
from tui_backup.widgets.symbols import BAD

PROOF_WORDS = {
    Proof.NONE: "Not proven yet: v reads every file back.",
    Proof.FILES: "Files verified, not yet restored.",
    Proof.RESTORED: "Proven: restored and compared with its own content.",
}


class BackupsPane(Pane):
    """Newest first."""

    description: ClassVar[str] = "Backups of every source, newest first. Enter shows everything about one."
    hints: ClassVar[Sequence[str]] = ("new", "restore", "verify", "filter", "cancel", "log", "delete", "quit")

    def compose(self) -> ComposeResult:
        """One table."""
        self._cache = RowCache(job_row, self.look)
        yield LiveTable(BACKUP_COLUMNS, symbols=self.host.symbols, id="backup-table")

    def job(self) -> BackupJob | None:
        """The highlighted backup."""
        id_ = self.key()
        return self.board.jobs.get(id_) if id_ else None

    def concerns(self, subject: Subject) -> list[LiveTable]:
        """Jobs and their verifications."""
        return self.tables if subject in ("jobs", "verifications") else []

    def rows_of(self, table: LiveTable) -> list[Row]:
        """All jobs."""
        row, checks = self._cache.row, self.board.verifications
        return [row(job, checks.get(id_)) for id_, job in self.board.jobs.items()]

    def row_of(self, table: LiveTable, id_: UUID) -> Row | None:
        """One job."""
        job = self.board.jobs.get(id_)
        return self._cache.row(job, self.board.verifications.get(id_)) if job else None

    def live_ids(self) -> list[tuple[LiveTable, UUID]]:
        """Running jobs."""
        running = (job.id for job in self.board.jobs.values() if job.status is JobStatus.RUNNING)
        table = self.tables[0]
        return [(table, id_) for id_ in running]

    def empty_words(self, table: LiveTable) -> Sequence[str]:
        """No source yet, or no backup yet."""
        if self.board.source_count == 0:
            return (
                "No source yet: nothing is being backed up.",
                "n registers a database, or in a shell: tui-backup source add NAME --dsn DSN",
            )
        if self.host.read_only:
            return ("No backups yet.",)
        return ("No backups yet. Press n to make the first one.",)

    def row_message(self) -> PaneMessage | None:
        """The error and what to do, the progress, or what is in the backup."""
        job = self.job()
        return None if job is None else job_message(self, job)


def job_message(pane: Pane, job: BackupJob) -> PaneMessage:
    """What to say of a job in two or three lines."""
    board = pane.board
    name = job.source_name or "?"
    verification = board.verifications.get(job.id)
    match job.status:
        case JobStatus.FAILED:
            return PaneMessage(f"{name}: {job.error_message or 'failed'}", f"{hint_of(job)} l log".strip(), BAD)
        case JobStatus.RUNNING:
            stopping = " Being cancelled." if job.cancel_requested else ""
            return PaneMessage(f"{name}: {progress_words(job.progress, job.started_at, board.now())}.{stopping}")
        case JobStatus.PENDING:
            agents = board.safety.agents if board.safety else ()
            alive = any(agent.is_alive for agent in agents)
            why = "an agent takes it next" if alive else "no agent is alive: tui-backup agent start"
            return PaneMessage(f"{name}: waiting, {why}.")
        case JobStatus.CANCELLED:
            return PaneMessage(f"{name}: {job.error_message or 'cancelled by a user'}.", "n starts another one.")
        case JobStatus.COMPLETED:
            pass
    if verification is not None and not verification.status.is_final:
        words = progress_words(verification.progress, verification.started_at, board.now())
        return PaneMessage(f"{name}: checking files, {words}")
    if verification is not None and verification.problems:
        count = len(verification.problems)
        what = problem_words(verification.problems[0])
        return PaneMessage(f"{name}: {count} damaged or missing: {what}.", "Enter shows all of them.", BAD)
    if verification is not None and verification.status is JobStatus.FAILED:
        return PaneMessage(f"{name}: the check failed: {verification.error_message or '?'}", hint_of(verification), BAD)
    stored = f", stored in {format_bytes(job.compressed_size_bytes)}" if job.compressed_size_bytes else ""
    where = f" ({job.repository_name})" if job.repository_name else ""
    proof = PROOF_WORDS[job.proof]
    if job.proof_at is not None:
        proof = f"{proof.rstrip('.')}, {format_age((board.now() - job.proof_at).total_seconds())} ago."
    took_over = " ".join(reuse_lines(job)[:1])
    title = f'"{job.backup_name}" ' if job.backup_name else ""
    return PaneMessage(
        f"{name}: {title}{number(job.tables_count)} tables, {number(job.rows_count)} rows, "
        f"{format_bytes(job.backup_size)}{stored}{where}. {took_over}".rstrip(),
        proof if job.deleted_at is None else "Its files were deleted.",
    )
