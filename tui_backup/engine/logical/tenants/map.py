"""The tenant map of a source: for every table, how its rows are told to be a tenant's, and what has changed since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.names import QualifiedName, choose, shown
from tui_backup.engine.logical.tenants.facts import Facts, read_facts
from tui_backup.engine.logical.tenants.resolve import COLUMN, LEFT_OUT, REFERENCE, SHARED, Resolver, Undecided
from tui_backup.engine.logical.tenants.settings import TableRule, TenantMapSettings
from tui_backup.errors import TenantMapError, ValidationError
from tui_backup.manifest import TenantTable

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class TenantMap:
    """What :func:`read_tenant_map` found.

    Args:
        tables: the decided ones by name; a partitioned table stands for its partitions.
        undecided: those that belong to nobody yet.
        unknown: tables of the settings that the database does not have, or that are partitions.
        nobodys: tables, and which of their rows belong to nobody since a deciding column may be NULL.
        oids: the entry of each table and partition.
    """

    tables: tuple[TenantTable, ...]
    undecided: tuple[Undecided, ...] = ()
    unknown: tuple[str, ...] = ()
    nobodys: Mapping[str, str] = field(default_factory=dict[str, str])
    oids: Mapping[int, TenantTable] = field(default_factory=dict[int, TenantTable])

    def require_decided(self) -> None:
        """Refuse to go on with tables that belong to nobody.

        Raises:
            TenantMapError: there are some; lists them all.
        """
        if not self.undecided:
            return
        first = "; ".join(f"{table.label} ({table.reason})" for table in self.undecided[:_SHOWN])
        more = f"; and {len(self.undecided) - _SHOWN} more" if len(self.undecided) > _SHOWN else ""
        example = self.undecided[0]
        raise TenantMapError(
            f"Nothing says whose the rows of these tables are: {first}{more}.",
            hint=f"Decide each: tui-backup source map SOURCE --set '{example.label}=left-out' (or column:NAME, "
            "via:FOREIGN_KEY, shared:missing, shared:never).",
            details={
                "undecided": [
                    {"table": table.label, "reason": table.reason, "foreign_keys": list(table.keys)}
                    for table in self.undecided
                ]
            },
        )


def read_tenant_map(conn: Connection, settings: TenantMapSettings) -> TenantMap:
    """Decide every table of the database that the connection sees, in its transaction and snapshot.

    Args:
        conn: to the source; only catalogs are read.
        settings: what is said of it.

    Raises:
        psycopg.Error: the server fails.
    """
    names = {settings.column, *(rule.column for rule in settings.tables.values() if rule.column)}
    facts = read_facts(conn, names)
    rules, unknown = _rules(facts, settings)
    tables, undecided = Resolver(facts, settings, rules).run()
    entries = {(table.schema, table.name): table for table in tables}
    return TenantMap(
        tables=tuple(tables),
        undecided=tuple(undecided),
        unknown=tuple(unknown),
        nobodys=_nobodys(facts, entries),
        oids={
            table.oid: entries[root.key]
            for table in facts.tables.values()
            if (root := facts.tables.get(table.root)) is not None and root.key in entries
        },
    )


def _rules(facts: Facts, settings: TenantMapSettings) -> tuple[dict[int, TableRule], list[str]]:
    by_name = {unit.key: unit.oid for unit in facts.units}
    found: dict[int, TableRule] = {}
    unknown: list[str] = []
    for text, rule in settings.tables.items():
        try:
            (name,) = choose([text], by_name)
        except ValidationError:
            unknown.append(text)
        else:
            found[by_name[name]] = rule
    return found, unknown


def _nobodys(facts: Facts, entries: Mapping[QualifiedName, TenantTable]) -> dict[str, str]:
    """Where a row may be without an owner: its tenant column, or the only key that leads to it, may be NULL."""
    found: dict[str, str] = {}
    for unit in facts.units:
        table = entries.get(unit.key)
        if table is None or table.column is None:
            continue
        if not table.path:
            column = facts.columns[unit.oid].get(table.column)
            if column is not None and not column.not_null:
                found[shown(unit.key)] = f"column {table.column}"
            continue
        firsts = {path[0].constraint for path in (table.path, *(more.steps for more in table.more_paths))}
        keys = [key for key in facts.keys[unit.oid] if key.name in firsts]
        if not any(key.required for key in keys):
            found[shown(unit.key)] = f"foreign key {', '.join(key.name for key in keys)}"
    return found


def drift(earlier: Sequence[TenantTable], now: TenantMap) -> list[str]:
    """What has changed since an earlier backup of the tenant, in words; empty when nothing has."""
    before = {(table.schema, table.name): table for table in earlier}
    after = {(table.schema, table.name): table for table in now.tables}
    found: list[str] = []
    for name, table in after.items():
        if name not in before:
            found.append(f"table {shown(name)} is new: {words(table)}")
        elif words(before[name]) != words(table):
            found.append(f"table {shown(name)}: {words(table)}, before: {words(before[name])}")
    open_now = {(table.schema, table.name): table for table in now.undecided}
    found += [f"table {shown(name)} is undecided now: {table.reason}" for name, table in open_now.items()]
    found += [f"table {shown(name)} is gone" for name in before if name not in after and name not in open_now]
    return found


def words(table: TenantTable) -> str:
    """How a table's rows are told, for people."""
    if table.how == LEFT_OUT:
        return f"not stored ({table.reason})" if table.reason else "not stored"
    if table.how == SHARED:
        return "shared by all tenants, stored whole"
    ways = [f"column {table.column}"] if table.column is not None and not table.path else _ways(table)
    if table.how in (COLUMN, REFERENCE):
        return "; and ".join(ways)
    return f"the source's policies{', checked by ' if ways else ''}{'; and '.join(ways)}"


def _ways(table: TenantTable) -> list[str]:
    if table.column is None:
        return []
    paths = [(table.path, table.column), *((more.steps, more.column) for more in table.more_paths)]
    return [
        " → ".join([*(f"{step.constraint} → {shown((step.schema, step.name))}" for step in steps), column])
        for steps, column in paths
    ]
