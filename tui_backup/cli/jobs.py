"""`job list|show|cancel|delete|download`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui_backup.cli.outcome import going_on, show_failure
from tui_backup.cli.output import plain
from tui_backup.cli.parser import (
    Commands,
    add_command,
    add_confirm,
    add_group,
    add_job,
    count,
    folder,
    require_confirm,
)
from tui_backup.cli.progress import ProgressLine
from tui_backup.cli.text import Cell, Column, local_time, time_column
from tui_backup.model import BackupJob, JobStatus, Proof

if TYPE_CHECKING:
    from argparse import Namespace

    from tui_backup.cli.context import Context
    from tui_backup.cli.output import Output
    from tui_backup.services.backups import BackupTable


def add_commands(commands: Commands) -> None:
    """Add `job …`."""
    group = add_group(commands, "job", "backups: past, running and waiting")
    listing = add_command(group, "list", list_jobs, "list the backups, newest first")
    listing.add_argument("--status", choices=[status.value for status in JobStatus], help="only with this status")
    listing.add_argument("--source", metavar="NAME", help="only of this source")
    listing.add_argument("--text", metavar="TEXT", help="only where name, description or tags hold it")
    listing.add_argument("--limit", type=count, default=100, metavar="N", help="at most so many (default: %(default)s)")
    show = add_command(group, "show", show_job, "show all about one backup")
    add_job(show)
    show.add_argument("--tables", action="store_true", help="also the tables in it, read from its manifest")
    cancel = add_command(group, "cancel", cancel_job, "cancel a waiting or running backup")
    add_job(cancel)
    delete = add_command(group, "delete", delete_job, "delete a backup and its files")
    add_job(delete)
    add_confirm(delete, "really delete it")
    download = add_command(group, "download", download_job, "write a backup as plain SQL that psql loads")
    add_job(download)
    download.add_argument("--output", required=True, metavar="FILE", type=folder, help="a new file")


async def list_jobs(context: Context, arguments: Namespace) -> None:
    """List jobs."""
    from tui_backup.services import backups

    filters = backups.JobFilters(
        status=JobStatus(arguments.status) if arguments.status else None,
        source=arguments.source,
        text=arguments.text,
        limit=arguments.limit,
    )
    async with context.session() as session:
        jobs = await backups.get_backup_jobs(session, filters)
    if context.output.is_json:
        context.output.data(jobs)
        return
    finished, times = time_column("Finished", [job.completed_at for job in jobs])
    columns = [
        Column("Id"),
        Column("Status"),
        Column("Source", flexible=True),
        Column("Type", hide=2),
        Column("Scope", hide=2),
    ]
    columns += [Column("Name", flexible=True, hide=3), finished, Column("Size", right=True)]
    columns += [Column("Took", right=True, hide=1), Column("Proof")]
    is_filtered = any((arguments.status, arguments.source, arguments.text))
    context.output.table(
        columns,
        [_row(context.output, job, time) for job, time in zip(jobs, times, strict=True)],
        empty="No backup matches." if is_filtered else "No backups yet. Make one: tui-backup backup SOURCE --wait",
    )


def _row(output: Output, job: BackupJob, finished: str) -> list[str | Cell]:
    from tui_backup.services.utilities import clean_text, format_bytes, format_duration

    return [
        str(job.id)[:8],
        _status(output, job),
        clean_text(job.source_name or "-"),
        job.job_type.value,
        "tenant" if job.tenant_scope else ("tables" if job.chosen_tables else "all"),
        clean_text(job.backup_name or ""),
        finished,
        format_bytes(job.backup_size),
        format_duration(job.duration_seconds),
        _proof(job),
    ]


def _status(output: Output, job: BackupJob) -> Cell:
    fraction = job.progress.fraction if job.progress and job.status is JobStatus.RUNNING else None
    return output.status(job.status.value, f"{fraction:.0%}" if fraction is not None else "")


def _proof(job: BackupJob) -> str:
    from datetime import UTC, datetime

    from tui_backup.services.utilities import format_age

    if job.proof is Proof.NONE or job.status is not JobStatus.COMPLETED:
        return "none" if job.status is JobStatus.COMPLETED else "-"
    word = "files verified" if job.proof is Proof.FILES else "restored"
    if job.proof_at is None:
        return word
    return f"{word} {format_age((datetime.now(UTC) - job.proof_at).total_seconds())} ago"


async def show_job(context: Context, arguments: Namespace) -> None:
    """Show one job."""
    from tui_backup.services import backups

    tables: list[BackupTable] | None = None
    async with context.session() as session:
        job = await backups.get_backup_job_by_id(session, arguments.job)
        if arguments.tables:
            tables = await backups.get_backup_contents(session, job.id)
    output = context.output
    if output.is_json:
        output.data({**plain(job), **({} if tables is None else {"tables": plain(tables)})})
        return
    output.facts(_facts(output, job))
    if job.error_message:
        output.line()
        show_failure(output, job.error_message, job.error_details)
    if tables is not None:
        output.line()
        _show_tables(output, tables)


def _facts(output: Output, job: BackupJob) -> list[tuple[str, str | Cell]]:
    from tui_backup.services.incrementals import reuse_lines
    from tui_backup.services.tenant_words import scope_words, tenant_lines
    from tui_backup.services.utilities import clean_text, format_bytes, format_duration

    def number(value: int | None) -> str:
        return "-" if value is None else f"{value:,}"

    facts: list[tuple[str, str | Cell]] = [
        ("Id", str(job.id)),
        ("Status", _status(output, job)),
        ("Proof", _proof(job)),
        ("Source", clean_text(job.source_name or "-")),
        ("Type", job.job_type.value),
        ("Scope", scope_words(job)),
        ("Name", clean_text(job.backup_name or "-")),
        ("Description", clean_text(job.description or "-")),
        ("Tags", clean_text(", ".join(job.tags)) or "-"),
        ("Repository", clean_text(job.repository_name or "-")),
        ("Schedule", clean_text(job.schedule_name or "-")),
        ("Created", local_time(job.created_at)),
        ("Started", local_time(job.started_at)),
        ("Finished", local_time(job.completed_at)),
        ("Took", format_duration(job.duration_seconds)),
        ("Size", format_bytes(job.backup_size)),
        ("Stored", format_bytes(job.compressed_size_bytes)),
        ("Tables", number(job.tables_count)),
        ("Rows", number(job.rows_count)),
        ("Files", number(job.files_count)),
        ("Retries", number(job.retry_count)),
        ("Path", clean_text(job.storage_path or "-")),
        ("Bucket", clean_text(job.storage_bucket or "-")),
    ]
    facts += [("" if index else "Incremental", line) for index, line in enumerate(reuse_lines(job))]
    facts += [("" if index else "Tenant", line) for index, line in enumerate(tenant_lines(job))]
    return facts


def _show_tables(output: Output, tables: list[BackupTable]) -> None:
    from tui_backup.services.utilities import clean_text, format_bytes

    columns = [Column("Table", flexible=True), Column("Rows", right=True), Column("Size", right=True)]
    columns += [Column("Stored", right=True), Column("Chunks", right=True)]
    output.table(
        columns,
        [
            [
                clean_text(found.name),
                f"{found.rows:,}",
                format_bytes(found.raw_bytes),
                format_bytes(found.stored_bytes),
                str(found.chunks),
            ]
            for found in tables
        ],
        empty="There is no table in it.",
    )


async def cancel_job(context: Context, arguments: Namespace) -> None:
    """Cancel a job."""
    from tui_backup.services import backups

    async with context.session() as session:
        job = await backups.cancel_backup_job(session, arguments.job)
    if context.output.is_json:
        context.output.data(job)
    elif job.status is JobStatus.CANCELLED:
        context.output.line(f"Backup job {job.id} is cancelled.")
    else:
        context.output.line(f"Backup job {job.id} is asked to stop; it ends within seconds.")


async def delete_job(context: Context, arguments: Namespace) -> None:
    """Delete a backup; the agent removes its files."""
    from tui_backup.services import backups

    async with context.session(agent=arguments.confirm) as session:
        job = await backups.get_backup_job_by_id(session, arguments.job)
        about = f"{job.source_name or 'unknown source'}, {local_time(job.completed_at or job.created_at)}"
        require_confirm(arguments, f"Deletes the backup {job.id} ({about}) and its files for ever.")
        short = str(job.id)[:8]
        with going_on(context, f"The deletion of {short} goes on.", f"See: tui-backup job show {short}"):
            await backups.delete_backup_job(session, job.id, confirm=True)
    if context.output.is_json:
        context.output.data({"id": str(job.id), "deleted": True})
    else:
        context.output.line(f"Backup {job.id} is deleted.")


async def download_job(context: Context, arguments: Namespace) -> None:
    """Write a backup into a file."""
    from tui_backup.services import backups
    from tui_backup.services.utilities import clean_text, format_bytes

    async with context.session() as session:
        job = await backups.get_backup_job_by_id(session, arguments.job)
        with ProgressLine(context.output, "download") as line:
            written = await backups.download_backup_file(session, job.id, arguments.output, on_progress=line.update)
    if context.output.is_json:
        context.output.data({"id": str(job.id), "output": str(arguments.output), "bytes": written})
    else:
        target = clean_text(str(arguments.output))
        context.output.line(f"{format_bytes(written)} written. Load it into an empty database:")
        context.output.line(f"  psql -X -v ON_ERROR_STOP=1 -d NAME -f {target}")
