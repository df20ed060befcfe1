"""Large objects: their definitions, and their bytes as COPY streams of (oid, offset, data)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tui_backup import manifest
from tui_backup.engine.logical.names import quote
from tui_backup.engine.logical.session import SourceSession
from tui_backup.errors import SourcePermissionError

PIECE_BYTES = 256 * 1024

_CHUNK_BYTES = 16 * 1024 * 1024
_CHUNK_PARTS = 1000
_INV_READ = 0x40000

_UNREADABLE_SQL = """
SELECT m.oid::bigint, pg_get_userbyid(m.lomowner)::text FROM pg_largeobject_metadata m
WHERE NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
  AND current_setting('lo_compat_privileges') = 'off'
  AND NOT pg_has_role(m.lomowner, 'USAGE')
  AND NOT EXISTS (SELECT FROM aclexplode(m.lomacl) x WHERE x.privilege_type = 'SELECT'
                  AND (x.grantee = 0 OR pg_has_role(x.grantee, 'USAGE')))
ORDER BY 1
"""
# pg_largeobject is readable by superusers as a rule; lo_lseek64 to the end (2) works for all, one object at a time.
# OFFSET 0 keeps the order: open, seek, close.
_SIZES_SQL = {
    True: """
SELECT loid, max(pageno::bigint * (current_setting('block_size')::int / 4) + octet_length(data)) AS size
FROM pg_largeobject GROUP BY loid
""",
    False: f"""
SELECT s.oid AS loid, s.size, lo_close(s.fd) AS closed
FROM (SELECT o.oid, o.fd, lo_lseek64(o.fd, 0, 2) AS size
      FROM (SELECT oid, lo_open(oid, {_INV_READ}) AS fd FROM pg_largeobject_metadata OFFSET 0) o OFFSET 0) s
""",
}
_OBJECTS_SQL = """
SELECT m.oid::bigint, coalesce(z.size, 0)::bigint, pg_get_userbyid(m.lomowner)::text, m.lomacl::text[],
       obj_description(m.oid, 'pg_largeobject')
FROM pg_largeobject_metadata m LEFT JOIN ({sizes}) z ON z.loid = m.oid
ORDER BY m.oid
"""


def check_readable(session: SourceSession) -> None:
    """Refuse before anything is read when the login may not read some large object.

    Raises:
        SourcePermissionError: lists the objects and the grants.
    """
    rows = session.query(_UNREADABLE_SQL, what="reading the rights on large objects")
    if not rows:
        return
    user = quote(session.parameters.user)
    grants = [f"GRANT SELECT ON LARGE OBJECT {oid} TO {user};" for oid, _ in rows]
    raise SourcePermissionError(
        f"The role {user} may not read {len(rows)} large object(s), the first is {rows[0][0]} of {quote(rows[0][1])}.",
        hint="Run as a superuser or the owner: " + " ".join(grants[:5]) + (" …" if len(grants) > 5 else ""),
        details={"large_objects": [row[0] for row in rows], "grants": grants},
    )


def read_objects(session: SourceSession) -> list[manifest.LargeObject]:
    """Definitions and sizes of all large objects, as the snapshot sees them."""
    ((can_scan,),) = session.query(
        "SELECT has_table_privilege('pg_catalog.pg_largeobject', 'SELECT')", what="reading the rights on large objects"
    )
    statement = _OBJECTS_SQL.format(sizes=_SIZES_SQL[bool(can_scan)])
    rows = session.query(statement, what="listing the large objects")
    return [
        manifest.LargeObject(oid=oid, size_bytes=size, owner=owner, acl=acl, comment=comment)
        for oid, size, owner, acl, comment in rows
    ]


@dataclass(frozen=True, slots=True)
class LargeObjectTask:
    """One stream: pieces of large objects, each part (oid, first byte, end byte)."""

    parts: Sequence[tuple[int, int, int]]

    @property
    def check(self) -> None:
        """Their rows lie in a system table whose row versions an ordinary login may not see: they are always read."""
        return None

    @property
    def hashes_rows(self) -> bool:
        return False

    @property
    def label(self) -> str:
        return "large objects"

    @property
    def weight(self) -> int:
        return sum(end - first for _, first, end in self.parts)

    @property
    def query(self) -> str:
        """Pieces in order; the sub-select keeps their bytes out of the sort."""
        oids, firsts, ends = (",".join(str(value) for value in column) for column in zip(*self.parts, strict=True))
        return (
            f"SELECT p.oid, p.first, lo_get(p.oid, p.first, least({PIECE_BYTES}, p.stop - p.first)::int) FROM ("
            "SELECT m.oid, m.stop, g.first FROM unnest("
            f"'{{{oids}}}'::oid[], '{{{firsts}}}'::bigint[], '{{{ends}}}'::bigint[]"
            ") WITH ORDINALITY AS m(oid, start, stop, number) "
            f"CROSS JOIN LATERAL generate_series(m.start, m.stop - 1, {PIECE_BYTES}) AS g(first) "
            "ORDER BY m.number, g.first OFFSET 0) AS p"
        )


def cut_objects(objects: Sequence[manifest.LargeObject]) -> list[LargeObjectTask]:
    """Gather small objects and split big ones into streams of about 16 MiB."""
    tasks: list[LargeObjectTask] = []
    parts: list[tuple[int, int, int]] = []
    gathered = 0
    for part in _parts(objects):
        parts.append(part)
        gathered += part[2] - part[1]
        if gathered >= _CHUNK_BYTES or len(parts) >= _CHUNK_PARTS:
            tasks.append(LargeObjectTask(tuple(parts)))
            parts, gathered = [], 0
    if parts:
        tasks.append(LargeObjectTask(tuple(parts)))
    return tasks


def _parts(objects: Sequence[manifest.LargeObject]) -> Iterator[tuple[int, int, int]]:
    for item in objects:
        for first in range(0, item.size_bytes, _CHUNK_BYTES):
            yield item.oid, first, min(first + _CHUNK_BYTES, item.size_bytes)


def describe(task: LargeObjectTask, *, rows: int, raw_bytes: int, blobs: list[manifest.Blob]) -> manifest.Chunk:
    """The manifest's entry of one stream; its "blocks" are the oids that it spans."""
    facts: dict[str, Any] = {"first_block": task.parts[0][0], "end_block": task.parts[-1][0] + 1}
    return manifest.Chunk(rows=rows, raw_bytes=raw_bytes, blobs=blobs, **facts)
