"""The catalog's ledger of stored objects: entered when a backup is stored, struck out when a deletion has looked.

Each pack and manifest is one row, so that entering it again (a run that was adopted, a pack that two backups share)
changes no sum. A deletion does not subtract what it has freed: it strikes out whatever is not in the repository any
more, so that what an earlier one could not say any more (its agent died) is put right by the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import psycopg

from tui_backup.agent.records import Records
from tui_backup.repository.keys import manifest_key, object_name
from tui_backup.repository.sweep import Deletion

_NOTE = """
INSERT INTO tui_backup.stored_objects (repository_id, object_name, source_id, tenant_id, bytes)
SELECT %(repository)s, o.name, %(source)s, %(tenant)s, o.bytes
  FROM unnest(%(names)s::text[], %(bytes)s::bigint[]) AS o(name, bytes)
 ORDER BY o.name
    ON CONFLICT (repository_id, tenant_id, object_name) DO UPDATE SET bytes = excluded.bytes, seen_at = excluded.seen_at
"""

# a row that is younger than the look at the repository tells of something that the look may have missed
_FORGET_GONE = """
DELETE FROM tui_backup.stored_objects o
 WHERE o.repository_id = %(repository)s AND o.tenant_id = %(tenant)s AND o.seen_at < %(asked_at)s
   AND NOT EXISTS (SELECT FROM unnest(%(left)s::text[]) AS l(name) WHERE l.name = o.object_name)
"""

_FORGET_ONE = """
DELETE FROM tui_backup.stored_objects
 WHERE repository_id = %(repository)s AND tenant_id = %(tenant)s AND object_name = %(manifest)s
"""


async def note_stored(records: Records, job: Mapping[str, Any], stored: Mapping[str, int]) -> None:
    """Enter the objects that a backup has put; those that are in the ledger keep the source that put them first."""
    await records.query(
        _NOTE,
        {
            "repository": job["repository_id"],
            "source": job["source_id"],
            "tenant": job["tenant_id"],
            "names": list(stored),
            "bytes": list(stored.values()),
        },
    )


async def catalog_time(records: Records) -> datetime:
    """Now, by the catalog's clock."""
    (row,) = await records.query("SELECT clock_timestamp() AS now", {})
    return row["now"]


async def forget_deleted(
    conn: psycopg.AsyncConnection[dict[str, Any]], job: Mapping[str, Any], done: Deletion, asked_at: datetime
) -> None:
    """Strike out what a deletion found gone.

    Args:
        conn: in the transaction that drops the job's row.
        job: whose manifest was deleted.
        done: what the deletion did and saw.
        asked_at: the catalog's time before it began.
    """
    values = {"repository": job["repository_id"], "tenant": job["tenant_id"]}
    if done.left is not None:
        await conn.execute(_FORGET_GONE, {**values, "asked_at": asked_at, "left": list(done.left)})
    manifest = object_name(job["tenant_id"], manifest_key(job["tenant_id"], job["id"]))
    await conn.execute(_FORGET_ONE, {**values, "manifest": manifest})
