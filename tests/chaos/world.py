"""What chaos is let loose on: a catalog, sources on servers of their own, a disk that can fill, agents."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, LiteralString, cast
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from tests.fetch_postgres import find
from tests.integration.agent.installation import AGENT, LOGINS, PASSWORD, Installation
from tests.servers import TestServer

DISK_MB = 1024
ACCOUNTS, BALANCE = 200, 1000
SOURCES = ("bank-a", "bank-b", "bank-c")

_BANK = f"""
CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL);
CREATE TABLE transfers (id bigint PRIMARY KEY, debit int NOT NULL, credit int NOT NULL, amount int NOT NULL, note text);
CREATE TABLE counter (only_one bool PRIMARY KEY DEFAULT true CHECK (only_one), transfers bigint NOT NULL);
CREATE TABLE ballast (id int PRIMARY KEY, filler text NOT NULL);
INSERT INTO accounts SELECT n, {BALANCE} FROM generate_series(1, {ACCOUNTS}) n;
INSERT INTO counter (transfers) VALUES (0);
INSERT INTO ballast SELECT n, md5(n::text) || md5((n * 7)::text) || repeat('x', 60) FROM generate_series(1, %(rows)s) n;
"""

_TRANSFER = """
WITH counted AS (UPDATE counter SET transfers = transfers + 1 RETURNING transfers),
     paid AS (UPDATE accounts SET balance = balance + CASE id WHEN %(credit)s THEN %(amount)s ELSE -%(amount)s END
               WHERE id IN (%(debit)s, %(credit)s) RETURNING id)
INSERT INTO transfers SELECT transfers, %(debit)s, %(credit)s, %(amount)s, repeat('n', 80) FROM counted
"""

# What happened to each run, kept by the catalog itself, whatever becomes of the agents' folders.
_DIARY = """
CREATE SCHEMA chaos;
CREATE TABLE chaos.diary (at timestamptz NOT NULL DEFAULT clock_timestamp(), kind text, id uuid, agent uuid,
                          status_before text, status text, token_before uuid, token uuid,
                          retries_before int, retries int);
CREATE FUNCTION chaos.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    o jsonb := to_jsonb(OLD);
    n jsonb := to_jsonb(NEW);
BEGIN
    IF o ->> 'status' <> n ->> 'status' OR (o ->> 'attempt_token') IS DISTINCT FROM (n ->> 'attempt_token')
       OR (o ->> 'retry_count') IS DISTINCT FROM (n ->> 'retry_count') THEN
        INSERT INTO chaos.diary (kind, id, agent, status_before, status, token_before, token, retries_before, retries)
        VALUES (TG_TABLE_NAME, (n ->> 'id')::uuid, (n ->> 'agent_id')::uuid, o ->> 'status', n ->> 'status',
                (o ->> 'attempt_token')::uuid, (n ->> 'attempt_token')::uuid,
                (o ->> 'retry_count')::int, (n ->> 'retry_count')::int);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER chaos AFTER UPDATE ON tui_backup.backup_jobs FOR EACH ROW EXECUTE FUNCTION chaos.note();
CREATE TRIGGER chaos AFTER UPDATE ON tui_backup.backup_restore_logs FOR EACH ROW EXECUTE FUNCTION chaos.note();
CREATE TRIGGER chaos AFTER UPDATE ON tui_backup.backup_verifications FOR EACH ROW EXECUTE FUNCTION chaos.note();
"""


class Agent:
    """One agent process, its machine's folder, and what the chaos has done to it."""

    def __init__(self, number: int, folder: Path) -> None:
        self.number = number
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.is_stopped = False

    @property
    def is_alive(self) -> bool:
        """Whether it runs and is not held by SIGSTOP."""
        return self.process is not None and self.process.poll() is None and not self.is_stopped

    def start(self, config_file: Path, log: Path) -> None:
        """Start it, after its folder was made if somebody has removed it."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        env = {**os.environ, "TUI_BACKUP_CONFIG": str(config_file), "TUI_BACKUP_STATE_DIR": str(self.folder)}
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-c", AGENT], env=env, start_new_session=True, stdout=stream, stderr=stream
            )
        self.is_stopped = False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the agent and to the programs that it has started."""
        if self.process is not None and self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            self.is_stopped = number == signal.SIGSTOP or (self.is_stopped and number == signal.SIGTERM)

    def end(self, patience_s: float = 40.0) -> bool:
        """End it politely; returns whether it went by itself."""
        if self.process is None or self.process.poll() is not None:
            return True
        self.signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self.process.wait()
            return False
        return True


