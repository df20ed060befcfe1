"""Which backup an incremental builds on: the newest good one of the same source, scope and repository.

Scope is the whole database, a set of chosen tables, or one tenant's rows: none builds on another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from tui_backup.agent.records import Claim, Records
from tui_backup.engine.logical.incremental import Parent
from tui_backup.manifest import Manifest
from tui_backup.model import JobType

# chosen tables are compared as sets; a few more than one, since a manifest may be lost or damaged
_CANDIDATES = """
SELECT j.id FROM tui_backup.backup_jobs j
 WHERE j.source_id = %(source)s AND j.repository_id = %(repository)s AND j.tenant_id = %(tenant)s
   AND j.status = 'completed' AND j.deleted_at IS NULL AND j.job_type IN ('full', 'incremental')
   AND j.tenant_scope = %(tenant_scope)s
   AND j.chosen_tables @> %(tables)s::text[] AND j.chosen_tables <@ %(tables)s::text[] AND j.id <> %(id)s
 ORDER BY j.started_at DESC, j.id LIMIT 3
"""


_EARLIER = """
SELECT j.id FROM tui_backup.backup_jobs j
 WHERE j.source_id = %(source)s AND j.repository_id = %(repository)s AND j.tenant_id = %(tenant)s AND j.tenant_scope
   AND j.status = 'completed' AND j.deleted_at IS NULL AND j.id <> %(id)s
 ORDER BY j.started_at DESC, j.id LIMIT 1
"""


async def find_candidates(records: Records, claim: Claim) -> list[UUID]:
    """The jobs that the claimed one may build on, the newest first; none for a full backup."""
    job = claim.row
    if job["job_type"] != JobType.INCREMENTAL:
        return []
    rows = await records.query(
        _CANDIDATES,
        {
            "id": job["id"],
            "source": job["source_id"],
            "repository": job["repository_id"],
            "tenant": job["tenant_id"],
            "tables": list(job["chosen_tables"]),
            "tenant_scope": job["tenant_scope"],
        },
    )
    found = [row["id"] for row in rows]
    # a row that another one points at is not dropped while we read
    await records.update(claim, {"parent_job_id": found[0] if found else None})
    return found


def choose_parent(
    job: Mapping[str, Any], candidates: Sequence[UUID], readable: Mapping[UUID, Manifest]
) -> Parent | None:
    """The newest candidate whose manifest can be read; None for a full backup."""
    if job["job_type"] != JobType.INCREMENTAL:
        return None
    for job_id in candidates:
        if job_id in readable:
            return Parent(job_id, readable[job_id].contents)
    if candidates:
        return Parent(reason=f"the manifest of backup {candidates[0]} cannot be read")
    return Parent(reason="there is no earlier backup of this source and scope in this repository")


async def find_earlier(records: Records, claim: Claim) -> UUID | None:
    """The newest earlier backup of the same tenant's rows, of whatever type: what changed since then is said."""
    job = claim.row
    if not job["tenant_scope"]:
        return None
    rows = await records.query(
        _EARLIER,
        {
            "id": job["id"],
            "source": job["source_id"],
            "repository": job["repository_id"],
            "tenant": job["tenant_id"],
        },
    )
    return rows[0]["id"] if rows else None
