"""Migrations: plain .sql files, a ledger with checksums, one transaction a file, one program at a time.

Two components share the ledger. ``catalog`` is ours. ``queue`` is procrastinate's: its whole schema the first time, its
own migration files after that; all of them are recorded, so a newer version of the library applies only what is new.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from tui_backup import __version__
from tui_backup.catalog.failures import catalog_errors
from tui_backup.errors import CatalogUnavailableError, CatalogVersionError, PermissionRefusedError

CATALOG = "catalog"
QUEUE = "queue"
# Any number will do, as long as every version of the program uses the same one.
_LOCK_KEY = 0x7475_6962_6163_6B75
_LOCK_WAIT_S = 120
OWNER = "tui_backup_owner"
_MAKE_OWNER = b"""
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tui_backup_owner') THEN
        CREATE ROLE tui_backup_owner NOLOGIN CREATEROLE;
    END IF;
END
$$
"""

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of a component."""

    component: str
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the file's text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def _files(folder: Traversable, component: str) -> list[Migration]:
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [Migration(component, name, (folder / name).read_text(encoding="utf-8")) for name in names]


def shipped(component: str) -> list[Migration]:
    """The migrations that this program brings, in order.

    Args:
        component: ``catalog`` or ``queue``.
    """
    if component == CATALOG:
        return _files(resources.files("tui_backup.catalog") / "migrations", CATALOG)
    return _files(resources.files("procrastinate") / "sql" / "migrations", QUEUE)


def _queue_schema() -> str:
    return (resources.files("procrastinate") / "sql" / "schema.sql").read_text(encoding="utf-8")


def _queue_grants() -> str:
    return (resources.files("tui_backup.catalog") / "queue_grants.sql").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class CatalogState:
    """How the catalog stands to this program."""

    pending: Sequence[Migration]
    unknown: Sequence[str]
    changed: Sequence[str]
    written_by: str | None

    @property
    def is_current(self) -> bool:
        """Whether program and catalog fit."""
        return not (self.pending or self.unknown or self.changed)

    def check(self) -> None:
        """Refuse to work on a catalog of another version.

        Raises:
            CatalogVersionError: the catalog is newer, older, or was changed by hand.
        """
        self.check_not_newer()
        if self.pending:
            raise CatalogVersionError(
                f"The catalog is older than this program ({__version__}): {len(self.pending)} migrations are missing.",
                hint="Run `tui-backup upgrade`.",
            )

    def check_not_newer(self) -> None:
        """Refuse a catalog that a newer program wrote, or whose applied migrations are not ours.

        Raises:
            CatalogVersionError: see above.
        """
        if self.unknown:
            raise CatalogVersionError(
                f"The catalog was written by a newer program ({self.written_by}), this is {__version__}.",
                hint=f"Install tui-backup {self.written_by} or newer on this machine.",
            )
        if self.changed:
            raise CatalogVersionError(
                f"The catalog was made by other migration files than this program's: {', '.join(self.changed)}.",
                hint="Use the release of tui-backup that made this catalog; a changed copy cannot upgrade it.",
            )


async def read_state(connection: psycopg.AsyncConnection[Any]) -> CatalogState:
    """Compare ledger and program.

    Args:
        connection: any login that may read the catalog.

    Raises:
        CatalogVersionError: there is no catalog in this database.
        CatalogUnavailableError: the server does not answer.
    """
    with catalog_errors():
        cursor = connection.cursor(row_factory=tuple_row)
        await cursor.execute("SELECT to_regclass('tui_backup.schema_migrations') IS NOT NULL")
        found = await cursor.fetchone()
        if not found or not found[0]:
            raise CatalogVersionError("The database holds no catalog.", hint="Run `tui-backup init`.")
        await cursor.execute(
            "SELECT component, name, checksum, program FROM tui_backup.schema_migrations ORDER BY applied_at, name"
        )
        ledger = await cursor.fetchall()
    return _compare(ledger)


def _compare(ledger: Sequence[tuple[Any, ...]]) -> CatalogState:
    applied = {(component, name): checksum for component, name, checksum, _ in ledger}
    ours = {(m.component, m.name): m for m in (*shipped(QUEUE), *shipped(CATALOG))}
    unknown = [f"{component}/{name}" for component, name in applied if (component, name) not in ours]
    writers = [program for component, name, _, program in ledger if (component, name) not in ours]
    # the library may mend a comment in an old file of its own; in ours that is never right
    changed = [
        name
        for (component, name), checksum in applied.items()
        if component == CATALOG and (CATALOG, name) in ours and ours[CATALOG, name].checksum != checksum
    ]
    pending = [migration for key, migration in ours.items() if key not in applied]
    return CatalogState(pending, unknown, changed, writers[-1] if writers else None)


