"""What relations the source has, which of them a backup reads, and whether it may."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tui_backup.engine.logical.names import QualifiedName, choose, qualified, quote, shown
from tui_backup.engine.logical.session import SQL_ASCII, SourceSession
from tui_backup.errors import SourcePermissionError, SqlFailedError

TABLE, PARTITIONED, SEQUENCE, FOREIGN, MATVIEW = "r", "p", "S", "f", "m"

_LIST_SQL = """
SELECT c.oid::bigint, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text,
       coalesce(am.amname::text, ''), c.relfilenode::bigint, c.relispartition, i.inhparent::bigint,
       e.extname::text, cfg.oid IS NOT NULL, cfg.condition, s.srvname::text, c.relispopulated
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_am am ON am.oid = c.relam
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND c.relispartition
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
                     AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
LEFT JOIN pg_extension e ON e.oid = d.refobjid
LEFT JOIN LATERAL unnest(e.extconfig, e.extcondition) AS cfg(oid, condition) ON cfg.oid = c.oid
LEFT JOIN pg_foreign_table f ON f.ftrelid = c.oid
LEFT JOIN pg_foreign_server s ON s.oid = f.ftserver
WHERE c.relkind IN ('r', 'p', 'S', 'f', 'm') AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, c.relname
"""

# the functions say NULL of a relation that was dropped a moment ago
_RIGHTS_SQL = """
SELECT c.oid::bigint, coalesce(has_schema_privilege(c.relnamespace, 'USAGE'), true),
       coalesce(has_table_privilege(c.oid, 'SELECT'), true),
       c.relkind IN ('r', 'p') AND row_security_active(c.oid)
FROM pg_class c WHERE c.oid = ANY (%s::bigint[]::oid[])
"""

_ODD_NAMES_SQL = """
SELECT textsend(n.nspname::text || '.' || c.relname::text || coalesce('.' || a.attname::text, ''))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.oid = ANY (%s::bigint[]::oid[])
"""


@dataclass(frozen=True, slots=True)
class Relation:
    """One row of pg_class that a backup has to do with. ``parent`` is the oid of a partition's parent."""

    oid: int
    schema: str
    name: str
    kind: str
    persistence: str
    access_method: str
    relfilenode: int
    is_partition: bool
    parent: int | None
    extension: str | None
    is_config: bool
    condition: str | None
    foreign_server: str | None
    is_populated: bool

    @property
    def key(self) -> QualifiedName:
        """Schema and name."""
        return (self.schema, self.name)

    @property
    def sql(self) -> str:
        """The quoted name."""
        return qualified(self.schema, self.name)

    @property
    def is_ours(self) -> bool:
        """Whether its rows are part of a dump: an extension's tables are not, but for its configuration tables."""
        return self.extension is None or self.is_config


