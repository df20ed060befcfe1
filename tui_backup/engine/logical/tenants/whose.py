"""Whose a row is: asked of the live tables, and of the backup's rows in staging before any of them goes anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from psycopg import sql

from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.names import QualifiedName
from tui_backup.engine.logical.target import one
from tui_backup.engine.logical.tenants.fit import Unit
from tui_backup.engine.logical.tenants.seen import is_seen, only_the_tenants
from tui_backup.errors import OtherTenantError
from tui_backup.manifest import TenantPath, TenantStep, TenantTable

_PARTITIONS = """
WITH RECURSIVE below AS (
    SELECT o AS root, o::pg_catalog.oid AS oid FROM pg_catalog.unnest(%s::pg_catalog.int8[]) AS o
    UNION SELECT b.root, i.inhrelid FROM pg_catalog.pg_inherits i JOIN below b ON b.oid = i.inhparent
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition
)
SELECT b.root, n.nspname::text, c.relname::text
FROM below b JOIN pg_catalog.pg_class c ON c.oid = b.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
"""


@dataclass(frozen=True, slots=True)
class Whose:
    """Tells the tenant's rows.

    Args:
        key: the tenant's value in the tenant column.
        by_policies: the source's row-level security has the word; :func:`~.seen.look` has to be called before.
        staged: the staging table that stands for each restored table and each of its partitions.
    """

    key: str
    staged: Mapping[QualifiedName, QualifiedName]
    by_policies: bool = False

    def live(self, unit: Unit, alias: str) -> sql.Composable:
        """True exactly for live rows that are the tenant's and nobody else's."""
        if self.by_policies and not unit.is_shared:
            return is_seen(unit, alias)
        return self.of(unit.rule, alias)

    def of(self, rule: TenantTable, alias: str) -> sql.Composable:
        """As :meth:`live`, for a table of the live map."""
        return only_the_tenants(rule, self.key, alias)

    def in_backup(self, unit: Unit, alias: str) -> sql.Composable:
        """True for staged rows that will be the tenant's: a way leads through the staged rows of a table that is
        restored, and through the live rows of one that is not."""
        return only_the_tenants(self._through_staging(unit.rule), self.key, alias)

    def _through_staging(self, rule: TenantTable) -> TenantTable:
        more = [TenantPath(steps=self._steps(path.steps), column=path.column, operator=path.operator)
                for path in rule.more_paths]  # fmt: skip
        return msgspec.structs.replace(rule, path=self._steps(rule.path), more_paths=more)

    def _steps(self, steps: Sequence[TenantStep]) -> list[TenantStep]:
        return [self._step(step) for step in steps]

    def _step(self, step: TenantStep) -> TenantStep:
        stage = self.staged.get((step.schema, step.name))
        if stage is None:
            return step
        schema, name = stage
        return msgspec.structs.replace(step, schema=schema, name=name, partitioned=False)


def read_whose(conn: Connection, key: str, units: Sequence[Unit], *, by_policies: bool = False) -> Whose:
    """Find the staging table for every table and partition that a way to the tenant may lead through."""
    by_oid = {unit.live.oid: unit for unit in units if not unit.is_shared}
    staged = {
        (schema, name): by_oid[root].stage_name for root, schema, name in conn.execute(_PARTITIONS, (list(by_oid),))
    }
    return Whose(key, staged, by_policies)


def refuse_strays(conn: Connection, unit: Unit, whose: Whose, *, place: sql.Identifier | None = None) -> None:
    """Refuse a backup that holds rows which are not the tenant's, whatever its checksums say.

    Args:
        conn: the restore's session.
        unit: whose rows are looked at.
        whose: tells the tenant's.
        place: where they are, by default the staging table.

    Raises:
        OtherTenantError: it does.
    """
    if unit.is_shared:
        return
    statement = sql.SQL("SELECT pg_catalog.count(*) FROM {} s WHERE NOT COALESCE({}, false)").format(
        place or unit.stage, whose.in_backup(unit, "s")
    )
    if rows := int(one(conn, statement)):
        raise OtherTenantError(
            f"The backup's {unit.label} holds {rows} rows that are not the tenant's.",
            details={"table": unit.label, "rows": rows},
        )
