"""The tables of a backup, as the snapshot sees them: columns, sizes, shapes, and how their rows must be loaded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tui_backup import manifest
from tui_backup.engine.logical.cut import BlockRange, cut
from tui_backup.engine.logical.names import QualifiedName
from tui_backup.engine.logical.relations import PARTITIONED, Relation
from tui_backup.engine.logical.session import SourceSession
from tui_backup.engine.logical.shape import Types, read_types, shape_of

_COLUMNS_SQL = """
SELECT a.attrelid::bigint, a.attnum::int, a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       a.attgenerated::text, CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) END,
       a.attidentity::text,
       CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation
            THEN quote_ident(n.nspname) || '.' || quote_ident(co.collname) END,
       CASE WHEN a.atthasmissing THEN a.attmissingval::text END, a.atttypid::bigint, a.atttypmod::int
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_collation co ON co.oid = a.attcollation
LEFT JOIN pg_namespace n ON n.oid = co.collnamespace
WHERE a.attrelid = ANY (%s::bigint[]::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""
_KEYS_SQL = """
SELECT i.indrelid::bigint, a.attname::text
FROM pg_index i
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, position)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indisprimary AND k.position <= i.indnkeyatts AND i.indrelid = ANY (%s::bigint[]::oid[])
ORDER BY i.indrelid, k.position
"""
_SIZES_SQL = """
SELECT oid::bigint, (pg_relation_size(oid) / current_setting('block_size')::int)::bigint, pg_table_size(oid)
FROM pg_class WHERE oid = ANY (%s::bigint[]::oid[])
"""

# A row of a hash partition belongs there by its key's hash. That hash is not the same after a restore where it is
# made from an oid that the restore hands out anew (enum labels, reg* types, also inside arrays, rows and ranges),
# from a collation's sort key (nondeterministic collations: another ICU version, another key), or by an operator class
# that we do not know. Such rows must be loaded through the root. Text under any other collation hashes its bytes, and
# numbers and the rest their value, so they fall into the same partition on every server. Range and list partitions
# are bounds, dumped as values: they are right as long as the sort order is, which pg_dump relies on, too.
_UNSAFE_SQL = """
SELECT DISTINCT p.partrelid::bigint
FROM pg_partitioned_table p
CROSS JOIN LATERAL unnest(p.partattrs::int2[], p.partclass::oid[], p.partcollation::oid[])
     AS k(attnum, opclass, collid)
JOIN pg_opclass o ON o.oid = k.opclass
JOIN pg_namespace n ON n.oid = o.opcnamespace
LEFT JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = k.attnum AND k.attnum > 0
LEFT JOIN pg_collation c ON c.oid = k.collid
WHERE p.partstrat = 'h' AND p.partrelid = ANY (%s::bigint[]::oid[])
  AND (n.nspname <> 'pg_catalog'
       OR o.opcname IN ('enum_ops', 'array_ops', 'record_ops', 'range_ops', 'multirange_ops')
       OR o.opcname = 'oid_ops' AND a.atttypid IS DISTINCT FROM 'oid'::regtype
       OR c.collisdeterministic = false)
"""


@dataclass(slots=True)
class TableSource:
    """One table to read. ``bytes_estimated`` is its size on disk with TOAST."""

    relation: Relation
    columns: list[manifest.Column]
    shape: str
    primary_key: list[str]
    blocks: int
    bytes_estimated: int
    load_via: QualifiedName | None
    parent: QualifiedName | None
    ranges: list[BlockRange] = field(default_factory=list[BlockRange])

    @property
    def data_columns(self) -> list[str]:
        """The columns of the COPY stream: generated ones are computed anew."""
        return [column.name for column in self.columns if not column.generated]

    def describe(self, chunks: list[manifest.Chunk]) -> manifest.Table:
        """The manifest's entry once the chunks are stored."""
        rel = self.relation
        return manifest.Table(
            oid=rel.oid,
            schema=rel.schema,
            name=rel.name,
            kind=rel.kind,
            persistence=rel.persistence,
            access_method=rel.access_method,
            relfilenode=rel.relfilenode,
            columns=self.columns,
            shape=self.shape,
            rows=sum(chunk.rows for chunk in chunks),
            raw_bytes=sum(chunk.raw_bytes for chunk in chunks),
            blocks=self.blocks,
            chunks=chunks,
            parent=self.parent,
            load_via=self.load_via,
            condition=rel.condition,
            extension=rel.extension,
            primary_key=self.primary_key,
        )


def read_tables(
    session: SourceSession, relations: Sequence[Relation], *, chunk_blocks: int | None, lc_monetary: str
) -> list[TableSource]:
    """Read what the snapshot knows of the selected tables, and cut them."""
    oids = [rel.oid for rel in relations]
    columns = _grouped(session.query(_COLUMNS_SQL, [oids], what="reading the columns"))
    keys = _grouped(session.query(_KEYS_SQL, [oids], what="reading the primary keys"))
    sizes = {row[0]: (row[1], row[2]) for row in session.query(_SIZES_SQL, [oids], what="reading the sizes")}
    unsafe = {row[0] for row in session.query(_UNSAFE_SQL, [oids], what="reading the partitions")}
    type_oids = sorted({row[10] for rows in columns.values() for row in rows})
    types = read_types(session, type_oids, lc_monetary)
    by_oid = {rel.oid: rel for rel in relations}
    tables: list[TableSource] = []
    for rel in relations:
        blocks, bytes_estimated = sizes[rel.oid] if rel.kind != PARTITIONED else (0, 0)
        parent = by_oid.get(rel.parent) if rel.parent is not None else None
        hashed = ((row[1], row[2], row[10], row[11], row[9], row[5]) for row in columns[rel.oid])
        tables.append(
            TableSource(
                relation=rel,
                columns=[_column(row, types) for row in columns[rel.oid]],
                shape=shape_of(hashed, types),
                primary_key=[row[1] for row in keys[rel.oid]],
                blocks=blocks,
                bytes_estimated=bytes_estimated,
                load_via=_load_via(rel, by_oid, unsafe),
                parent=parent.key if parent else None,
                ranges=_ranges(rel, blocks, chunk_blocks),
            )
        )
    return tables


def _grouped(rows: Sequence[tuple[Any, ...]]) -> defaultdict[int, list[tuple[Any, ...]]]:
    grouped: defaultdict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for row in rows:
        grouped[row[0]].append(row)
    return grouped


def _column(row: tuple[Any, ...], types: Types) -> manifest.Column:
    return manifest.Column(
        name=row[2],
        attnum=row[1],
        type=row[3],
        not_null=row[4],
        generated=row[5],
        generation_expression=row[6],
        identity=row[7],
        collation=row[8],
        missing=row[9],
        text_depends_on_catalog=types.depends_on_catalog(row[10]),
    )


def _load_via(rel: Relation, by_oid: dict[int, Relation], unsafe: set[int]) -> QualifiedName | None:
    """The root of the partition tree when any level above splits by a hash that a restore may change."""
    is_unsafe = False
    root: Relation | None = None
    above = rel.parent
    while above is not None and above in by_oid:
        root = by_oid[above]
        is_unsafe = is_unsafe or above in unsafe
        above = root.parent
    return root.key if root is not None and is_unsafe else None


def _ranges(rel: Relation, blocks: int, chunk_blocks: int | None) -> list[BlockRange]:
    if rel.kind == PARTITIONED:
        return []
    # another access method need not know block ranges, and a condition is a WHERE clause of its own
    if rel.access_method != "heap" or rel.condition:
        return [(0, None)]
    return cut(blocks, chunk_blocks)
