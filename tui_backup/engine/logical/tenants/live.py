"""The live tables that a tenant's rows are put back into: columns, rights, and the indexes that tell rows apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.names import QualifiedName, shown

_TABLES = """
SELECT c.oid::pg_catalog.int8, n.nspname::text, c.relname::text, c.relkind::text,
       pg_catalog.row_security_active(c.oid),
       ARRAY(SELECT p FROM pg_catalog.unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p
             WHERE NOT pg_catalog.has_table_privilege(c.oid, p)),
       pg_catalog.pg_has_role(c.relowner, 'USAGE')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE (n.nspname, c.relname) IN (SELECT * FROM unnest(%s::text[], %s::text[])) AND c.relkind IN ('r', 'p')
"""

_COLUMNS = """
SELECT a.attrelid::pg_catalog.int8, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
       a.attgenerated::text, a.attidentity::text, a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = ANY (%s::pg_catalog.int8[]::pg_catalog.oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""

# `plain`: no condition, no expression, every column NOT NULL and compared as its own collation does: it names each row.
# `uses`: all columns that the index depends on, those of its expressions and its condition included.
_INDEXES = """
SELECT i.indrelid::pg_catalog.int8, c.relname::text, i.indisprimary, i.indimmediate,
       i.indisunique AND NOT i.indisexclusion AND m.amname = 'btree' AND i.indpred IS NULL AND i.indexprs IS NULL
       AND x.all_required AND x.same_collations AND x.columns IS NOT NULL,
       COALESCE(x.columns, '{}'), COALESCE(x.operators, '{}'),
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum > 0
             AND (a.attnum = ANY (i.indkey::pg_catalog.int2[]) OR EXISTS (
                 SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                 AND d.objid = i.indexrelid AND d.refclassid = d.classid AND d.refobjid = i.indrelid
                 AND d.refobjsubid = a.attnum)))
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_am m ON m.oid = c.relam
CROSS JOIN LATERAL (
    SELECT pg_catalog.array_agg(a.attname::text ORDER BY u.n) AS columns,
           pg_catalog.array_agg(ARRAY[s.nspname::text, o.oprname::text] ORDER BY u.n) AS operators,
           pg_catalog.bool_and(a.attnotnull) AS all_required,
           pg_catalog.bool_and(u.coll = a.attcollation) AS same_collations
    FROM unnest(i.indkey::pg_catalog.int2[], i.indclass::pg_catalog.oid[], i.indcollation::pg_catalog.oid[])
         WITH ORDINALITY AS u (num, opclass, coll, n)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.num
    JOIN pg_catalog.pg_opclass f ON f.oid = u.opclass
    JOIN pg_catalog.pg_amop p ON p.amopfamily = f.opcfamily AND p.amopstrategy = 3
         AND p.amoplefttype = f.opcintype AND p.amoprighttype = f.opcintype
    JOIN pg_catalog.pg_operator o ON o.oid = p.amopopr
    JOIN pg_catalog.pg_namespace s ON s.oid = o.oprnamespace
    WHERE u.n <= i.indnkeyatts AND m.amname = 'btree'
) x
WHERE i.indrelid = ANY (%s::pg_catalog.int8[]::pg_catalog.oid[])
  AND i.indisvalid AND (i.indisunique OR i.indisexclusion)
ORDER BY i.indrelid, NOT i.indisprimary, pg_catalog.cardinality(x.columns), c.relname
"""


@dataclass(frozen=True, slots=True)
class LiveColumn:
    """One column; ``identity`` is '' or 'a' (always) or 'd' (by default)."""

    name: str
    type: str
    not_null: bool
    generated: str
    identity: str
    has_default: bool


@dataclass(frozen=True, slots=True)
class UniqueIndex:
    """A unique or exclusion index.

    Args:
        name: of the index.
        primary: it is the primary key's.
        immediate: the server checks it at once, not at the end of the transaction.
        names_rows: no two rows of the table are the same in its columns, and none is without a value.
        columns: those it compares, with their equality operators (schema, name).
        uses: all columns that it depends on.
    """

    name: str
    primary: bool
    immediate: bool
    names_rows: bool
    columns: tuple[str, ...]
    operators: tuple[tuple[str, str], ...]
    uses: frozenset[str]


@dataclass(frozen=True, slots=True)
class LiveTable:
    """One live table; ``lacks`` are the rights that the login does not have."""

    oid: int
    schema: str
    name: str
    kind: str
    row_security: bool
    lacks: tuple[str, ...]
    owned: bool
    columns: tuple[LiveColumn, ...]
    indexes: tuple[UniqueIndex, ...]

    @property
    def label(self) -> str:
        """For people."""
        return shown((self.schema, self.name))

    @property
    def is_partitioned(self) -> bool:
        """Its rows are its partitions' rows."""
        return self.kind == "p"

    @property
    def identifier(self) -> sql.Identifier:
        """The quoted name."""
        return sql.Identifier(self.schema, self.name)

    @property
    def rows(self) -> sql.Composed:
        """What to read and write its own rows by: not those of tables that inherit from it."""
        return sql.SQL("{}{}").format(sql.SQL("" if self.is_partitioned else "ONLY "), self.identifier)


def read_live_tables(conn: Connection, names: Sequence[QualifiedName]) -> dict[QualifiedName, LiveTable]:
    """Look tables up by name; those that are not there are left out."""
    found = conn.execute(_TABLES, ([name[0] for name in names], [name[1] for name in names])).fetchall()
    oids = [row[0] for row in found]
    columns: dict[int, list[LiveColumn]] = {}
    for oid, *column in conn.execute(_COLUMNS, (oids,)):
        columns.setdefault(oid, []).append(LiveColumn(*column))
    indexes: dict[int, list[UniqueIndex]] = {}
    for oid, name, primary, immediate, names_rows, keys, operators, uses in conn.execute(_INDEXES, (oids,)):
        pairs = tuple((schema, operator) for schema, operator in operators)
        index = UniqueIndex(name, primary, immediate, bool(names_rows), tuple(keys), pairs, frozenset(uses))
        indexes.setdefault(oid, []).append(index)
    return {
        (schema, name): LiveTable(
            oid, schema, name, kind, filtered, tuple(lacks), owned,
            tuple(columns.get(oid, ())), tuple(indexes.get(oid, ())),
        )
        for oid, schema, name, kind, filtered, lacks, owned in found
    }  # fmt: skip
