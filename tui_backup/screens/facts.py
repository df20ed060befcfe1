"""Facts about jobs and restores that several screens ask for: what may be done, and what to say of a failure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, cast

from tui_backup.model import (
    BackupJob,
    BackupRestoreLog,
    BackupSchedule,
    JobStatus,
    RestoreRequest,
    RestoreTarget,
    Verification,
)


def _mapping(value: object) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {}


def _texts(value: object) -> list[str]:
    if not isinstance(value, (list, tuple)):
        return []
    return [item for item in cast(Sequence[object], value) if isinstance(item, str)]


def hint_of(row: BackupJob | BackupRestoreLog | Verification) -> str:
    """What to do after a failure, as the agent recorded it."""
    hint = (row.error_details or {}).get("hint")
    return hint if isinstance(hint, str) else ""


def comparison_words(log: BackupRestoreLog) -> str:
    """The result of the comparison with the backup in a few words."""
    identical = _mapping(log.metadata.get("compare")).get("identical")
    if identical is None:
        return "not compared" if log.status is JobStatus.COMPLETED else "-"
    return "identical" if identical else "DIFFERS"


def comparison_lines(log: BackupRestoreLog) -> list[str]:
    """The result of the comparison in full: what was compared, and each difference."""
    report = _mapping(log.metadata.get("compare"))
    if not report:
        return []
    definitions = {"texts": "definitions compared word by word", "inventory": "definitions by kind and name only"}
    how = definitions.get(str(report.get("definitions")), "definitions not compared")
    verdict = "identical with the backup" if report.get("identical") else "DIFFERENT from the backup"
    lines = [f"{report.get('tables', 0):,} tables, {report.get('rows', 0):,} rows: {verdict} ({how})"]
    differences = cast(Sequence[object], report.get("differences") or ())
    lines += [f"{_mapping(each).get('name', '?')}: {_mapping(each).get('message', '')}" for each in differences]
    return lines


def kept_database(log: BackupRestoreLog) -> str | None:
    """Name under which a swap keeps the old database."""
    kept = _mapping(log.metadata.get("swap")).get("kept")
    return kept if isinstance(kept, str) else None


def notes_of(log: BackupRestoreLog) -> list[str]:
    """Warnings of a restore, and what it left out."""
    left_out = [f"left out: {text}" for text in _texts(log.metadata.get("excluded"))]
    return _texts(log.metadata.get("warnings")) + left_out


def problem_words(problem: Mapping[str, Any]) -> str:
    """One damaged or missing piece of a backup, as a check of its files found it."""
    owners = ", ".join(_texts(problem.get("belongs_to"))) or "?"
    pack = str(problem.get("pack", ""))[:12]
    return f"{problem.get('kind', 'damaged')}: {owners} (pack {pack}): {problem.get('reason', '')}"


def why_not_restore(job: BackupJob | None) -> str:
    """Why this backup cannot be restored or verified, empty when it can."""
    if job is None:
        return "Highlight a completed backup first."
    if job.status is not JobStatus.COMPLETED:
        return f"Only completed backups can be used; this one is {job.status}."
    if job.deleted_at is not None:
        return "The files of this backup were deleted."
    return ""


def why_not_cancel(row: BackupJob | BackupRestoreLog | None) -> str:
    """Why this cannot be cancelled, empty when it can."""
    if row is None:
        return "Highlight a waiting or running row first."
    if row.status.is_final:
        return f"It is {row.status} already: nothing is left to cancel."
    if row.cancel_requested:
        return "It is being cancelled already."
    return ""


def why_not_delete(job: BackupJob | None) -> str:
    """Why this backup cannot be deleted, empty when it can."""
    if job is None:
        return "Highlight a backup first."
    if not job.status.is_final:
        return f"It is {job.status}: cancel it first (x)."
    if job.deleted_at is not None:
        return "Its files were deleted already."
    return ""


def why_not_undo(log: BackupRestoreLog | None) -> str:
    """Why this restore cannot be undone or finished, empty when it can."""
    if log is None:
        return "Highlight a swap in the restore log first."
    state = log.undo_state
    if state == "none":
        return "A completed swap keeps the old database, a tenant's restore its safety backup; this one kept none."
    if state != "kept":
        return f"Nothing is kept any more: {state.replace('_', ' ')}."
    return ""


def why_not_finish(log: BackupRestoreLog | None) -> str:
    """Why there is no old database to drop, empty when there is one."""
    if log is not None and log.undo_state == "kept" and log.target is RestoreTarget.IN_PLACE:
        return "No old database is kept, only a safety backup, which is deleted as any other (D)."
    return why_not_undo(log)


def undo_words(log: BackupRestoreLog) -> tuple[str, str, str]:
    """Question, explanation and answer for an undo."""
    if log.target is RestoreTarget.IN_PLACE:
        detail = "The tenant's rows are made those of the safety backup, as another restore in place."
        return "Undo this restore?", detail, "Put the rows back"
    detail = (
        f"The old database {kept_database(log) or ''} takes its place again under the live name; "
        "its sessions end. The restored one is kept aside."
    )
    return "Undo this swap?", detail, "Swap back"


def undone_words(log: BackupRestoreLog) -> str:
    """What an undo came to."""
    if log.target is RestoreTarget.IN_PLACE:
        return "The rows are as they were before the restore."
    return "Swapped back: the old database is live again."


def backup_command(job: BackupJob) -> str:
    """The command that runs the same backup again."""
    words = ["tui-backup", "backup", job.source_name or "SOURCE", "--type", str(job.job_type)]
    if job.repository_name:
        words += ["--repo", job.repository_name]
    for table in () if job.tenant_scope else job.chosen_tables:
        words += ["--table", table]
    if job.tenant_scope:
        words += ["--tenant", str(job.tenant_id)]
    if job.backup_name:
        words += ["--name", job.backup_name]
    if job.description:
        words += ["--description", job.description]
    for tag in job.tags:
        words += ["--tag", tag]
    return shlex.join(words)


def restore_command(request: RestoreRequest) -> str:
    """The command that runs the same restore."""
    words = ["tui-backup", "restore", str(request.job_id)]
    match request.target:
        case RestoreTarget.NEW_DATABASE:
            words += ["--into-database", request.database or "NAME"]
        case RestoreTarget.SWAP:
            words += ["--into-database", request.database or "NAME", "--swap"]
        case RestoreTarget.SIDE_SCHEMA:
            words += ["--into-schema", request.schema or "NAME"]
        case RestoreTarget.IN_PLACE:
            words += ["--in-place"]
    for table in request.tables:
        words += ["--table", table]
    return shlex.join([*words, "--confirm"])


def logged_restore_command(log: BackupRestoreLog) -> str:
    """The command that runs a logged restore again."""
    return restore_command(
        RestoreRequest(
            job_id=log.backup_job_id,
            target=log.target,
            database=log.target_database,
            schema=log.target_schema,
            tables=log.chosen_tables,
        )
    )


def schedule_command(schedule: BackupSchedule) -> str:
    """The command that makes the same schedule."""
    words = ["tui-backup", "schedule", "add", schedule.schedule_name, "--source", schedule.source_name or "SOURCE"]
    words += ["--type", str(schedule.job_type), "--cron", schedule.cron_expression, "--timezone", schedule.timezone]
    if schedule.retention_days is not None:
        words += ["--retention-days", str(schedule.retention_days)]
    if schedule.max_backups_count is not None:
        words += ["--max-backups", str(schedule.max_backups_count)]
    if schedule.tenant_scope:
        words += ["--tenant-rows"]
    for email in schedule.notification_emails:
        words += ["--email", email]
    return shlex.join(words)
