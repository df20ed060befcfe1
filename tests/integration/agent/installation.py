"""A whole installation for tests: catalog, source, repository and real agent processes, without the services."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.servers import TestServer
from tui_backup.catalog.migrate import migrate
from tui_backup.config import Config, load_config
from tui_backup.repository.open import initialize, open_store

AGENT = "import sys; from tui_backup.agent.main import run_agent; from tui_backup.config import load_config; "
AGENT += "sys.exit(run_agent(load_config()))"

LOGINS = {"owner": "tb_owner", "admin": "tb_admin", "agent": "tb_agent"}
PASSWORD = "secret-of-a-test"


def make_catalog(server: TestServer) -> str:
    """A fresh catalog database, migrated by an owner that is no superuser; returns its name."""
    with server.connect() as conn:
        conn.autocommit = True
        for login, extra in ((LOGINS["owner"], "CREATEROLE"), (LOGINS["admin"], ""), (LOGINS["agent"], "")):
            if not conn.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [login]).fetchone():
                conn.execute(f"CREATE ROLE {login} LOGIN {extra} PASSWORD '{PASSWORD}'")
    name = server.create_database(owner=LOGINS["owner"])
    asyncio.run(migrate(server.dsn(name, LOGINS["owner"], PASSWORD)))
    with server.connect() as conn:
        conn.execute(f"GRANT tui_backup_user TO {LOGINS['admin']}")
        conn.execute(f"GRANT tui_backup_agent TO {LOGINS['agent']}")
    return name


class Installation:
    """One tenant, one source, one directory repository, and the agents that a test starts."""

    def __init__(self, server: TestServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.catalog = make_catalog(server)
        self.source_database = server.create_database()
        self.agents: list[subprocess.Popen[bytes]] = []
        self.tenant, self.source_id, self.repository_id = self._rows()
        self.config_file = folder / "config.toml"
        self.config_file.write_text(
            f'state_dir = "{folder}/state"\ndata_dir = "{folder}/data"\n'
            f'[catalog]\ndsn = "{server.dsn(self.catalog, LOGINS["admin"], PASSWORD)}"\n'
            f'agent_dsn = "{server.dsn(self.catalog, LOGINS["agent"], PASSWORD)}"\n'
        )

    def _rows(self) -> tuple[UUID, UUID, UUID]:
        location = self.folder / "repository"
        store = open_store(str(location))
        store.check(create=True)
        initialize(store)
        store.close()
        with self.connect() as conn:
            tenant = conn.execute(
                "INSERT INTO tui_backup.tenants (tenant_name) VALUES ('acme') RETURNING id"
            ).fetchone()
            assert tenant
            conn.execute(
                "INSERT INTO tui_backup.memberships (login, tenant_id, role) VALUES (%s, %s, 'admin')",
                [LOGINS["admin"], tenant["id"]],
            )
            source = conn.execute(
                "INSERT INTO tui_backup.sources (source_name, conninfo, tenant_id)"
                " VALUES ('shop', %s, %s) RETURNING id",
                [self.source_conninfo(), tenant["id"]],
            ).fetchone()
            repository = conn.execute(
                "INSERT INTO tui_backup.repositories (repository_name, location, tenant_id, is_default)"
                " VALUES ('local', %s, %s, true) RETURNING id",
                [str(location), tenant["id"]],
            ).fetchone()
            assert source and repository
            return tenant["id"], source["id"], repository["id"]

    def source_conninfo(self, port: int | None = None) -> str:
        """The source's connection string without a password; the password goes to the product's passfile."""
        state = self.folder / "state"
        state.mkdir(exist_ok=True, mode=0o700)
        passfile = state / "pgpass"
        escaped = self.server.password.replace("\\", "\\\\").replace(":", "\\:")
        passfile.write_text(f"*:*:*:{self.server.superuser}:{escaped}\n")
        passfile.chmod(0o600)
        return (
            f"host={self.server.host} port={port or self.server.port} user={self.server.superuser}"
            f" dbname={self.source_database}"
        )

    @property
    def config(self) -> Config:
        """What the agents of this installation read."""
        return load_config({"TUI_BACKUP_CONFIG": str(self.config_file), "HOME": str(self.folder)})

    def connect(self) -> psycopg.Connection[dict[str, Any]]:
        """The catalog as superuser, past all policies."""
        return psycopg.connect(self.server.dsn(self.catalog), autocommit=True, row_factory=dict_row)

    # -- agents ---------------------------------------------------------------------------------------------------

    def start_agent(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start an agent and wait until it is ready; a second one gets a state folder of its own."""
        state = self.folder / "state" if not self.agents else self.folder / f"state{len(self.agents)}"
        if self.agents:
            state.mkdir(exist_ok=True, mode=0o700)
            shutil.copy(self.folder / "state" / "pgpass", state / "pgpass")
        env = {
            **os.environ,
            "TUI_BACKUP_CONFIG": str(self.config_file),
            "TUI_BACKUP_STATE_DIR": str(state),
            **environment,
        }
        before = self.query("SELECT count(*) AS n FROM tui_backup.agents")[0]["n"]
        process = subprocess.Popen([sys.executable, "-c", AGENT], env=env, start_new_session=True)
        self.agents.append(process)
        self.wait(
            lambda: (
                process.poll() is not None or self.query("SELECT count(*) AS n FROM tui_backup.agents")[0]["n"] > before
            ),
            20,
        )
        assert process.poll() is None, (state / "log" / "agent.log").read_text()
        return process

    def stop_agents(self) -> None:
        """End every agent, politely and then not."""
        for process in self.agents:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.agents:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def log(self) -> str:
        """The first agent's log."""
        return (self.folder / "state" / "log" / "agent.log").read_text()

    # -- rows -----------------------------------------------------------------------------------------------------

    def query(self, query: str, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Rows of the catalog."""
        with self.connect() as conn:
            cursor = conn.execute(query, params)
            return cursor.fetchall() if cursor.description else []

    def queue(self, query: str, params: Mapping[str, Any] | None = None) -> None:
        """Change the queue's tables, whose triggers need their schema in the search path."""
        with self.connect() as conn:
            conn.execute("SET search_path = tui_backup_queue")
            conn.execute(query.encode(), params)

    def age(self, table: str, row_id: UUID) -> None:
        """Let a row look as if it had not changed for a minute."""
        with self.connect() as conn:
            conn.execute("SET session_replication_role = replica")
            conn.execute(
                f"UPDATE tui_backup.{table} SET updated_at = now() - interval '1 minute' WHERE id = %s".encode(),
                [row_id],
            )

    def backup(self, **columns: Any) -> UUID:
        """Ask for a backup."""
        values = {
            "job_type": "full",
            "tenant_id": self.tenant,
            "source_id": self.source_id,
            "repository_id": self.repository_id,
            **columns,
        }
        return self._insert("backup_jobs", values)

    def restore(self, job_id: UUID, target: str, **columns: Any) -> UUID:
        """Ask for a restore."""
        values = {
            "backup_job_id": job_id,
            "restore_type": "partial" if columns.get("chosen_tables") else "full",
            "tenant_id": self.tenant,
            "target": target,
            "target_source_id": self.source_id,
            **columns,
        }
        return self._insert("backup_restore_logs", values)

    def verify(self, job_id: UUID) -> UUID:
        """Ask for a verification."""
        return self._insert("backup_verifications", {"backup_job_id": job_id, "tenant_id": self.tenant})

    def as_admin(self, query: str) -> list[tuple[Any, ...]]:
        """Rows that the tenant's admin gets."""
        with psycopg.connect(self.server.dsn(self.catalog, LOGINS["admin"], PASSWORD), autocommit=True) as conn:
            return conn.execute(query.encode()).fetchall()

    def _insert(self, table: str, values: Mapping[str, Any]) -> UUID:
        names = ", ".join(values)
        marks = ", ".join(f"%({name})s" for name in values)
        adapted = {name: Jsonb(value) if isinstance(value, dict) else value for name, value in values.items()}
        # as the agent's login, which crosses tenants; a superuser without a membership belongs to none
        dsn = self.server.dsn(self.catalog, LOGINS["agent"], PASSWORD)
        with psycopg.connect(dsn, row_factory=dict_row) as conn:
            row = conn.execute(f"INSERT INTO tui_backup.{table} ({names}) VALUES ({marks}) RETURNING id", adapted)
            found = row.fetchone()
        assert found
        return found["id"]

    def row(self, table: str, row_id: UUID) -> dict[str, Any]:
        """One row."""
        return self.query(f"SELECT * FROM tui_backup.{table} WHERE id = %(id)s", {"id": row_id})[0]

    def finished(self, table: str, row_id: UUID, timeout_s: float = 60) -> dict[str, Any]:
        """Wait for a final state; the agent's log is shown when it does not come."""
        final = ("completed", "failed", "cancelled")
        try:
            self.wait(lambda: self.row(table, row_id)["status"] in final, timeout_s)
        except AssertionError:
            raise AssertionError(f"{self.row(table, row_id)}\n{self.log()}") from None
        return self.row(table, row_id)

    @staticmethod
    def wait(condition: Callable[[], bool], timeout_s: float) -> None:
        """Poll a condition."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.05)

    def close(self) -> None:
        """Stop agents and drop the databases."""
        self.stop_agents()
        self.server.drop_database(self.catalog)
        self.server.drop_database(self.source_database)
