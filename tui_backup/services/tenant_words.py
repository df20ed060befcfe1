"""What a backup of one tenant's rows says of itself, in words for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from tui_backup.model import BackupJob, BackupSchedule
from tui_backup.services.utilities import clean_text


def scope_words(of: BackupJob | BackupSchedule) -> str:
    """What of the source is in it."""
    if of.tenant_scope:
        return "tenant: only the rows of this tenant"
    return f"chosen tables: {clean_text(', '.join(of.chosen_tables))}" if of.chosen_tables else "all"


def tenant_lines(job: BackupJob) -> list[str]:
    """Whose rows, who picked them, what has changed in the source since, what is left out; empty for other backups."""
    facts = job.metadata
    if not job.tenant_scope or "rows_by" not in facts:
        return []
    picked = "the tenant column and foreign keys"
    if facts["rows_by"] == "policies":
        role, setting = facts.get("policy_role"), facts.get("policy_setting")
        picked = f"the source's own policies (row_security on, role {role}, {setting})"
    lines = [f"Rows of {facts.get('tenant_key')}, picked by {picked}."]
    drift = _list(facts.get("drift"))
    lines += [f"Changed since the backup before: {change}." for change in drift]
    more = int(facts.get("drift_count") or 0) - len(drift)
    lines += [f"So were {more:,} more."] if more > 0 else []
    for item in _list(facts.get("left_out")):
        lines.append(f"Left out: {item.get('what')}: {item.get('reason')}.")
    return [clean_text(line) for line in lines]


def _list(value: object) -> Sequence[Any]:
    return cast(Sequence[Any], value) if isinstance(value, list) else ()
