"""What a backup of one tenant reads: which tables, by which queries, as whom, and what it leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import psycopg
from psycopg import sql

from tui_backup import manifest
from tui_backup.engine.connection import map_error
from tui_backup.engine.logical import left_out
from tui_backup.engine.logical.cut import BlockRange, in_range
from tui_backup.engine.logical.names import literal, qualified, quote, shown
from tui_backup.engine.logical.relations import FOREIGN, MATVIEW, PARTITIONED, TABLE, Relation, Selection
from tui_backup.engine.logical.session import SourceSession
from tui_backup.engine.logical.tables import TableSource
from tui_backup.engine.logical.tenants.map import TenantMap, drift, read_tenant_map
from tui_backup.engine.logical.tenants.predicate import checked_condition, policy_check, tenant_condition
from tui_backup.engine.logical.tenants.resolve import COLUMN, LEFT_OUT, POLICIES, SHARED
from tui_backup.engine.logical.tenants.settings import TenantMapSettings
from tui_backup.errors import SourceChangedError, SourcePermissionError, SqlFailedError, ValidationError
from tui_backup.manifest import LeftOut, TenantScope, TenantTable

_ALIAS = "t"

# A chunk's rows are few beside those of a large table that they refer to, and many chunks refer to the same pages. With
# the usual 4.0 the server reads all of that table again for every chunk, where a look at its index for each row takes a
# sixteenth of the time (2 M rows, tried); with few rows of the tenant it still reads those and compares.
_FEW_PARENTS = "SET LOCAL random_page_cost = 1.1"

_ROLE_SQL = """
SELECT pg_has_role(oid, {member}), rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = {role}
"""


@dataclass(frozen=True, slots=True)
class TenantRequest:
    """Whose rows to back up.

    Args:
        tenant_id: of the tenant, for the manifest.
        key: its value in the tenant column.
        settings: of the source's tenant map.
        earlier: the tables of the newest earlier backup of the tenant; None when there is none.
    """

    tenant_id: UUID
    key: str
    settings: TenantMapSettings
    earlier: Sequence[TenantTable] | None = None


class TenantReading:
    """The tenant's side of one backup run.

    Args:
        request: whose rows.
    """

    def __init__(self, request: TenantRequest) -> None:
        self._request = request
        self._map = TenantMap(tables=())

    # -- what ---------------------------------------------------------------------------------------------------

    def select(self, session: SourceSession, relations: Sequence[Relation], *, is_standby: bool) -> Selection:
        """The tables that hold rows of the tenant or are shared; reads the map anew.

        Raises:
            TenantMapError: tables that belong to nobody.
        """
        try:
            self._map = read_tenant_map(session.connection, self._request.settings)
        except psycopg.Error as exc:
            session.stop.check()
            raise map_error(exc, "reading the tenant map") from exc
        self._map.require_decided()
        tables = [rel for rel in relations if rel.kind in (TABLE, PARTITIONED) and rel.is_ours]
        stored = {rel.oid for rel in tables if self._is_stored(rel) and not (is_standby and rel.persistence == "u")}
        return Selection(
            tables=[rel for rel in tables if rel.oid in stored],
            sequences=(),
            chosen=(),
            others=[rel for rel in tables if rel.oid not in stored],
            is_whole=False,
        )

    def _is_stored(self, rel: Relation) -> bool:
        entry = self._map.oids.get(rel.oid)
        return entry is not None and entry.how != LEFT_OUT

    def _entry(self, rel: Relation) -> TenantTable:
        entry = self._map.oids.get(rel.oid)
        if entry is None:
            raise SourceChangedError(f"Table {shown(rel.key)} came while the tenant map was read.")
        return entry

    @property
    def by_policies(self) -> bool:
        """Whether the source's own row-level security picks rows."""
        return self._request.settings.rows_by == POLICIES

    def check(self, session: SourceSession, selection: Selection) -> None:
        """In the snapshot, before anything is read: the key fits its columns, and the policies are in force.

        Raises:
            ValidationError: the key is no value of a tenant column's type, or the role cannot be used.
            SourcePermissionError: row security would not filter, or the role may not read.
        """
        readable = [rel for rel in selection.tables if rel.kind == TABLE]
        if self.by_policies:
            self._check_role(session)
            session.run("; ".join(self._as_role), what="taking the role of the policies")
            self._check_policies(session, readable)
            self._check_key(session, readable)
            session.run("RESET ROLE; SET LOCAL row_security = off", what="leaving the role of the policies")
        else:
            self._check_key(session, readable)

    def _check_key(self, session: SourceSession, relations: Sequence[Relation]) -> None:
        for rel in relations:
            query = f"{self._select_rows(rel, 'true', (0, None))} LIMIT 0"
            try:
                session.run(query, what=f"looking for the tenant in {shown(rel.key)}")
            except SqlFailedError as exc:
                if str(exc.details.get("sqlstate", ""))[:2] not in ("22", "42"):
                    raise
                raise ValidationError(
                    "tenant_key",
                    f"The tenant's key {self._request.key!r} cannot be compared with its column. {exc.message}",
                    hint="Give the tenant its value in the source's tenant column as its key.",
                    details=exc.details,
                ) from exc

    def _check_role(self, session: SourceSession) -> None:
        role = self._request.settings.role or ""
        member = "'SET'" if session.major >= 16 else "'MEMBER'"
        found = session.query(
            _ROLE_SQL.format(member=member, role=literal(role)), what="looking for the role of the policies"
        )
        if not found:
            raise ValidationError("role", f"The source has no role {role!r}, whom its policies shall be asked as.")
        (may_set, bypasses), *_ = found
        if bypasses:
            raise SourcePermissionError(
                f"Row security does not bind the role {quote(role)}.", hint="Name an ordinary role of the application."
            )
        if not may_set:
            user = session.parameters.user
            raise SourcePermissionError(
                f"The role {quote(user)} may not become {quote(role)}.", hint=f"GRANT {quote(role)} TO {quote(user)};"
            )

    def _check_policies(self, session: SourceSession, relations: Sequence[Relation]) -> None:
        guarded = [rel for rel in relations if self._entry(rel).how == POLICIES]
        rows = session.query(
            "SELECT oid::bigint FROM pg_class WHERE oid = ANY (%s::bigint[]::oid[]) AND NOT row_security_active(oid)",
            [[rel.oid for rel in guarded]],
            what="asking for row security",
        )
        open_ = {row[0] for row in rows}
        if names := [shown(rel.key) for rel in guarded if rel.oid in open_]:
            role = quote(self._request.settings.role or "")
            raise SourcePermissionError(
                f"Row security does not bind the role {role} on {', '.join(names)}.",
                hint="Name a role that is not the tables' owner, or ALTER TABLE … FORCE ROW LEVEL SECURITY.",
                details={"tables": names},
            )

    # -- how ----------------------------------------------------------------------------------------------------

    @property
    def _as_role(self) -> list[str]:
        """The statements that let the source's policies see the tenant, for the rest of the transaction."""
        settings = self._request.settings
        return [
            f"SET LOCAL ROLE {quote(settings.role or '')}",
            f"SELECT pg_catalog.set_config({literal(settings.setting or '')}, {literal(self._request.key)}, true)",
            "SET LOCAL row_security = on",
        ]

    @property
    def line_set_up(self) -> tuple[str, ...]:
        """What a reading session does after its locks."""
        return (_FEW_PARENTS, *(self._as_role if self.by_policies else ()))

    def query(self, table: TableSource, block_range: BlockRange) -> str:
        """The query whose COPY is one chunk of the tenant's rows; it fails at a row that is not only the tenant's."""
        columns = ", ".join(f"{_ALIAS}.{quote(column)}" for column in table.data_columns)
        return self._select_rows(table.relation, columns, block_range)

    def _select_rows(self, rel: Relation, columns: str, block_range: BlockRange) -> str:
        conditions = [*in_range(block_range, alias=_ALIAS)]
        if rel.condition:
            # an extension's: "WHERE …"
            conditions.append(f"({rel.condition.strip()[len('WHERE') :]})")
        conditions += [part.as_string(None) for part in (self._condition(rel),) if part is not None]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return f"SELECT {columns} FROM ONLY {qualified(*rel.key)} AS {_ALIAS}{where}"

    def _condition(self, rel: Relation) -> sql.Composed | None:
        entry, key = self._entry(rel), self._request.key
        if entry.how == SHARED:
            return None
        if entry.how == POLICIES:
            return policy_check(entry, key, alias=_ALIAS)
        return checked_condition(entry, key, alias=_ALIAS)

    # -- incremental --------------------------------------------------------------------------------------------

    def why_not_upon(self, parent: manifest.Contents) -> str | None:
        """Why nothing of a parent can be taken over; see INCREMENTAL.md, "Tenants"."""
        before = parent.tenant
        if before is None:
            return "the parent is of the whole database"
        if (before.tenant_id, before.key) != (self._request.tenant_id, self._request.key):
            return "the parent is another tenant's, or the tenant's key changed"
        return None

    def why_read_whole(self, parent: manifest.Contents, table: TableSource) -> str | None:
        """Why a table's chunks cannot be compared with the parent's."""
        entry = self._entry(table.relation)
        before = {(each.schema, each.name): each for each in parent.tenant.tables} if parent.tenant else {}
        if before.get((entry.schema, entry.name)) != entry:
            return "its rows are told in another way than in the parent"
        if entry.how == SHARED:
            return None
        if entry.how == POLICIES:
            return "the source's policies pick its rows"
        if entry.how != COLUMN:
            return "its rows are the tenant's by those of another table"
        column = next((column for column in table.columns if column.name == entry.column), None)
        if column is None or column.generated == "v":
            return "the tenant column is not stored"
        return None

    def check_condition(self, table: TableSource) -> str:
        """The condition that the check of a chunk counts under; the table is not aliased there."""
        entry = self._entry(table.relation)
        if entry.how == SHARED:
            return "true"
        return tenant_condition(entry, self._request.key, alias=table.relation.name).as_string(None)

    # -- what came of it ----------------------------------------------------------------------------------------

    def scope(self, hashes: Mapping[str, str]) -> TenantScope:
        """What the manifest says."""
        settings = self._request.settings
        return TenantScope(
            tenant_id=self._request.tenant_id,
            key=self._request.key,
            tables=list(self._map.tables),
            rows_by=settings.rows_by,
            role=settings.role if self.by_policies else None,
            setting=settings.setting if self.by_policies else None,
            content_hashes=dict(hashes),
            drift=self._drift(),
        )

    def _drift(self) -> list[str]:
        unknown = [f"the settings name table {name}, which is not there" for name in self._map.unknown]
        return unknown + (drift(self._request.earlier, self._map) if self._request.earlier is not None else [])

    def nothing_found(self, tables: Sequence[manifest.Table]) -> list[LeftOut]:
        """A word where no row is the tenant's: its key may be mistyped."""
        own = [table for table in tables if (entry := self._map.oids.get(table.oid)) and entry.how != SHARED]
        if any(table.rows for table in own):
            return []
        reason = f"see whether {self._request.key!r} is the tenant's key in this source"
        return [LeftOut(what="no row of any table is the tenant's", reason=reason)]

    def left_out(
        self, relations: Sequence[Relation], excluded: Iterable[Relation], *, is_standby: bool
    ) -> list[LeftOut]:
        """What the backup knowingly does not hold."""
        reason = "a backup of one tenant's rows holds nothing that belongs to no tenant"
        found = [LeftOut(what=what, reason=reason) for what in ("large objects", "positions of sequences")]
        found += [
            LeftOut(what=f"contents of materialised view {shown(rel.key)}", reason=reason)
            for rel in relations
            if rel.kind == MATVIEW
        ]
        found += [
            LeftOut(what=f"rows of table {shown((table.schema, table.name))}", reason=table.reason or "left out")
            for table in self._map.tables
            if table.how == LEFT_OUT
        ]
        found += [
            LeftOut(what=f"rows of table {name} whose {column} is NULL", reason="they belong to no tenant")
            for name, column in self._map.nobodys.items()
        ]
        if self.by_policies:
            role = quote(self._request.settings.role or "")
            reason = f"the source's own policies picked the rows, with row_security on, as role {role}"
            found.append(LeftOut(what="rows that row-level security hides", reason=reason))
        elsewhere = [rel for rel in relations if rel.kind == FOREIGN or (rel.kind == TABLE and rel.persistence == "u")]
        found += left_out.of_whole_database(elsewhere, is_standby=is_standby)
        return found + left_out.of_unreadable(excluded)
