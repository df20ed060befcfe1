"""A migrated catalog with two tenants, every role, an agent, a gateway and strangers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, LiteralString, cast
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from tests.servers import TestServer
from tui_backup.catalog.migrate import migrate

PASSWORD = "a password of 'tests': \\ with everything"
OWNER = "tui_backup_owner"
AGENT = "w_agent"
GATEWAY = "w_gateway"
STRANGER = "w_stranger"
ROLES = ("admin", "operator", "employee")
TENANTS = ("acme", "globex")
# in both tenants, as admin of the first and employee of the second
BOTH = "w_both"


def login_of(tenant: str, role: str) -> str:
    """The login of a tenant's member."""
    return f"w_{tenant}_{role}"


@dataclass
class World:
    """One catalog database of a test."""

    server: TestServer
    database: str
    tenants: dict[str, UUID] = field(default_factory=dict)
    users: dict[str, UUID] = field(default_factory=dict)
    _superuser: psycopg.Connection[dict[str, Any]] | None = None

    def dsn(self, login: str) -> str:
        """A URI with the login's password."""
        return self.server.dsn(self.database, login, PASSWORD)

    def connect(self, login: str, *, tenant: UUID | str | None = None) -> psycopg.Connection[dict[str, Any]]:
        """An autocommit session of a login; close it."""
        connection = psycopg.connect(self.dsn(login), autocommit=True, row_factory=dict_row)
        if tenant is not None:
            connection.execute("SELECT set_config('tui_backup.tenant', %s, false)", (str(tenant),))
        return connection

    def run(
        self, login: str, statement: str, params: Any = None, *, tenant: UUID | None = None
    ) -> list[dict[str, Any]]:
        """One statement in a session of its own."""
        with self.connect(login, tenant=tenant) as connection:
            cursor = connection.execute(statement, params)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def superuser(self, statement: str, params: Any = None) -> list[dict[str, Any]]:
        """One statement as superuser, past every policy."""
        cursor = self._past_policies().execute(statement, params)  # type: ignore[arg-type]
        return cursor.fetchall() if cursor.description else []

    def _past_policies(self) -> psycopg.Connection[dict[str, Any]]:
        if self._superuser is None or self._superuser.closed:
            self._superuser = psycopg.connect(self.server.dsn(self.database), autocommit=True, row_factory=dict_row)
        return self._superuser

    def close(self) -> None:
        """End the superuser's session."""
        if self._superuser is not None:
            self._superuser.close()

    def empty(self) -> None:
        """Forget everything but tenants and members."""
        self.superuser(
            "TRUNCATE tui_backup.source_shares, tui_backup.repository_shares,"
            " tui_backup.sources, tui_backup.repositories, tui_backup.agents, tui_backup.progress,"
            " tui_backup.backup_schedules, tui_backup.backup_jobs, tui_backup.backup_restore_logs,"
            " tui_backup.backup_verifications, tui_backup.stored_objects, tui_backup.stored_sizes,"
            " tui_backup_queue.procrastinate_jobs,"
            " tui_backup_queue.procrastinate_workers, tui_backup_queue.procrastinate_events,"
            " tui_backup_queue.procrastinate_periodic_defers"
        )

    # -- rows --------------------------------------------------------------------------------------------------------

    def add_source(self, tenant: str, name: str = "shop", **columns: Any) -> UUID:
        """A source, put in as superuser."""
        return self._insert("sources", tenant_id=self.tenants[tenant], source_name=name, **{"conninfo": "", **columns})

    def add_repository(self, tenant: str, name: str = "local", **columns: Any) -> UUID:
        """A repository."""
        given = {"location": "/nowhere", "is_default": True, **columns}
        return self._insert("repositories", tenant_id=self.tenants[tenant], repository_name=name, **given)

    def add_agent(self, *, silent_s: float = 0, stopped: bool = False) -> UUID:
        """An agent that gave its last sign of life so many seconds ago."""
        rows = self.superuser(
            "INSERT INTO tui_backup.agents (id, host, pid, version, heartbeat_at, stopped_at)"
            " VALUES (gen_random_uuid(), 'h', 1, '0', now() - %s * interval '1 s', CASE WHEN %s THEN now() END)"
            " RETURNING id",
            (silent_s, stopped),
        )
        return rows[0]["id"]

    def add_job(self, tenant: str, source: UUID, repository: UUID, status: str = "completed", **columns: Any) -> UUID:
        """A job in some state."""
        facts: dict[str, Any] = {}
        if status == "completed":
            facts = {"storage_path": "k", "backup_size": 10, "compressed_size_bytes": 5, "duration_seconds": 3}
        if status == "failed":
            facts = {"error_message": "no"}
        columns = {"job_type": "full", **facts, **columns}
        ended = status in ("completed", "failed", "cancelled")
        if ended and "completed_at" not in columns:
            columns["completed_at"] = self.superuser("SELECT now() AS n")[0]["n"]
        return self._insert(
            "backup_jobs",
            tenant_id=self.tenants[tenant],
            source_id=source,
            repository_id=repository,
            status=status,
            **columns,
        )

    def add_restore(self, tenant: str, job: UUID, source: UUID, status: str = "completed", **columns: Any) -> UUID:
        """A restore in some state."""
        given = {"restore_type": "full", "target": "new_database", "target_database": "d", **columns}
        return self._insert(
            "backup_restore_logs",
            tenant_id=self.tenants[tenant],
            backup_job_id=job,
            target_source_id=source,
            status=status,
            **given,
        )

    def add_verification(self, tenant: str, job: UUID, status: str, **columns: Any) -> UUID:
        """A verification in some state."""
        return self._insert(
            "backup_verifications", tenant_id=self.tenants[tenant], backup_job_id=job, status=status, **columns
        )

    def add_stored(self, tenant: str, source: UUID, repository: UUID, name: str = "packs/aa/x", size: int = 5) -> None:
        """An object of a repository, entered as the agent does it."""
        self.run(
            AGENT,
            "INSERT INTO tui_backup.stored_objects (repository_id, object_name, source_id, tenant_id, bytes)"
            " VALUES (%s, %s, %s, %s, %s)",
            (repository, name, source, self.tenants[tenant], size),
        )

    def add_schedule(self, tenant: str, source: UUID, name: str = "nightly", **columns: Any) -> UUID:
        """A schedule."""
        given = {"cron_expression": "0 2 * * *", **columns}
        return self._insert(
            "backup_schedules", tenant_id=self.tenants[tenant], source_id=source, schedule_name=name, **given
        )

    def _insert(self, table: str, **columns: Any) -> UUID:
        statement = sql.SQL("INSERT INTO tui_backup.{} ({}) VALUES ({}) RETURNING id").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join(map(sql.Placeholder, columns)),
        )
        connection = self._past_policies()
        with connection.transaction():
            # a state of affairs is put in place here: nothing shall be queued or refused
            connection.execute("SET LOCAL session_replication_role = replica")
            (row,) = connection.execute(statement, columns).fetchall()
        return row["id"]