def list_relations(session: SourceSession) -> list[Relation]:
    """All relations of all user schemas, by name."""
    rows = session.query(_LIST_SQL, what="listing the tables")
    return [
        Relation(
            oid=row[0],
            schema=row[1],
            name=row[2],
            kind=row[3],
            persistence=row[4],
            access_method=row[5],
            relfilenode=row[6],
            is_partition=row[7],
            parent=row[8],
            extension=row[9],
            is_config=row[10],
            condition=row[11] or None,
            foreign_server=row[12],
            is_populated=row[13],
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class Selection:
    """The relations of one backup.

    Args:
        tables: to be read, and their partitioned parents; these are locked.
        sequences: to be read.
        chosen: what the user asked for, empty for the whole database.
        others: tables that are not in the backup though pg_dump meets them.
        is_whole: all that the database holds is wanted, not only some tables or one tenant's rows.
    """

    tables: Sequence[Relation]
    sequences: Sequence[Relation]
    chosen: Sequence[QualifiedName]
    others: Sequence[Relation]
    is_whole: bool = True


_OWNED_SQL = """
SELECT DISTINCT d.objid::bigint FROM pg_depend d
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
  AND d.refobjid = ANY (%s::bigint[]::oid[])
UNION
SELECT d.refobjid::bigint FROM pg_attrdef a
JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid AND d.refclassid = 'pg_class'::regclass
WHERE a.adrelid = ANY (%s::bigint[]::oid[])
"""


def select_relations(
    session: SourceSession, relations: Sequence[Relation], requested: Sequence[str], *, is_standby: bool
) -> Selection:
    """Decide what a backup reads.

    Chosen tables bring their partitions, their partitioned ancestors (definitions only) and the sequences that their
    columns own or draw from.

    Raises:
        ValidationError: a requested table is not there.
    """
    tables = [rel for rel in relations if rel.kind in (TABLE, PARTITIONED) and rel.is_ours]
    if is_standby:
        tables = [rel for rel in tables if rel.persistence != "u"]
    sequences = [rel for rel in relations if rel.kind == SEQUENCE and rel.is_ours]
    if is_standby:
        sequences = [rel for rel in sequences if rel.persistence != "u"]
    if not requested:
        return Selection(tables, sequences, (), ())
    chosen = choose(requested, [rel.key for rel in tables])
    wanted = _with_family(tables, set(chosen))
    picked = [rel for rel in tables if rel.oid in wanted]
    oids = [rel.oid for rel in picked]
    owned = {row[0] for row in session.query(_OWNED_SQL, [oids, oids], what="listing the sequences")}
    return Selection(
        tables=picked,
        sequences=[rel for rel in sequences if rel.oid in owned],
        chosen=chosen,
        others=[rel for rel in tables if rel.oid not in wanted],
        is_whole=False,
    )


def _with_family(tables: Sequence[Relation], chosen: set[QualifiedName]) -> set[int]:
    by_oid = {rel.oid: rel for rel in tables}
    partitions: dict[int, list[Relation]] = {}
    for rel in tables:
        if rel.parent is not None:
            partitions.setdefault(rel.parent, []).append(rel)
    found: set[int] = set()
    todo = [rel for rel in tables if rel.key in chosen]
    while todo:
        rel = todo.pop()
        found.add(rel.oid)
        todo.extend(partitions.get(rel.oid, ()))
    for oid in list(found):
        ancestor = by_oid[oid].parent
        while ancestor is not None and ancestor in by_oid:
            found.add(ancestor)
            ancestor = by_oid[ancestor].parent
    return found


def check_readable(session: SourceSession, selection: Selection, *, row_security_counts: bool = True) -> None:
    """Refuse before anything is read what could not be read whole.

    Args:
        session: of the backup.
        selection: what it is about to read.
        row_security_counts: row security that hides rows is a problem, not the point.

    Raises:
        SourcePermissionError: missing grants, or row security that would hide rows; the details list tables and
            statements.
        SqlFailedError: a name that is no UTF-8 (possible in SQL_ASCII databases only).
    """
    wanted = [*selection.tables, *selection.sequences]
    by_oid = {rel.oid: rel for rel in wanted}
    rows = session.query(_RIGHTS_SQL, [list(by_oid)], what="reading the rights")
    user = session.parameters.user
    problems = _Problems(user)
    for oid, has_schema, has_relation, is_filtered in rows:
        problems.add(
            by_oid[oid],
            has_schema=has_schema,
            has_relation=has_relation,
            is_filtered=is_filtered and row_security_counts,
        )
    if problems.tables:
        raise problems.error(session.parameters.dbname)
    if session.encoding == SQL_ASCII:
        _check_names(session, list(by_oid))


def unreadable(session: SourceSession, relations: Iterable[Relation]) -> list[Relation]:
    """Those that the login cannot lock or read."""
    by_oid = {rel.oid: rel for rel in relations}
    rows = session.query(_RIGHTS_SQL, [list(by_oid)], what="reading the rights")
    return [by_oid[row[0]] for row in rows if not (row[1] and row[2])]


class _Problems:
    def __init__(self, user: str) -> None:
        self._user = quote(user)
        self.tables: list[dict[str, Any]] = []
        self.grants: dict[str, None] = {}

    def add(self, rel: Relation, *, has_schema: bool, has_relation: bool, is_filtered: bool) -> None:
        reasons: list[str] = []
        if not has_schema:
            reasons.append("no USAGE on its schema")
            self.grants[f"GRANT USAGE ON SCHEMA {quote(rel.schema)} TO {self._user};"] = None
        if not has_relation:
            reasons.append("no SELECT")
            kind = "SEQUENCE" if rel.kind == SEQUENCE else "TABLE"
            self.grants[f"GRANT SELECT ON {kind} {rel.sql} TO {self._user};"] = None
        if is_filtered:
            reasons.append("row security would hide rows")
            self.grants[f"ALTER ROLE {self._user} BYPASSRLS;"] = None
        if reasons:
            self.tables.append({"table": shown(rel.key), "reason": ", ".join(reasons)})

    def error(self, dbname: str) -> SourcePermissionError:
        first = "; ".join(f"{item['table']} ({item['reason']})" for item in self.tables[:5])
        more = f"; and {len(self.tables) - 5} more" if len(self.tables) > 5 else ""
        grants = list(self.grants)
        return SourcePermissionError(
            f"The role {self._user} cannot read all of database {quote(dbname)}: {first}{more}.",
            hint="Run as a superuser or the owner: " + " ".join(grants[:5]) + (" …" if len(grants) > 5 else ""),
            details={"tables": self.tables, "grants": grants},
        )


def _check_names(session: SourceSession, oids: list[int]) -> None:
    for (raw,) in session.query(_ODD_NAMES_SQL, [oids], what="reading the names"):
        try:
            bytes(raw).decode()
        except UnicodeDecodeError as exc:
            name = bytes(raw).decode("utf-8", "backslashreplace")
            raise SqlFailedError(
                f"The name {name} is not valid UTF-8; a backup cannot describe it.",
                hint="Rename it (ALTER TABLE … RENAME); data of any bytes is fine.",
            ) from exc
