"""The SQL that tells a tenant's rows from all others.

Conditions are composed of quoted names and literals only. Run a statement that holds one without parameters: a ``%`` in
a tenant's key is no placeholder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from psycopg import sql

from tui_backup.engine.connection import NOT_THE_TENANTS
from tui_backup.engine.logical.names import literal
from tui_backup.engine.logical.tenants.resolve import COLUMN, LEFT_OUT, POLICIES, REFERENCE, SHARED
from tui_backup.errors import TenantMapError
from tui_backup.manifest import TenantPath, TenantStep, TenantTable

_OPERATOR = re.compile(r"[-+*/<>=~!@#%^&|`?]{1,63}")


def tenant_condition(table: TenantTable, key: str, *, alias: str) -> sql.Composed:
    """A boolean expression, true exactly for the tenant's rows of a table.

    Args:
        table: how its rows are told; from the live map, not from a manifest.
        key: the tenant's value in the tenant column, as text; it is compared as a value of the column's type.
        alias: of the table, or of a partition of it, in the statement.

    Returns:
        True, false or NULL for each row; NULL is nobody's. All rows of a shared table, none of one that is left out.

    Raises:
        TenantMapError: only the source's policies tell the rows, not a condition.
    """
    if table.how == SHARED:
        return sql.Composed([sql.SQL("true")])
    if table.how == LEFT_OUT:
        return sql.Composed([sql.SQL("false")])
    if table.how not in (COLUMN, REFERENCE, POLICIES) or table.column is None:
        raise TenantMapError(
            f"Only the source's own policies tell whose the rows of {table.schema}.{table.name} are.",
            hint="Name a column or a foreign key for the table as well: `tui-backup source map SOURCE --set TABLE=…`.",
        )
    return _any(table_paths(table), key, alias)


def agreement(table: TenantTable, key: str, *, alias: str) -> sql.Composed | None:
    """A boolean expression, true for a row all of whose foreign keys lead to the tenant; None when there is one way.

    A key with a NULL column leads nowhere and says nothing.
    """
    ways = [list(paths) for _, paths in groupby(table_paths(table), _first_key)]
    if len(ways) < 2:
        return None
    return sql.SQL(" AND ").join(
        sql.SQL("({} OR {})").format(_missing(paths[0].steps[0], alias), _any(paths, key, alias)) for paths in ways
    )


def checked_condition(table: TenantTable, key: str, *, alias: str) -> sql.Composed:
    """As :func:`tenant_condition`, and the statement fails at a row that belongs to two tenants.

    A CASE, since a planner may try conditions beside each other in any order.
    """
    condition = tenant_condition(table, key, alias=alias)
    agreed = agreement(table, key, alias=alias) if table.how == REFERENCE else None
    if agreed is None:
        return condition
    return sql.SQL("CASE WHEN {} THEN CASE WHEN {} THEN true ELSE {} END ELSE false END").format(
        condition, agreed, _failure(alias)
    )


def policy_check(table: TenantTable, key: str, *, alias: str) -> sql.Composed | None:
    """For rows that policies have picked: true for the tenant's, the statement fails at any other; None when nothing
    but the policies can tell."""
    if table.column is None:
        return None
    return sql.SQL("CASE WHEN {} THEN true ELSE {} END").format(
        tenant_condition(table, key, alias=alias), _failure(alias)
    )


def table_paths(table: TenantTable) -> list[TenantPath]:
    """All ways from a table to a tenant column; one without steps where it has the column itself."""
    if table.column is None:
        return []
    return [
        TenantPath(steps=table.path, column=table.column, operator=table.operator, cast=table.cast),
        *table.more_paths,
    ]


def _any(paths: Sequence[TenantPath], key: str, alias: str) -> sql.Composed:
    conditions = [_leads(path, key, alias) for path in paths]
    if len(conditions) == 1:
        return conditions[0]
    return sql.SQL("({})").format(sql.SQL(" OR ").join(conditions))


def _leads(path: TenantPath, key: str, alias: str) -> sql.Composed:
    last = f"{alias}_{len(path.steps)}" if path.steps else alias
    cast = sql.SQL("::{}").format(sql.Identifier(*path.cast)) if path.cast else sql.SQL("")
    is_key = sql.SQL("({}.{}{} {} {})").format(
        sql.Identifier(last), sql.Identifier(path.column), cast, _operator(path.operator), _literal(key)
    )
    if not path.steps:
        return is_key
    sources: list[sql.Composed] = []
    joins: list[sql.Composed] = []
    before = alias
    for number, step in enumerate(path.steps, 1):
        here = f"{alias}_{number}"
        only = sql.SQL("" if step.partitioned else "ONLY ")
        sources.append(sql.SQL("{}{} AS {}").format(only, sql.Identifier(step.schema, step.name), sql.Identifier(here)))
        joins += _join(step, before, here)
        before = here
    return sql.SQL("EXISTS (SELECT FROM {} WHERE {})").format(
        sql.SQL(", ").join(sources), sql.SQL(" AND ").join([*joins, is_key])
    )


def _join(step: TenantStep, child: str, parent: str) -> list[sql.Composed]:
    """The foreign key's own comparison, column by column, as the server's check does it."""
    operators = step.operators or [("pg_catalog", "=")] * len(step.columns)
    collations = step.collations or [None] * len(step.columns)
    return [
        sql.SQL("{}.{}{} {} {}.{}").format(
            sql.Identifier(parent),
            sql.Identifier(theirs),
            sql.SQL(" COLLATE {}").format(sql.Identifier(*collation)) if collation else sql.SQL(""),
            _operator(operator),
            sql.Identifier(child),
            sql.Identifier(ours),
        )
        for ours, theirs, operator, collation in zip(
            step.columns, step.referenced_columns, operators, collations, strict=True
        )
    ]


def _first_key(path: TenantPath) -> str:
    return path.steps[0].constraint if path.steps else ""


def _missing(step: TenantStep, alias: str) -> sql.Composed:
    return sql.SQL(" OR ").join(
        sql.SQL("{}.{} IS NULL").format(sql.Identifier(alias), sql.Identifier(column)) for column in step.columns
    )


def _operator(operator: tuple[str, str]) -> sql.Composed:
    schema, name = operator
    # it cannot be quoted
    if not _OPERATOR.fullmatch(name):
        raise ValueError(name)
    return sql.SQL("OPERATOR({}.{})").format(sql.Identifier(schema), sql.SQL(name))  # pyright: ignore[reportArgumentType]


def _literal(key: str) -> sql.SQL:
    # without a connection psycopg cannot know how a backslash has to be written
    return sql.SQL(literal(key))  # pyright: ignore[reportArgumentType]


def _failure(alias: str) -> sql.Composed:
    """An expression that fails when it is evaluated, and not before: it depends on the row."""
    return sql.SQL("({} OPERATOR(pg_catalog.||) {}.ctid::pg_catalog.text)::pg_catalog.bool").format(
        sql.SQL(literal(f"{NOT_THE_TENANTS} ")),  # pyright: ignore[reportArgumentType]
        sql.Identifier(alias),
    )
