"""Asking maps and predicates."""

from __future__ import annotations

from typing import Any, LiteralString, cast

import psycopg
from psycopg import sql

from tui_backup.engine.logical.tenants.map import TenantMap, read_tenant_map
from tui_backup.engine.logical.tenants.predicate import checked_condition, tenant_condition
from tui_backup.engine.logical.tenants.settings import TenantMapSettings
from tui_backup.manifest import TenantTable


def run(conn: psycopg.Connection[Any], statements: str) -> None:
    """Several statements."""
    conn.execute(cast("LiteralString", statements))


def map_of(conn: psycopg.Connection[Any], **settings: Any) -> TenantMap:
    """The map with these settings, given as the stored JSON."""
    return read_tenant_map(conn, TenantMapSettings.from_json(settings))


def entry(found: TenantMap, name: str, schema: str = "public") -> TenantTable:
    """A table's entry."""
    (table,) = [each for each in found.tables if (each.schema, each.name) == (schema, name)]
    return table


def rows_of(
    conn: psycopg.Connection[Any], table: TenantTable, key: str, column: str = "id", *, checked: bool = False
) -> list[Any]:
    """One column of the tenant's rows, sorted."""
    condition = (checked_condition if checked else tenant_condition)(table, key, alias="t")
    query = sql.SQL("SELECT t.{} FROM {} AS t WHERE {}").format(
        sql.Identifier(column), sql.Identifier(table.schema, table.name), condition
    )
    return sorted(row[0] for row in conn.execute(query))