async def migrate(conninfo: str, *, passfile: Path | None = None) -> list[str]:
    """Bring the catalog in one database up to this program's version.

    Args:
        conninfo: connection string of the catalog's owner (owns the database, has CREATEROLE).
        passfile: libpq password file to use.

    Returns:
        The names of what was applied, in order; empty when nothing was missing.

    Raises:
        CatalogVersionError: the catalog is newer than this program, or was made by other files.
        CatalogUnavailableError: no connection, or another upgrade is under way for too long.
        PermissionRefusedError: the login lacks the rights.
    """
    extra: dict[str, Any] = {"passfile": str(passfile)} if passfile else {}
    with catalog_errors():
        connection = await psycopg.AsyncConnection.connect(
            conninfo, autocommit=True, connect_timeout=10, application_name="tui-backup upgrade", **extra
        )
    async with connection:
        try:
            with catalog_errors():
                return await _migrate_locked(connection)
        except PermissionRefusedError as exc:
            raise PermissionRefusedError(
                exc.message,
                hint="The catalog's owner must own the database and have CREATEROLE "
                "(CREATE ROLE … LOGIN CREATEROLE; CREATE DATABASE … OWNER …).",
            ) from exc


async def _migrate_locked(connection: Connection) -> list[str]:
    await _check_database(connection)
    await connection.execute("SET statement_timeout = 0")
    await connection.execute(sql.SQL("SET lock_timeout = {}").format(_LOCK_WAIT_S * 1000))
    try:
        await connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK_KEY,))
    except psycopg.errors.LockNotAvailable as exc:
        raise CatalogUnavailableError(
            "Another program has been upgrading this catalog for too long.",
            hint="See pg_stat_activity (application_name 'tui-backup upgrade') and try again.",
        ) from exc
    # the lock ends with the connection, whatever happens
    await _become_owner(connection)
    await _bootstrap(connection)
    state = await read_state(connection)
    state.check_not_newer()
    is_new = len(state.pending) == len(shipped(CATALOG)) + len(shipped(QUEUE))
    done: list[str] = []
    if is_new:
        done.append(await _apply_queue_schema(connection))
    for migration in state.pending:
        if migration.component == QUEUE and is_new:
            continue
        await _apply(connection, migration)
        done.append(migration.name)
    # always: an upgrade that was cut off may have added objects of the queue without them
    await _run(connection, _queue_grants(), "pg_catalog")
    return done


async def _check_database(connection: Connection) -> None:
    if connection.info.server_version < 140000:
        raise CatalogVersionError("The catalog needs PostgreSQL 14 or newer.", hint="Use a newer server.")
    if connection.info.parameter_status("server_encoding") != "UTF8":
        raise CatalogVersionError(
            "The catalog's database is not UTF8.", hint="CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
        )


async def _become_owner(connection: Connection) -> None:
    """Work as the catalog's owner where the login may; a superuser's catalog is given to a role that is none.

    Functions of the catalog run with their owner's rights, so the owner should have no more than it needs.
    """
    cursor = await connection.execute(
        "SELECT (SELECT r.rolname FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner"
        " WHERE n.nspname = 'tui_backup'), (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"
    )
    row = await cursor.fetchone()
    owner, is_superuser = row if row else (None, False)
    if owner is None and is_superuser:
        owner = OWNER
        await connection.execute(_MAKE_OWNER)
        await connection.execute(
            sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(
                sql.Identifier(connection.info.dbname), sql.Identifier(OWNER)
            )
        )
    if owner is not None:
        await connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(owner)))


async def _bootstrap(connection: Connection) -> None:
    """The ledger itself, which no migration can make."""
    found = await connection.execute("SELECT to_regclass('tui_backup.schema_migrations') IS NOT NULL")
    row = await found.fetchone()
    if row and row[0]:
        return
    text = (resources.files("tui_backup.catalog") / "ledger.sql").read_text(encoding="utf-8")
    async with connection.transaction():
        await connection.execute(text.encode())


async def _run(connection: Connection, text: str, search_path: str) -> None:
    async with connection.transaction():
        await connection.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(search_path)))
        await connection.execute(text.encode())


async def _apply(connection: Connection, migration: Migration) -> None:
    search_path = "tui_backup_queue" if migration.component == QUEUE else "pg_catalog"
    async with connection.transaction():
        await _run(connection, migration.text, search_path)
        await _record(connection, [migration])


async def _apply_queue_schema(connection: Connection) -> str:
    async with connection.transaction():
        await _run(connection, _queue_schema(), "tui_backup_queue")
        await _record(connection, shipped(QUEUE))
    return "queue schema.sql"


async def _record(connection: Connection, migrations: Sequence[Migration]) -> None:
    async with connection.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO tui_backup.schema_migrations (component, name, checksum, program) VALUES (%s, %s, %s, %s)",
            [(m.component, m.name, m.checksum, __version__) for m in migrations],
        )


async def check_version(conninfo: str) -> None:
    """Refuse to start on a catalog of another version.

    Args:
        conninfo: any login that may read the catalog.

    Raises:
        CatalogVersionError: the catalog is missing, newer, older, or was changed by hand.
        CatalogUnavailableError, AuthenticationError: no session.
    """
    with catalog_errors():
        connection = await psycopg.AsyncConnection.connect(
            conninfo, autocommit=True, connect_timeout=10, application_name="tui-backup"
        )
    async with connection:
        (await read_state(connection)).check()
