"""Sources: the databases to back up."""

from __future__ import annotations

import asyncio
import getpass
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.json import Jsonb

from tui_backup.catalog import rows
from tui_backup.catalog.passfile import passfile_for, remember, split_password
from tui_backup.catalog.queries import query
from tui_backup.errors import ConfirmationRequiredError, NotFoundError, PermissionRefusedError, ValidationError
from tui_backup.model import PlanCheck, Source
from tui_backup.services.names import check_name
from tui_backup.services.session import Session

# Read from our environment when the source is added: the agent may run in another one.
_ENVIRONMENT = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "user": "PGUSER",
    "dbname": "PGDATABASE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
}


@dataclass(frozen=True, slots=True)
class SourceTest:
    """What a trial connection to a source showed. ``grants`` are statements that would mend missing rights."""

    server_version: str
    database: str
    user: str
    size_bytes: int
    tables: int
    is_standby: bool
    tls: bool
    tools: str
    problems: Sequence[PlanCheck]
    grants: Sequence[str]


@dataclass(frozen=True, slots=True)
class SourceTable:
    """One table of a source. ``quoted_name`` is what BackupJobInsert.tables takes; a partitioned table stands for all
    of its partitions; bytes are those of the heap."""

    schema: str
    name: str
    quoted_name: str
    rows_estimate: int
    bytes: int


async def add_source(
    session: Session, name: str, dsn: str, *, rpo_seconds: int = 86400, tenant_column: str | None = None
) -> Source:
    """Register a source. Nothing is tried; :func:`test_source` does that.

    Args:
        session: open.
        name: unique in the tenant.
        dsn: libpq connection string; a password in it goes to the product's passfile and nowhere else.
        rpo_seconds: the last good backup must not be older.
        tenant_column: name of the column that tells whose a row is; tenant_id when None.

    Raises:
        ValidationError: a name, DSN, RPO or column that cannot be used.
        AlreadyExistsError: the name is taken.
        PermissionRefusedError: only an admin may.
    """
    check_name("source_name", name)
    if not 60 <= rpo_seconds <= 10 * 365 * 86400:
        raise ValidationError("rpo_seconds", "The RPO must be a minute to ten years.")
    tenant_map: dict[str, str] = {}
    if tenant_column is not None:
        if not tenant_column:
            raise ValidationError("tenant_column", "The tenant column's name is empty.")
        tenant_map["column"] = tenant_column
    conninfo, password = split_password(dsn)
    conninfo = _complete(conninfo)
    async with session.catalog.transaction() as connection:
        cursor = await connection.execute(
            query("insert_source"),
            {
                "source_name": name,
                "conninfo": conninfo,
                "rpo_seconds": rpo_seconds,
                "tenant_map": Jsonb(tenant_map),
            },
        )
        row = await cursor.fetchone()
        if password is not None:
            # before the commit: a source whose password was lost on the way must not come into being
            await asyncio.to_thread(remember, session.config.passfile, conninfo, password)
    if row is None:
        raise PermissionRefusedError("Your role may not do this.")
    return rows.source(row)


def _complete(conninfo: str) -> str:
    """Write down what libpq would take from this environment, since the agent may run in another one."""
    parts = conninfo_to_dict(conninfo)
    if not parts.get("service"):
        for keyword, variable in _ENVIRONMENT.items():
            if keyword not in parts and os.environ.get(variable):
                parts[keyword] = os.environ[variable]
        parts.setdefault("user", getpass.getuser())
    for keyword in ("sslrootcert", "sslcert", "sslkey", "passfile"):
        value = str(parts.get(keyword) or "")
        if value and value != "system":
            parts[keyword] = str(Path(value).expanduser().absolute())
    return make_conninfo("", **parts)


async def get_sources(session: Session) -> list[Source]:
    """All sources of the tenant, by name."""
    return [rows.source(row) for row in await session.catalog.rows("sources")]


async def get_source(session: Session, name: str) -> Source:
    """One source by name or full id.

    Raises:
        NotFoundError: there is none, or it is another tenant's.
    """
    row = await session.catalog.row("source", {"name": str(name)})
    if row is None:
        raise NotFoundError(f"There is no source {name!r}.", hint="See `tui-backup source list`.")
    return rows.source(row)


def passfile_of(session: Session, source: Source) -> Path | None:
    """The product's passfile when it holds this source's password; libpq's own places count otherwise."""
    return passfile_for(session.config.passfile, source.conninfo)


async def test_source(session: Session, name: str) -> SourceTest:
    """Connect to a source and look whether a backup would work: version, rights, client tools, encryption.

    Raises:
        NotFoundError: no such source.
        TuiBackupError: no connection; the class says why.
    """
    source = await get_source(session, name)
    bin_dir = session.config.settings.tools.bin_dir

    def look() -> SourceTest:
        from tui_backup.services.source_facts import look

        facts = look(source.conninfo, passfile_of(session, source), Path(bin_dir) if bin_dir else None)
        return SourceTest(
            server_version=facts.server_version,
            database=facts.database,
            user=facts.user,
            size_bytes=facts.size_bytes,
            tables=facts.tables,
            is_standby=facts.is_standby,
            tls=facts.tls,
            tools=facts.tools,
            problems=facts.problems,
            grants=facts.grants,
        )

    return await asyncio.to_thread(look)


test_source.__test__ = False  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]


async def list_source_tables(session: Session, name: str) -> list[SourceTable]:
    """The tables of a source that a backup can take, by name.

    Raises:
        NotFoundError: no such source.
        TuiBackupError: no connection.
    """
    source = await get_source(session, name)

    def read() -> list[SourceTable]:
        from tui_backup.services.source_facts import list_tables

        return [
            SourceTable(table.schema, table.name, table.quoted_name, table.rows_estimate, table.bytes)
            for table in list_tables(source.conninfo, passfile_of(session, source))
        ]

    return await asyncio.to_thread(read)


async def remove_source(session: Session, name: str, *, confirm: bool) -> None:
    """Forget a source. One that backups, schedules or restores refer to stays.

    Raises:
        ConfirmationRequiredError: not confirmed.
        NotFoundError: no such source.
        JobStateError: something refers to it.
        PermissionRefusedError: only an admin may.
    """
    source = await get_source(session, name)
    if not confirm:
        raise ConfirmationRequiredError(
            f"The source {source.source_name} would be forgotten.", hint="Repeat the command with --confirm."
        )
    done = await session.catalog.row("delete_source", {"id": source.id})
    if not done or not done["done"]:
        raise NotFoundError(f"The source {source.source_name} is gone already.")
