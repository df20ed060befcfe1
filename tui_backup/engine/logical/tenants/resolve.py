"""Which tenant a table's rows belong to, told from the tenant column and from foreign keys.

A table with the tenant column is decided by it. Any other is decided by its foreign keys: each that leads to a decided
table is a way to the owner. Keys that cannot be NULL come first, and where a table has one, all its ways count, and a
backup checks that they agree for every row. A table whose ways may all be NULL is decided only where there is exactly
one and no key leads back to the table itself, for a row without that key might still belong to somebody by the other.
Whatever cannot be told is left undecided, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from tui_backup.engine.logical.names import shown
from tui_backup.engine.logical.tenants.facts import ColumnFact, Facts, KeyFact, TableFact
from tui_backup.engine.logical.tenants.settings import TableRule, TenantMapSettings
from tui_backup.manifest import TenantPath, TenantStep, TenantTable

_MOST_WAYS = 32

COLUMN, REFERENCE, POLICIES, SHARED, LEFT_OUT = "column", "reference", "policies", "shared", "left_out"


@dataclass(frozen=True, slots=True)
class Undecided:
    """A table that belongs to nobody yet. ``keys`` are the foreign keys that could be chosen."""

    schema: str
    name: str
    reason: str
    keys: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """For people."""
        return shown((self.schema, self.name))


@dataclass(frozen=True, slots=True)
class _Way:
    """A path, and the tables (as wholes) that it leads through."""

    path: TenantPath
    through: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Group:
    """One foreign key of a table with all ways of the table that it leads to."""

    key: KeyFact
    ways: tuple[_Way, ...]


@dataclass(frozen=True, slots=True)
class _Choice:
    """How a table was decided: ``cover`` are the ways that whoever refers to it has to go."""

    groups: tuple[_Group, ...] = ()
    cover: tuple[_Way, ...] = ()


class Resolver:
    """Decides every table of a database.

    Args:
        facts: the live catalog.
        settings: the source's.
        rules: the exceptions, by the table's oid.
    """

    def __init__(self, facts: Facts, settings: TenantMapSettings, rules: Mapping[int, TableRule]) -> None:
        self._facts, self._settings, self._rules = facts, settings, rules
        self._units = {table.oid: table for table in facts.units}
        self._problems: dict[int, Undecided] = {}
        self._choices: dict[int, _Choice] = {}

    def run(self) -> tuple[list[TenantTable], list[Undecided]]:
        """The decided tables and the others, each by name."""
        while self._round():
            pass
        found: list[TenantTable] = []
        undecided: list[Undecided] = []
        for unit in self._units.values():
            outcome = self._outcome(unit)
            if isinstance(outcome, TenantTable):
                found.append(outcome)
            else:
                undecided.append(outcome)
        return found, undecided

    # -- deciding -----------------------------------------------------------------------------------------------

    def _round(self) -> bool:
        """Decide all that can be; True when a table turned out to be ambiguous, and all must be looked at again."""
        self._choices = {}
        for oid in self._units:
            column = self._column(oid)
            if column is not None:
                way = _Way(TenantPath(steps=[], column=column.name, operator=column.operator, cast=column.cast))
                self._choices[oid] = _Choice(cover=(way,))
        while self._extend(self._by_rule) or self._extend(self._by_required_key) or self._extend(self._by_any_key):
            pass
        ambiguous = [self._ambiguity(oid) for oid in self._choices]
        new = {unit.oid: problem for unit, problem in filter(None, ambiguous)}
        self._problems |= new
        return bool(new)

    def _extend(self, decide: Callable[[int], _Choice | None]) -> bool:
        """One step outwards, so that the shortest ways are found first."""
        waiting = [oid for oid in self._units if oid not in self._choices and oid not in self._problems]
        found = {oid: choice for oid in waiting if (choice := decide(oid)) is not None}
        self._choices |= found
        return bool(found)

    def _column(self, oid: int) -> ColumnFact | None:
        rule = self._rules.get(oid)
        if rule is not None and rule.column is None:
            return None
        name = rule.column if rule is not None else self._settings.column
        return self._facts.columns[oid].get(name) if name is not None else None

    def _by_rule(self, oid: int) -> _Choice | None:
        rule = self._rules.get(oid)
        if rule is None or not rule.keys:
            return None
        keys = {key.name: key for key in self._facts.keys[oid]}
        chosen = [keys[name] for name in rule.keys if name in keys and not keys[name].period]
        groups = [self._group(key) for key in chosen]
        if len(chosen) != len(rule.keys) or not all(groups):
            return None
        ways = tuple(way for group in groups if group for way in group.ways)
        return _Choice(tuple(group for group in groups if group), ways) if len(ways) <= _MOST_WAYS else None

    def _by_required_key(self, oid: int) -> _Choice | None:
        return self._first(oid, [key for key in self._free_keys(oid) if key.required])

    def _by_any_key(self, oid: int) -> _Choice | None:
        keys = self._free_keys(oid)
        waits = any(key.required and self._may_come(self._unit_of(key), oid) for key in keys)
        return None if waits else self._first(oid, keys)

    def _may_come(self, parent: int, child: int) -> bool:
        return (
            parent != child and parent in self._units and parent not in self._choices and not self._is_settled(parent)
        )

    def _first(self, oid: int, keys: Sequence[KeyFact]) -> _Choice | None:
        groups = [group for key in keys if (group := self._group(key))]
        return _Choice(tuple(groups[:1]), groups[0].ways) if groups else None

    def _free_keys(self, oid: int) -> list[KeyFact]:
        """The keys that decide without being told to: those that every row obeys."""
        if oid in self._rules or self._units[oid].belongs_to is not None:
            return []
        return [key for key in self._facts.keys[oid] if key.holds and not key.period]

    def _unit_of(self, key: KeyFact) -> int:
        parent = self._facts.tables.get(key.parent)
        return parent.root if parent is not None else key.parent

    def _group(self, key: KeyFact) -> _Group | None:
        """The ways that begin with a key; None when what it refers to is not decided."""
        unit = self._unit_of(key)
        choice = self._choices.get(unit)
        if choice is None or len(choice.cover) > _MOST_WAYS:
            return None
        return _Group(key, tuple(_longer(key, unit, way) for way in choice.cover))

    def _ambiguity(self, oid: int) -> tuple[TableFact, Undecided] | None:
        """All ways of a table decided by its keys; a problem when they are several and may all be NULL."""
        choice = self._choices[oid]
        unit = self._units[oid]
        if not choice.groups or oid in self._rules:
            return None
        groups = [group for key in self._free_keys(oid) if (group := self._group(key))]
        straight = [group for group in groups if all(oid not in way.through for way in group.ways)]
        if choice.groups[0].key.required:
            self._choices[oid] = _Choice(tuple(straight), choice.cover)
            return None
        if len(groups) == 1:
            return None
        names = tuple(group.key.name for group in groups)
        reason = f"foreign keys {', '.join(names)} may all be NULL, and each could tell the owner"
        return unit, Undecided(unit.schema, unit.name, reason, names)

    # -- saying it ----------------------------------------------------------------------------------------------

    def _outcome(self, unit: TableFact) -> TenantTable | Undecided:
        rule = self._rules.get(unit.oid)
        if rule is not None and (rule.left_out or rule.shared == "never"):
            reason = "left out on purpose" if rule.left_out else "shared by all tenants, never restored"
            return TenantTable(schema=unit.schema, name=unit.name, how=LEFT_OUT, reason=reason)
        if rule is not None and rule.shared:
            return TenantTable(schema=unit.schema, name=unit.name, how=SHARED)
        decided = self._decided(unit)
        if self._settings.rows_by == POLICIES and self._facts.has_policies(unit):
            base = decided or TenantTable(schema=unit.schema, name=unit.name, how=POLICIES)
            return msgspec.structs.replace(base, how=POLICIES)
        if decided is not None:
            return decided
        if rule is None and unit.belongs_to is not None:
            reason = f"belongs to {unit.belongs_to}"
            return TenantTable(schema=unit.schema, name=unit.name, how=LEFT_OUT, reason=reason)
        return self._problems.get(unit.oid) or self._undecided(unit, rule)

    def _decided(self, unit: TableFact) -> TenantTable | None:
        choice = self._choices.get(unit.oid)
        if choice is None:
            return None
        ways = [way.path for group in choice.groups for way in group.ways] or [choice.cover[0].path]
        first, *more = ways
        return TenantTable(
            schema=unit.schema,
            name=unit.name,
            how=REFERENCE if first.steps else COLUMN,
            column=first.column,
            path=first.steps,
            operator=first.operator,
            cast=first.cast,
            more_paths=more,
        )

    def _undecided(self, unit: TableFact, rule: TableRule | None) -> Undecided:
        usable = tuple(key.name for key in self._facts.keys[unit.oid] if not key.period and self._group(key))
        return Undecided(unit.schema, unit.name, self._reason(unit, rule), usable)

    def _reason(self, unit: TableFact, rule: TableRule | None) -> str:
        if rule is not None and rule.column is not None:
            return f"it has no column {rule.column!r}, which the settings name"
        if rule is not None:
            known = {key.name: key for key in self._facts.keys[unit.oid]}
            missing = [name for name in rule.keys if name not in known]
            if missing:
                return f"it has no foreign key {missing[0]!r}, which the settings name"
            return f"foreign key {_listed(rule.keys)} leads to no table that is a tenant's"
        targets = {self._unit_of(key) for key in self._facts.keys[unit.oid]} - {unit.oid}
        waiting = [
            shown(self._units[oid].key)
            for oid in targets
            if oid in self._units and oid not in self._choices and not self._is_shared(oid)
        ]
        if waiting:
            return f"it refers to {_listed(sorted(waiting))}, which is undecided"
        if self._settings.rows_by == POLICIES and unit.has_policies:
            return "its partitions have no row-level security of their own"
        return f"no column {self._settings.column!r}, and no foreign key leads to a table that has it"

    def _is_settled(self, oid: int) -> bool:
        """Whether no foreign key may ever lead to a tenant by this table."""
        return oid in self._problems or self._is_shared(oid)

    def _is_shared(self, oid: int) -> bool:
        rule = self._rules.get(oid)
        return rule is not None and (rule.left_out or rule.shared is not None)


def _longer(key: KeyFact, unit: int, way: _Way) -> _Way:
    """The way that goes by a foreign key first."""
    plain = all(operator == ("pg_catalog", "=") for operator in key.operators)
    step = TenantStep(
        constraint=key.name,
        columns=list(key.columns),
        schema=key.parent_schema,
        name=key.parent_name,
        referenced_columns=list(key.referenced),
        operators=[] if plain else list(key.operators),
        collations=list(key.collations) if any(key.collations) else [],
        partitioned=key.parent_partitioned,
    )
    return _Way(msgspec.structs.replace(way.path, steps=[step, *way.path.steps]), (unit, *way.through))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
