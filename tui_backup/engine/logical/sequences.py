"""Sequences' positions, and materialised views in the order in which they can be refreshed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from tui_backup import manifest
from tui_backup.engine.logical.names import literal
from tui_backup.engine.logical.relations import MATVIEW, Relation
from tui_backup.engine.logical.session import SourceSession

_AT_ONCE = 100
_OWNERS_SQL = """
SELECT d.objid::bigint, n.nspname::text, c.relname::text, a.attname::text
FROM pg_depend d
JOIN pg_class c ON c.oid = d.refobjid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
  AND d.objid = ANY (%s::bigint[]::oid[])
"""
# which view or materialised view reads from which
_READS_SQL = """
SELECT DISTINCT r.ev_class::bigint, d.refobjid::bigint
FROM pg_rewrite r
JOIN pg_class v ON v.oid = r.ev_class AND v.relkind IN ('v', 'm')
JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
JOIN pg_class c ON c.oid = d.refobjid AND c.relkind IN ('v', 'm')
WHERE d.refobjid <> r.ev_class
"""


def read_sequences(session: SourceSession, sequences: Sequence[Relation]) -> list[manifest.Sequence]:
    """Read where the sequences stand.

    A sequence belongs to no snapshot: its value is read after it, so it is never behind the rows.
    """
    if not sequences:
        return []
    oids = [rel.oid for rel in sequences]
    owners = {row[0]: row[1:] for row in session.query(_OWNERS_SQL, [oids], what="reading the sequences' owners")}
    found: list[manifest.Sequence] = []
    for start in range(0, len(sequences), _AT_ONCE):
        batch = sequences[start : start + _AT_ONCE]
        statement = " UNION ALL ".join(
            f"SELECT {literal(str(rel.oid))}::bigint, last_value::bigint, is_called FROM {rel.sql}" for rel in batch
        )
        values = {row[0]: row[1:] for row in session.query(statement, what="reading the sequences")}
        for rel in batch:
            last_value, is_called = values[rel.oid]
            owner = owners.get(rel.oid)
            found.append(
                manifest.Sequence(
                    schema=rel.schema,
                    name=rel.name,
                    last_value=last_value,
                    is_called=is_called,
                    owner_table=(owner[0], owner[1]) if owner else None,
                    owner_column=owner[2] if owner else None,
                )
            )
    return found


def read_materialized_views(session: SourceSession, relations: Iterable[Relation]) -> list[manifest.MaterializedView]:
    """List the materialised views so that each comes after those it reads from, also by way of views."""
    views = {rel.oid: rel for rel in relations if rel.kind == MATVIEW and rel.is_ours}
    reads: defaultdict[int, set[int]] = defaultdict(set)
    for reader, source in session.query(_READS_SQL, what="reading the views' dependencies"):
        reads[reader].add(source)
    return [
        manifest.MaterializedView(schema=views[oid].schema, name=views[oid].name, populated=views[oid].is_populated)
        for oid in refresh_order(list(views), reads)
    ]


def refresh_order(wanted: Sequence[int], reads: defaultdict[int, set[int]]) -> list[int]:
    """Depth first, sources before readers; a circle (views can be replaced into one) is cut where it is met."""
    order: list[int] = []
    seen: set[int] = set()
    for start in wanted:
        stack: list[tuple[int, bool]] = [(start, False)]
        while stack:
            oid, is_left = stack.pop()
            if is_left:
                order.append(oid)
            elif oid not in seen:
                seen.add(oid)
                stack.append((oid, True))
                stack.extend((source, False) for source in sorted(reads[oid], reverse=True))
    asked = set(wanted)
    return [oid for oid in order if oid in asked]
