"""What a look at a live source says of its tenant map; blocking, for worker threads."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from tui_backup.engine.connection import Connection, connect, map_error
from tui_backup.engine.logical.names import QualifiedName, choose, shown
from tui_backup.engine.logical.tenants.map import TenantMap, read_tenant_map, words
from tui_backup.engine.logical.tenants.settings import TableRule, TenantMapSettings, parse_rule
from tui_backup.errors import ValidationError
from tui_backup.model import Source
from tui_backup.services.tenant_maps import UNDECIDED, MappedTable, SourceTenantMap, TenantMapChanges

_TIMEOUT_MS = 15_000
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)+")


def read_map(source: Source, passfile: Path | None) -> SourceTenantMap:
    """The map as it is.

    Raises:
        TuiBackupError: no connection, or the server refused.
    """
    settings = TenantMapSettings.from_json(source.tenant_map)
    with _connected(source, passfile) as conn:
        return _told(source, settings, read_tenant_map(conn, settings))


def change_map(
    source: Source, passfile: Path | None, changes: TenantMapChanges
) -> tuple[dict[str, Any], SourceTenantMap]:
    """The settings to store after the changes, and the map that they make.

    Raises:
        ValidationError: something named is not there, or a rule is none.
        TuiBackupError: no connection, or the server refused.
    """
    before = TenantMapSettings.from_json(source.tenant_map)
    rules = {table: parse_rule(rule) for table, rule in changes.rules.items()}
    with _connected(source, passfile) as conn:
        now = read_tenant_map(conn, before)
        names = [(table.schema, table.name) for table in (*now.tables, *now.undecided)]
        changed = {name: rules[text] for text in rules for name in choose([text], names)}
        settings = _applied(before, changes, _rules(before, changes, changed, names))
        settings.check()
        found = read_tenant_map(conn, settings)
        _check_rules(found, changed)
        _check_who_picks(conn, settings, changes, found)
    return settings.to_json(), _told(source, settings, found)


@contextmanager
def _connected(source: Source, passfile: Path | None) -> Generator[Connection]:
    with closing(connect(source.conninfo, application_name="tui-backup tenant map", passfile=passfile)) as conn:
        try:
            conn.execute("SELECT pg_catalog.set_config('statement_timeout', %s, false)", (str(_TIMEOUT_MS),))
            # one snapshot for everything that is looked up
            conn.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield conn
        except psycopg.Error as exc:
            raise map_error(exc, "reading the tenant map") from exc


def _applied(before: TenantMapSettings, changes: TenantMapChanges, tables: dict[str, TableRule]) -> TenantMapSettings:
    rows_by = changes.rows_by or before.rows_by
    is_asked = rows_by == "policies"
    if not is_asked and (changes.role or changes.setting):
        raise ValidationError(
            "rows_by", "A role and a setting are for rows that the policies pick.", hint="Add --rows-by policies."
        )
    return msgspec.structs.replace(
        before,
        column=before.column if changes.column is None else changes.column,
        rows_by=rows_by,
        role=(changes.role or before.role) if is_asked else None,
        setting=(changes.setting or before.setting) if is_asked else None,
        tables=tables,
    )


def _rules(
    before: TenantMapSettings,
    changes: TenantMapChanges,
    changed: dict[QualifiedName, TableRule],
    names: Iterable[QualifiedName],
) -> dict[str, TableRule]:
    """What is said afterwards, by the tables' names as they are shown; one that is gone keeps what it was called."""
    known = list(names)
    said = {_name(text, known): rule for text, rule in before.tables.items()}
    for text in changes.unset:
        if said.pop(_name(text, known), None) is None:
            raise ValidationError("tables", f"Nothing is said of a table {text!r}.", hint="See `source map NAME`.")
    return said | {shown(name): rule for name, rule in changed.items()}


def _name(text: str, names: Iterable[QualifiedName]) -> str:
    try:
        (name,) = choose([text], names)
    except ValidationError:
        return text
    return shown(name)


def _check_rules(found: TenantMap, changed: dict[QualifiedName, TableRule]) -> None:
    for table in found.undecided:
        if (table.schema, table.name) in changed:
            keys = f"Its foreign keys to a tenant's table: {', '.join(table.keys)}." if table.keys else None
            raise ValidationError("tables", f"Table {table.label}: {table.reason}.", hint=keys)


def _check_who_picks(
    conn: Connection, settings: TenantMapSettings, changes: TenantMapChanges, found: TenantMap
) -> None:
    if changes.column is not None and all(table.column != settings.column for table in found.tables):
        raise ValidationError("tenant_column", f"No table of the source has a column {settings.column!r}.")
    if settings.rows_by != "policies":
        return
    if not _SETTING.fullmatch(settings.setting or ""):
        raise ValidationError(
            "setting", f"{settings.setting!r} is no parameter of an application.", hint="Two parts: app.tenant_id"
        )
    if conn.execute("SELECT FROM pg_catalog.pg_roles WHERE rolname = %s", (settings.role,)).fetchone() is None:
        raise ValidationError("role", f"The source has no role {settings.role!r}.")


def _told(source: Source, settings: TenantMapSettings, found: TenantMap) -> SourceTenantMap:
    names = [(table.schema, table.name) for table in (*found.tables, *found.undecided)]
    rules = {_name(text, names): rule.words for text, rule in settings.tables.items()}
    undecided = [
        MappedTable(table.label, UNDECIDED, table.reason, rules.get(table.label), table.keys)
        for table in found.undecided
    ]
    decided = [
        MappedTable(name, table.how, words(table), rules.get(name), (), found.nobodys.get(name))
        for table in found.tables
        for name in (shown((table.schema, table.name)),)
    ]
    return SourceTenantMap(
        source_name=source.source_name,
        column=settings.column,
        rows_by=settings.rows_by,
        role=settings.role,
        setting=settings.setting,
        tables=[*undecided, *decided],
        unknown=found.unknown,
    )