def make_login(server: TestServer, login: str, attributes: str = "") -> None:
    """A login with the tests' password, if it is not there."""
    if not server.execute(f"SELECT 1 FROM pg_roles WHERE rolname = '{login}'"):
        with server.connect() as connection:
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN {} PASSWORD {}").format(
                    sql.Identifier(login), sql.SQL(cast("LiteralString", attributes)), sql.Literal(PASSWORD)
                )
            )


def make_world(server: TestServer) -> World:
    """A new catalog on a server that has had none before."""
    for login in (OWNER, AGENT, GATEWAY, STRANGER, BOTH, *(login_of(t, r) for t in TENANTS for r in ROLES)):
        make_login(server, login, "CREATEROLE" if login == OWNER else "")
    world = World(server, server.create_database(owner=OWNER))
    asyncio.run(migrate(world.dsn(OWNER)))
    # as superuser: another catalog's owner may have made this server's group roles, and only that one could grant them
    world.superuser(f"GRANT tui_backup_agent TO {AGENT}")
    world.superuser(f"GRANT tui_backup_gateway TO {GATEWAY}")
    world.superuser(f"GRANT tui_backup_user TO {STRANGER}, {BOTH}")
    with world.connect(OWNER) as connection:
        for tenant in TENANTS:
            (row,) = connection.execute(
                "INSERT INTO tui_backup.tenants (tenant_name) VALUES (%s) RETURNING id", (tenant,)
            ).fetchall()
            world.tenants[tenant] = row["id"]
            for role in ROLES:
                world.superuser(f"GRANT tui_backup_user TO {login_of(tenant, role)}")
                _member(connection, world, login_of(tenant, role), row["id"], role)
        _member(connection, world, BOTH, world.tenants["acme"], "admin")
        _member(connection, world, BOTH, world.tenants["globex"], "employee", user=world.users[BOTH])
    return world


def _member(
    connection: psycopg.Connection[dict[str, Any]],
    world: World,
    login: str,
    tenant: UUID,
    role: str,
    *,
    user: UUID | None = None,
) -> None:
    (row,) = connection.execute(
        "INSERT INTO tui_backup.memberships (login, tenant_id, role, user_id)"
        " VALUES (%s, %s, %s, coalesce(%s::uuid, gen_random_uuid())) RETURNING user_id",
        (login, tenant, role, user),
    ).fetchall()
    world.users.setdefault(login, row["user_id"])
