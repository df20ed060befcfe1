"""`backup` and `verify`: leave work to an agent, and wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui_backup.cli.outcome import going_on, report_failure
from tui_backup.cli.parser import Commands, add_command, add_job, add_tables
from tui_backup.cli.progress import ProgressLine
from tui_backup.cli.text import Column
from tui_backup.model import BUILT_TYPES, BackupJob, BackupJobInsert, JobStatus, JobType, Verification

if TYPE_CHECKING:
    from argparse import Namespace

    from tui_backup.cli.context import Context
    from tui_backup.services.session import Session

TYPES = [kind.value for kind in BUILT_TYPES]
TYPE_HELP = "incremental reads only what changed since the last backup; both restore alike (default: %(default)s)"

_ID_CELLS = 16
"""How much of a SHA-256 people see; --json has all of it."""


def add_commands(commands: Commands) -> None:
    """Add `backup` and `verify`."""
    backup = add_command(commands, "backup", start_backup, "back up a source")
    backup.add_argument("source", metavar="SOURCE", help="name of the source")
    backup.add_argument("--type", choices=TYPES, default="full", help=TYPE_HELP)
    backup.add_argument("--repo", metavar="NAME", help="repository (default: the default one)")
    add_tables(backup, "only this table (schema.table, quoted as in SQL)")
    backup.add_argument(
        "--tenant", metavar="T", help="only the rows of this tenant, of which you are a member, by the source's map"
    )
    backup.add_argument("--name", help="a name for the backup")
    backup.add_argument("--description", metavar="TEXT", help="a few words about it")
    backup.add_argument("--tag", dest="tags", metavar="TAG", action="append", default=[], help="may be repeated")
    backup.add_argument("--wait", action="store_true", help="wait for the end; exit status 1 when it failed")

    verify = add_command(commands, "verify", verify_backup, "prove a backup; exit status 1 when something is damaged")
    add_job(verify)
    verify.add_argument(
        "--files", action="store_true", required=True, help="read every file back and name what is damaged"
    )
    verify.add_argument("--no-wait", action="store_true", help="only ask the agent for it")


async def start_backup(context: Context, arguments: Namespace) -> int:
    """Queue a backup and, with --wait, wait for it."""
    from tui_backup.services import backups

    insert = BackupJobInsert(
        source=arguments.source,
        job_type=JobType(arguments.type),
        backup_name=arguments.name,
        description=arguments.description,
        tables=tuple(arguments.tables),
        repository=arguments.repo,
        tags=tuple(arguments.tags),
        tenant_scope=arguments.tenant is not None,
    )
    async with context.session(agent=True, tenant=arguments.tenant or "") as session:
        job = await backups.create_backup_job(session, insert)
        if arguments.wait:
            job = await _wait(context, session, job)
    if context.output.is_json:
        context.output.data(job)
    elif not arguments.wait:
        short = str(job.id)[:8]
        context.output.line(f"Backup job {job.id} is queued.")
        context.output.line(f"Watch it: tui-backup job show {short}   Cancel it: tui-backup job cancel {short}")
    elif job.status is JobStatus.COMPLETED:
        _show_completed(context, job)
    return report_failure(context, job, "The backup") if arguments.wait else 0


async def _wait(context: Context, session: Session, job: BackupJob) -> BackupJob:
    from tui_backup.services.waiting import wait_for_job

    short = str(job.id)[:8]
    context.output.note(f"Backup job {job.id}")
    with (
        going_on(context, f"The backup {short} goes on.", f"Cancel it: tui-backup job cancel {short}"),
        ProgressLine(context.output, "backup") as line,
    ):
        return await wait_for_job(session, job.id, on_progress=lambda now: line.update(now.progress, now.status.value))


def _show_completed(context: Context, job: BackupJob) -> None:
    from tui_backup.services.incrementals import reuse_lines
    from tui_backup.services.tenant_words import tenant_lines
    from tui_backup.services.utilities import clean_text, format_bytes, format_duration

    output = context.output
    output.line(f"{output.paint(output.status('completed'))}  {clean_text(job.source_name or '')}  {job.id}")
    output.line(
        f"{job.tables_count or 0} tables, {job.rows_count or 0:,} rows, {format_bytes(job.backup_size)}"
        f" ({format_bytes(job.compressed_size_bytes)} stored) in {format_duration(job.duration_seconds)}"
    )
    for line in (*reuse_lines(job), *tenant_lines(job)):
        output.line(line)
    short = str(job.id)[:8]
    output.line(f"Prove it: tui-backup verify {short} --files")
    where = "--in-place --dry-run" if job.tenant_scope else "--into-database NAME"
    output.line(f"Plan a restore: tui-backup restore {short} {where}")


async def verify_backup(context: Context, arguments: Namespace) -> int:
    """Have a backup read back; exit status 1 when something is damaged."""
    from tui_backup.services import verifications
    from tui_backup.services.waiting import wait_for_verification

    async with context.session(agent=True) as session:
        asked = await verifications.verify_backup(session, arguments.job)
        if arguments.no_wait:
            if context.output.is_json:
                context.output.data(asked)
            else:
                context.output.line(f"Verification {asked.id} is queued.")
            return 0
        with (
            going_on(
                context, "The verification goes on.", "Its result: tui-backup job show " + str(asked.backup_job_id)
            ),
            ProgressLine(context.output, "verify") as line,
        ):
            done = await wait_for_verification(
                session, asked.id, on_progress=lambda now: line.update(now.progress, now.status.value)
            )
    if context.output.is_json:
        context.output.data(done)
    else:
        _show_verification(context, done)
    return report_failure(context, done, "The verification")


def _show_verification(context: Context, done: Verification) -> None:
    from tui_backup.services.utilities import clean_text, format_bytes

    output = context.output
    if done.status is JobStatus.COMPLETED:
        read = format_bytes(done.bytes_read)
        output.line(f"{output.paint(output.status('ok'))}  every file is as it was written: {read} read")
    if not done.problems:
        return
    output.table(
        [Column("Problem"), Column("Belongs to", flexible=True), Column("Pack"), Column("Chunk"), Column("Reason")],
        [
            [
                output.status("failed", clean_text(str(problem.get("kind", "")))),
                clean_text(", ".join(str(name) for name in problem.get("belongs_to") or ())),
                clean_text(str(problem.get("pack", "-")))[:_ID_CELLS],
                clean_text(str(problem.get("blob", "-")))[:_ID_CELLS],
                clean_text(str(problem.get("reason", ""))),
            ]
            for problem in done.problems
        ],
        empty="",
    )