class World:
    """Made by the constructor, taken away by :meth:`close`.

    Args:
        folder: private; servers make their own beside it.
        agents: how many.
        rows: of ballast in each source.
    """

    def __init__(self, folder: Path, *, agents: int, rows: int) -> None:
        self.folder = folder
        self.disk = folder / "disk"
        self.disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0711", "tmpfs", str(self.disk)]
        self.can_fill = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        self.servers: dict[str, TestServer] = {}
        try:
            for name in ("catalog", "sources-1", "sources-2"):
                self.servers[name] = self._server(name)
            self.installation = Installation(self.servers["catalog"], self.disk)
            self.tenant = self.installation.tenant
            self.repository = self.installation.repository_id
            self.location = self.disk / "repository"
            self.sources = {name: self._source(name, rows) for name in SOURCES}
            with self.catalog() as conn:
                conn.execute(cast("LiteralString", _DIARY))
            self.config_file = folder / "config.toml"
            self.config_file.write_text(
                self.installation.config_file.read_text()
                + f"[agent]\nconcurrency = 3\n[tools]\nbin_dir = {str(self.servers['catalog'].bin_dir)!r}\n"
            )
            self.agents = [Agent(number, folder / f"machine-{number}") for number in range(agents)]
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _server(name: str) -> TestServer:
        binaries = find(18)
        if binaries is None:
            sys.exit("PostgreSQL 18 is missing: python -m tests.fetch_postgres 18")
        # the catalog must lose nothing that it has said is there
        server = TestServer(binaries, fresh=True, fsync=name == "catalog")
        # no password file to lose: what is tried here is not the passwords
        hba = server.data_dir / "pg_hba.conf"
        if name != "catalog":
            hba.write_text(hba.read_text().replace("scram-sha-256", "trust"))
        server.start()
        return server

    def _source(self, name: str, rows: int) -> UUID:
        server = self.server_of(name)
        server.create_database(name)
        server.execute(_BANK % {"rows": rows}, name)
        with self.catalog() as conn:
            row = conn.execute(
                "INSERT INTO tui_backup.sources (source_name, conninfo, tenant_id) VALUES (%s, %s, %s) RETURNING id",
                [name, f"host={server.host} port={server.port} user={server.superuser} dbname={name}", self.tenant],
            ).fetchone()
        assert row
        return row["id"]

    def server_of(self, source: str) -> TestServer:
        """Where a source is."""
        return self.servers["sources-2" if source == SOURCES[-1] else "sources-1"]

    def catalog(self) -> psycopg.Connection[dict[str, Any]]:
        """The catalog as superuser."""
        server = self.servers["catalog"]
        return psycopg.connect(
            server.dsn(self.installation.catalog), autocommit=True, row_factory=dict_row, connect_timeout=5
        )

    def query(self, query: str, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Rows of the catalog."""
        with self.catalog() as conn:
            cursor = conn.execute(query.encode(), params)
            return cursor.fetchall() if cursor.description else []

    def as_admin(self, query: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Ask as the tenant's admin, as the command line does."""
        dsn = self.servers["catalog"].dsn(self.installation.catalog, LOGINS["admin"], PASSWORD)
        with psycopg.connect(dsn, autocommit=True, row_factory=dict_row, connect_timeout=5) as conn:
            cursor = conn.execute(query.encode(), params)
            return cursor.fetchall() if cursor.description else []

    def transfer(self, conn: psycopg.Connection[Any], debit: int, credit: int, amount: int) -> None:
        """One transfer, in one statement."""
        conn.execute(_TRANSFER, {"debit": debit, "credit": credit, "amount": amount})

    def start_agent(self, agent: Agent) -> None:
        """Start an agent of this world."""
        agent.start(self.config_file, self.folder / f"agent-{agent.number}.out")

    def owner_pids(self) -> set[int]:
        """Processes that are alive and may own runs."""
        return {agent.process.pid for agent in self.agents if agent.is_alive and agent.process}

    @property
    def filler(self) -> Path:
        """The file that fills the disk."""
        return self.disk / "filler"

    def fill_disk(self) -> None:
        """Leave no byte free on the repository's disk."""
        with self.filler.open("wb") as stream, suppress(OSError):
            while True:
                stream.write(b"\0" * 65536)
                stream.flush()

    def free_disk(self) -> None:
        """Give the space back."""
        self.filler.unlink(missing_ok=True)

    def close(self) -> None:
        """End everything."""
        for agent in getattr(self, "agents", []):
            agent.signal(signal.SIGKILL)
        time.sleep(0.2)
        for server in self.servers.values():
            server.close()
        if self.can_fill:
            subprocess.run(["umount", "-l", str(self.disk)], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
