"""The shape of a table: a hash over everything that the text of its stored rows depends on besides the rows.

A later incremental may take a chunk from its parent unread only while the shape stands (DESIGN.md section 3, a).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tui_backup.engine.logical.session import SourceSession

# Types whose text is a name looked up in the catalog: it changes when something is renamed, no row being touched.
# regproc regprocedure regoper regoperator regclass regtype regconfig regdictionary regnamespace regrole
# regcollation, aclitem (role names)
_CATALOG_TYPES = frozenset({24, 2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096, 4191, 1033})
_REGDATABASE = 8326  # from PostgreSQL 19 on
_MONEY = 790
_FIRST_USER_OID = 16384

_TYPES_SQL = """
WITH RECURSIVE reached(oid) AS (
    SELECT unnest(%s::bigint[])::oid
  UNION
    SELECT e.target FROM reached r
    CROSS JOIN LATERAL (
        SELECT t.typelem FROM pg_type t WHERE t.oid = r.oid
        UNION ALL SELECT t.typbasetype FROM pg_type t WHERE t.oid = r.oid
        UNION ALL SELECT a.atttypid FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid
                  WHERE t.oid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
        UNION ALL SELECT g.rngsubtype FROM pg_range g WHERE g.rngtypid = r.oid OR g.rngmultitypid = r.oid
    ) AS e(target)
    WHERE e.target <> 0
)
SELECT t.oid::bigint, t.typtype::text, t.typelem::bigint, t.typbasetype::bigint, t.typoutput::oid::bigint,
       x.extname::text || ' ' || x.extversion,
       ARRAY(SELECT a.atttypid::bigint FROM pg_attribute a
             WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       ARRAY(SELECT n.oid::text || ' ' || n.enumlabel::text FROM pg_enum n
             WHERE n.enumtypid = t.oid ORDER BY n.oid),
       (SELECT g.rngsubtype::bigint FROM pg_range g WHERE t.oid IN (g.rngtypid, g.rngmultitypid))
FROM reached JOIN pg_type t ON t.oid = reached.oid
LEFT JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid
                     AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
LEFT JOIN pg_extension x ON x.oid = d.refobjid
"""


@dataclass(frozen=True, slots=True)
class TypeFacts:
    """What the text of a type's values hangs on. ``parts`` are the types inside it, in order."""

    oid: int
    kind: str
    output_function: int
    parts: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()
    extension: str | None = None

    @property
    def depends_on_catalog(self) -> bool:
        """Whether its text can change by itself: a name looked up, or a C type of unknown make."""
        if self.oid in _CATALOG_TYPES or self.oid == _REGDATABASE:
            return True
        return self.kind == "b" and self.output_function >= _FIRST_USER_OID and self.extension is None


class Types:
    """All types that the columns of some tables reach."""

    def __init__(self, facts: Iterable[TypeFacts], lc_monetary: str) -> None:
        self._facts: Mapping[int, TypeFacts] = {fact.oid: fact for fact in facts}
        self._lc_monetary = lc_monetary
        self._closures: dict[int, list[TypeFacts]] = {}

    def closure(self, oid: int) -> list[TypeFacts]:
        """The type and all types inside it, by oid; one inside itself (by way of a table's row type) is met once."""
        if oid not in self._closures:
            found: dict[int, TypeFacts] = {}
            todo = [oid]
            while todo:
                fact = self._facts.get(todo.pop())
                if fact is not None and fact.oid not in found:
                    found[fact.oid] = fact
                    todo.extend(fact.parts)
            self._closures[oid] = [found[key] for key in sorted(found)]
        return self._closures[oid]

    def depends_on_catalog(self, oid: int) -> bool:
        """Whether a value's text can change without its row being touched."""
        return any(fact.depends_on_catalog for fact in self.closure(oid))

    def describe(self, oid: int) -> list[Any]:
        """What goes into the shape for one column's type."""
        facts = self.closure(oid)
        described: list[Any] = [
            [fact.oid, fact.kind, fact.output_function, fact.parts, fact.labels, fact.extension]
            for fact in facts
            if fact.oid >= _FIRST_USER_OID or fact.oid == oid
        ]
        if any(fact.oid == _MONEY for fact in facts):
            described.append(["lc_monetary", self._lc_monetary])
        return described


def read_types(session: SourceSession, oids: Sequence[int], lc_monetary: str) -> Types:
    """Read the types of some columns and all types inside them."""
    rows = session.query(_TYPES_SQL, [list(oids)], what="reading the types")
    return Types((_facts(row) for row in rows), lc_monetary)


def _facts(row: tuple[Any, ...]) -> TypeFacts:
    oid, kind, element, base, output, extension, attributes, labels, subtype = row
    parts = (*(part for part in (element, base, subtype) if part), *attributes)
    return TypeFacts(
        oid=oid,
        kind=kind,
        output_function=output,
        parts=parts,
        labels=tuple(labels),
        extension=extension,
    )


def shape_of(columns: Iterable[Sequence[Any]], types: Types) -> str:
    """Hash a table's live columns.

    Args:
        columns: (attnum, name, type oid, type modifier, missing value or None, generated) of each, in attnum order.
        types: the types they reach.
    """
    described = [
        [attnum, name, type_oid, type_modifier, missing, generated, types.describe(type_oid)]
        for attnum, name, type_oid, type_modifier, missing, generated in columns
    ]
    text = json.dumps(described, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
