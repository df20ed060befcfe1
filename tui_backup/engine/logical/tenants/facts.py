"""What the catalog of a live source says of tables, tenant columns and foreign keys."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.names import QualifiedName
from tui_backup.engine.logical.own_catalog import CATALOG_SCHEMA

# an extension's tables are not ours, but for its configuration tables, which carry data of the database's users
_TABLES_SQL = """
SELECT c.oid::pg_catalog.int8, n.nspname::text, c.relname::text, c.relkind = 'p',
       COALESCE(pg_catalog.pg_partition_root(c.oid)::pg_catalog.oid, c.oid)::pg_catalog.int8, c.relrowsecurity,
       'extension ' || e.extname
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
     AND d.objsubid = 0 AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, c.relname
"""

# a type's own equality; types without an operator class of their own have a polymorphic one in pg_catalog
_COLUMNS_SQL = """
WITH RECURSIVE wanted AS (
    SELECT a.attrelid, a.attname, a.attnotnull, a.attgenerated, a.atttypid FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = ANY (%(oids)s::pg_catalog.int8[]::pg_catalog.oid[])
      AND a.attname = ANY (%(names)s::pg_catalog.text[]) AND a.attnum > 0 AND NOT a.attisdropped
), bases AS (
    SELECT DISTINCT atttypid AS type, atttypid AS base FROM wanted
    UNION SELECT b.type, t.typbasetype FROM bases b JOIN pg_catalog.pg_type t ON t.oid = b.base AND t.typtype = 'd'
), base AS (
    SELECT b.type, b.base FROM bases b JOIN pg_catalog.pg_type t ON t.oid = b.base AND t.typtype <> 'd'
)
SELECT w.attrelid::pg_catalog.int8, w.attname::text, w.attnotnull, w.attgenerated::text,
       COALESCE(s.nspname, 'pg_catalog')::text, COALESCE(p.oprname, '=')::text,
       CASE WHEN p.oid IS NULL AND b.type <> b.base THEN ARRAY[tn.nspname::text, t.typname::text] END
FROM wanted w
JOIN base b ON b.type = w.atttypid
JOIN pg_catalog.pg_type t ON t.oid = b.base
JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
LEFT JOIN pg_catalog.pg_opclass o ON o.opcintype = b.base AND o.opcdefault
     AND o.opcmethod = (SELECT m.oid FROM pg_catalog.pg_am m WHERE m.amname = 'btree')
LEFT JOIN pg_catalog.pg_amop f ON f.amopfamily = o.opcfamily AND f.amopstrategy = 3
     AND f.amoplefttype = o.opcintype AND f.amoprighttype = o.opcintype
