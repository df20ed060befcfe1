"""What an incremental backup took over and read, in words for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from tui_backup.model import BackupJob, JobType
from tui_backup.services.utilities import clean_text, format_bytes


def read_everything_because(job: BackupJob) -> str | None:
    """Why an incremental could take nothing over; None when it could, or is no completed incremental."""
    reason = job.metadata.get("read_everything_because") if job.job_type is JobType.INCREMENTAL else None
    return clean_text(str(reason)) if reason else None


def reuse_lines(job: BackupJob) -> list[str]:
    """Taken over, read and stored, and each table that was read whole with its reason; empty for other backups."""
    facts = job.metadata
    if job.job_type is not JobType.INCREMENTAL or "chunks_read" not in facts:
        return []
    read = format_bytes(_number(facts.get("bytes_read")))
    stored = format_bytes(_number(facts.get("bytes_stored")))
    reused, chunks = _number(facts.get("chunks_reused")), _number(facts.get("chunks_read"))
    if reason := read_everything_because(job):
        return [f"Read everything ({read}), stored {stored}: {reason}."]
    lines = [f"Took over {reused:,} of {reused + chunks:,} chunks unread; read {read}, stored {stored}."]
    if job.parent_job_id:
        lines[0] += f" Parent: {str(job.parent_job_id)[:8]}."
    whole: object = facts.get("tables_read_whole")
    if isinstance(whole, Mapping):
        reasons = cast(Mapping[str, Any], whole)
        lines += [f"{clean_text(name)} was read whole: {clean_text(str(why))}." for name, why in reasons.items()]
        more = _number(facts.get("tables_read_whole_count")) - len(reasons)
        lines += [f"So were {more:,} more tables."] if more > 0 else []
    return lines


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
