"""The body of a verification: read every file of a backup back and say what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tui_backup.agent.places import open_backup
from tui_backup.agent.records import JsonList, failure_columns
from tui_backup.agent.runs import Procedure, Run
from tui_backup.errors import DamagedError, NotFoundError, TuiBackupError
from tui_backup.repository.check import FilesReport, verify_files


async def run_verify(run: Run) -> Mapping[str, Any]:
    """Verify the claimed verification's backup.

    Returns:
        The columns of the final row; a damaged backup is a failed verification with its list of problems.
    """
    job = await run.records.row("backup_jobs", run.claim.row["backup_job_id"])
    if job is None or job["deleted_at"] is not None:
        raise NotFoundError("The backup is gone.")
    repository = await run.records.row("repositories", job["repository_id"])
    report = await run.in_thread(lambda: _verify(run, job, repository))
    columns: dict[str, Any] = {"bytes_read": report.bytes_read, "problems": JsonList(report.problems)}
    if report.problems:
        tables = sorted({name for problem in report.problems for name in problem["belongs_to"]})
        damage = DamagedError(
            f"{len(report.problems)} parts of the backup are damaged or missing; they belong to {', '.join(tables)}.",
            hint="Make a new backup now, and restore from an older one where these tables are needed.",
            details={"problems": len(report.problems)},
        )
        columns |= {"status": "failed", **failure_columns(damage)}
    return columns


def _verify(run: Run, job: Mapping[str, Any], repository: Mapping[str, Any] | None) -> FilesReport:
    with open_backup(job, repository) as backup:
        run.counter(phase="reading the files", bytes_total=backup.stored_bytes)
        return verify_files(backup.store, backup.manifest, progress=run.counter, stop=run.stop)


async def _nothing_to_clean(run: Run, error: TuiBackupError) -> Mapping[str, Any]:
    return {}


async def _start_again(run: Run) -> None:
    """Reading again harms nothing."""


VERIFY = Procedure(
    subject="backup_verifications",
    body=run_verify,
    on_failure=_nothing_to_clean,
    on_interrupted=_start_again,
    may_retry=False,
)