LEFT JOIN pg_catalog.pg_operator p ON p.oid = f.amopopr
LEFT JOIN pg_catalog.pg_namespace s ON s.oid = p.oprnamespace
"""

# only the keys of a table as a whole: those of single partitions say nothing of the others
_KEYS_SQL = """
SELECT k.conrelid::pg_catalog.int8, k.conname::text, k.confrelid::pg_catalog.int8, n.nspname::text, p.relname::text,
       p.relkind = 'p', k.convalidated AND {enforced}, {period}, x.required, x.columns, x.referenced, x.operators,
       x.collations
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class p ON p.oid = k.confrelid
JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace
CROSS JOIN LATERAL (
    SELECT pg_catalog.array_agg(a.attname::text ORDER BY u.n) AS columns,
           pg_catalog.array_agg(r.attname::text ORDER BY u.n) AS referenced,
           pg_catalog.array_agg(ARRAY[s.nspname::text, o.oprname::text] ORDER BY u.n) AS operators,
           pg_catalog.array_agg(CASE WHEN r.attcollation <> a.attcollation
               THEN ARRAY[ls.nspname::text, l.collname::text] ELSE ARRAY[NULL, NULL] END ORDER BY u.n) AS collations,
           pg_catalog.bool_and(a.attnotnull AND NOT EXISTS (
               SELECT FROM pg_catalog.pg_constraint v WHERE v.conrelid = a.attrelid AND v.contype = 'n'
               AND NOT v.convalidated AND a.attnum = ANY (v.conkey))) AS required
    FROM ROWS FROM (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey), pg_catalog.unnest(k.conpfeqop))
         WITH ORDINALITY AS u (num, ref, op, n)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num
    JOIN pg_catalog.pg_attribute r ON r.attrelid = k.confrelid AND r.attnum = u.ref
    JOIN pg_catalog.pg_operator o ON o.oid = u.op
    JOIN pg_catalog.pg_namespace s ON s.oid = o.oprnamespace
    LEFT JOIN pg_catalog.pg_collation l ON l.oid = r.attcollation
    LEFT JOIN pg_catalog.pg_namespace ls ON ls.oid = l.collnamespace
) x
WHERE k.contype = 'f' AND k.conrelid = ANY (%(oids)s::pg_catalog.int8[]::pg_catalog.oid[]) AND k.conparentid = 0
ORDER BY k.conname
"""


_OWN_SCHEMAS = (CATALOG_SCHEMA, f"{CATALOG_SCHEMA}_queue")


@dataclass(frozen=True, slots=True)
class TableFact:
    """One table.

    Args:
        root: oid of the partitioned table that it is part of, else its own.
        has_policies: row-level security is on for this very table.
        belongs_to: whose it is where it is not the database's users'.
    """

    oid: int
    schema: str
    name: str
    is_partitioned: bool
    root: int
    has_policies: bool
    belongs_to: str | None

    @property
    def key(self) -> QualifiedName:
        """Schema and name."""
        return (self.schema, self.name)


@dataclass(frozen=True, slots=True)
class ColumnFact:
    """One column that may tell the tenant.

    Args:
        generated: as in pg_attribute: '', 's' or 'v'.
        operator: its type's equality (schema, name).
        cast: the domain's base type, where the operator is polymorphic and takes no domain.
    """

    name: str
    not_null: bool
    generated: str
    operator: tuple[str, str]
    cast: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class KeyFact:
    """One foreign key.

    Args:
        parent: oid of the referenced table, which may be a partition.
        holds: every row obeys it: it is enforced and validated.
        required: all its columns are NOT NULL.
        collations: of the referenced columns where the two sides differ, else None.
    """

    name: str
    parent: int
    parent_schema: str
    parent_name: str
    parent_partitioned: bool
    holds: bool
    period: bool
    required: bool
    columns: tuple[str, ...]
    referenced: tuple[str, ...]
    operators: tuple[tuple[str, str], ...]
    collations: tuple[tuple[str, str] | None, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the map is made from: tables by oid, and for each table as a whole its columns and keys."""

    tables: dict[int, TableFact]
    columns: dict[int, dict[str, ColumnFact]]
    keys: dict[int, list[KeyFact]]

    def has_policies(self, unit: TableFact) -> bool:
        """Whether row-level security guards a table and every partition of it: each is read by itself."""
        return all(table.has_policies for table in self.tables.values() if table.root == unit.oid)

    @property
    def units(self) -> list[TableFact]:
        """Tables as wholes: no partitions."""
        return [table for table in self.tables.values() if table.root == table.oid]


def read_facts(conn: Connection, column_names: Collection[str]) -> Facts:
    """Read the catalog in the connection's transaction; ``column_names`` may tell a tenant."""
    tables = {row[0]: TableFact(*row) for row in conn.execute(_TABLES_SQL)}
    if any(table.key == (CATALOG_SCHEMA, "schema_migrations") for table in tables.values()):
        tables = {oid: _own(table) for oid, table in tables.items()}
    units = [oid for oid, table in tables.items() if table.root == oid]
    return Facts(tables, _columns(conn, units, column_names), _keys(conn, units))


def _own(table: TableFact) -> TableFact:
    return replace(table, belongs_to="tui-backup's catalog") if table.schema in _OWN_SCHEMAS else table


def _columns(conn: Connection, oids: Sequence[int], names: Collection[str]) -> dict[int, dict[str, ColumnFact]]:
    found: dict[int, dict[str, ColumnFact]] = {oid: {} for oid in oids}
    for oid, name, not_null, generated, schema, operator, cast in conn.execute(
        _COLUMNS_SQL, {"oids": list(oids), "names": list(names)}
    ):
        found[oid][name] = ColumnFact(name, not_null, generated, (schema, operator), tuple(cast) if cast else None)
    return found


def _keys(conn: Connection, oids: Sequence[int]) -> dict[int, list[KeyFact]]:
    newest = conn.info.server_version >= 180000
    statement = _KEYS_SQL.replace("{enforced}", "k.conenforced" if newest else "true")
    statement = statement.replace("{period}", "k.conperiod" if newest else "false")
    found: dict[int, list[KeyFact]] = {oid: [] for oid in oids}
    for row in conn.execute(statement.encode(), {"oids": list(oids)}):
        found[row[0]].append(_key(row[1:]))
    return found


def _key(row: Sequence[Any]) -> KeyFact:
    *plain, columns, referenced, operators, collations = row
    return KeyFact(
        *plain,
        columns=tuple(columns),
        referenced=tuple(referenced),
        operators=tuple((schema, name) for schema, name in operators),
        collations=tuple((schema, name) if name is not None else None for schema, name in collations),
    )
