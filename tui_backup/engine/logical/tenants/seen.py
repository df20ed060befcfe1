"""The tenant's live rows where the source's own row-level security picks them: looked for as the role of the policies.

What the policies show is a set of rows, not a condition. It is written down in temporary tables, by place and version,
with the same settings as the backup was read with, and asked of them afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.tenants.fit import Unit
from tui_backup.engine.logical.tenants.predicate import agreement, tenant_condition
from tui_backup.engine.logical.tenants.settings import TenantMapSettings
from tui_backup.manifest import TenantTable


def only_the_tenants(rule: TenantTable, key: str, alias: str) -> sql.Composable:
    """True for rows that are the tenant's and nobody else's; of one that only policies tell all that they show."""
    if rule.column is None and rule.how == "policies":
        return sql.SQL("true")
    condition = tenant_condition(rule, key, alias=alias)
    agreed = agreement(rule, key, alias=alias)
    # a row of two tenants is neither's: whoever restores one of them must not touch it
    return condition if agreed is None else sql.SQL("({} AND {})").format(condition, agreed)


def is_seen(unit: Unit, alias: str) -> sql.Composed:
    """True for the rows that were written down by :func:`look`, while they are the same versions."""
    return sql.SQL(
        "EXISTS (SELECT FROM {seen} v WHERE v.tid = {alias}.ctid AND v.rel = {alias}.tableoid AND v.old = {alias}.xmin)"
    ).format(seen=_table(unit), alias=sql.Identifier(alias))


def look(conn: Connection, units: Sequence[Unit], key: str, settings: TenantMapSettings) -> None:
    """Write down, anew, which live rows the policies show to the tenant.

    Args:
        conn: the restore's session, in its transaction.
        units: the tables.
        key: the tenant's.
        settings: with the role and the parameter of the policies.
    """
    role = sql.Identifier(settings.role or "")
    for unit in units:
        conn.execute(
            sql.SQL(
                "CREATE TEMPORARY TABLE IF NOT EXISTS {} (rel pg_catalog.oid, tid pg_catalog.tid, old pg_catalog.xid)"
                " ON COMMIT DROP"
            ).format(sql.Identifier(_name(unit)))
        )
        conn.execute(sql.SQL("TRUNCATE {}").format(_table(unit)))
        conn.execute(sql.SQL("GRANT INSERT ON {} TO {}").format(_table(unit), role))
    conn.execute(sql.SQL("SET LOCAL ROLE {}").format(role))
    conn.execute(
        sql.SQL("SELECT pg_catalog.set_config({}, {}, true), pg_catalog.set_config('row_security', 'on', true)").format(
            sql.Literal(settings.setting or ""), sql.Literal(key)
        )
    )
    for unit in units:
        conn.execute(
            sql.SQL("INSERT INTO {} SELECT l.tableoid, l.ctid, l.xmin FROM {} l WHERE {}").format(
                _table(unit), unit.live.rows, only_the_tenants(unit.rule, key, "l")
            )
        )
    conn.execute("SET LOCAL ROLE NONE; SET LOCAL row_security = off")
    for unit in units:
        conn.execute(sql.SQL("ANALYZE {}").format(_table(unit)))


def _name(unit: Unit) -> str:
    return f"tui_seen_{unit.number}"


def _table(unit: Unit) -> sql.Identifier:
    return sql.Identifier("pg_temp", _name(unit))
