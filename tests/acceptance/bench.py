"""An installation to be maltreated: real agent, real server, every command watched for secrets and leftovers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from tests.integration.cli.console import Console
from tests.servers import TestServer
from tui_backup.catalog.connections import DATABASE
from tui_backup.config import load_config
from tui_backup.embedded import EmbeddedPostgres
from tui_backup.services.repositories import add_repository
from tui_backup.services.session import open_session
from tui_backup.services.sources import add_source

SHOP = """
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customers, note text);
INSERT INTO customers SELECT g, 'customer ' || g FROM generate_series(1, 100) g;
INSERT INTO orders SELECT g, 1 + g % 100, (SELECT string_agg(md5(g::text || i), '') FROM generate_series(1, 8) i)
  FROM generate_series(1, 16000) g;
"""
ORDERS = 16000
FINAL = ("completed", "failed", "cancelled")
_SUBJECTS = ("backup_jobs", "backup_restore_logs", "backup_verifications")
_LOOK_EVERY_S = 0.05


class ProcessWatch:
    """Looks at the argument lists of all processes (Linux) and keeps those that hold a secret."""

    def __init__(self, words: set[str]) -> None:
        self.words = words
        self.found: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        if Path("/proc/self/cmdline").exists():
            self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(_LOOK_EVERY_S):
            for entry in os.scandir("/proc"):
                if not entry.name.isdecimal():
                    continue
                # a process may end between the listing and the look
                with contextlib.suppress(OSError):
                    line = Path(entry.path, "cmdline").read_bytes().decode("utf-8", "replace")
                    # the tests' own S3 server takes its secret in no other way
                    if any(word in line for word in self.words) and "rclone\0serve" not in line:
                        self.found.add(line.replace("\0", " "))

    def close(self) -> None:
        """End the looking."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(5)


class Bench:
    """One tenant with the source ``shop`` in a server of its own, driven by commands alone.

    Args:
        server: may be stopped, restarted and filled by tests.
    """

    def __init__(self, server: TestServer) -> None:
        self.server = server
        # the hexadecimal part is what is looked for: it survives every way of quoting
        self._core = secrets.token_hex(12)
        self.password = f"{self._core} p@s:w/'\"\\%41é"
        self.words = {self._core}
        self.console = Console()
        self.console.env["TUI_BACKUP_TOOLS_BIN_DIR"] = str(server.bin_dir)
        self.console.env["TUI_BACKUP_AGENT_MAX_RETRIES"] = "0"
        self.console.env["TUI_BACKUP_AGENT_LOCK_TIMEOUT_SECONDS"] = "1"
        self.watch = ProcessWatch(self.words)
        self.shop = server.create_database("bench_shop")
        with server.connect(self.shop) as conn:
            conn.execute(SHOP)
            role = "CREATE ROLE bench LOGIN SUPERUSER PASSWORD {}"
            conn.execute(sql.SQL(role).format(sql.Literal(self.password)))
        self._good: dict[str, Any] | None = None
        self.ok("init")
        dsn = make_conninfo("", **self._settings)
        self.ok("source", "add", "shop", "--dsn", "-", stdin=dsn + "\n")
        self.databases = self.find_databases()
        self.content = self.find_content()

    def close(self) -> None:
        """End the agent, the embedded catalog and the watch."""
        try:
            self.console.close()
        finally:
            self.watch.close()

    # -- commands -----------------------------------------------------------------------------------------------

    def secret(self) -> str:
        """A new secret that must show nowhere from now on."""
        core = secrets.token_hex(12)
        self.words.add(core)
        return f"{core} '@:/"

    def run(self, *words: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command; whatever it is, it prints no secret and no traceback."""
        done = self.console.run(*words, stdin=stdin, timeout_s=120, **env)
        self.look_at(words, done.stdout, done.stderr)
        return done

    def look_at(self, words: tuple[str, ...], *texts: str) -> None:
        """What a command printed holds no secret and no sign of a defect."""
        for text in texts:
            assert not any(word in text for word in self.words), f"{words} prints a secret"
            assert "Traceback" not in text and "A defect of" not in text and "this is a bug" not in text, text

    def ok(self, *words: str, stdin: str = "", **env: str) -> Any:
        """Run a command with --json that must succeed; what it printed."""
        done = self.run(*words, "--json", stdin=stdin, **env)
        assert (done.returncode, done.stderr) == (0, ""), f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout) if done.stdout else None

    def fails(self, status: int, code: str, *words: str, stdin: str = "", **env: str) -> Failure:
        """Run a command with --json that must fail so; its error, which says what to do, and what it printed."""
        return self.failure(status, code, words, self.run(*words, "--json", stdin=stdin, **env))

    def failure(
        self, status: int, code: str, words: tuple[str, ...], done: subprocess.CompletedProcess[str]
    ) -> Failure:
        """The error of a finished command that must have failed so."""
        told = f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == status and done.stderr.count("\n") == 1, told
        error = json.loads(done.stderr)
        assert error["error"] == code, told
        assert error["message"] and error["hint"], told
        return Failure(error, json.loads(done.stdout) if done.stdout else None)

    @contextlib.contextmanager
    def running(self, *words: str) -> Generator[Waiting]:
        """A command that runs while the body spoils something; ended with the body."""
        process = self.console.start(*words, "--json")
        waiting = Waiting(self, process, words)
        try:
            yield waiting
        finally:
            process.kill()
            process.communicate()

    @property
    def _settings(self) -> dict[str, str | int]:
        return {
            "host": self.server.host,
            "port": self.server.port,
            "user": "bench",
            "password": self.password,
            "dbname": self.shop,
            "sslmode": "disable",
        }

    def add_source(self, **changes: str | int) -> str:
        """Register one more way to the shop, by the service itself to save a second; returns its name."""
        settings = {**self._settings, **changes}
        name = f"source-{secrets.token_hex(3)}"

        async def add() -> None:
            async with await open_session(load_config(self.console.env)) as session:
                await add_source(session, name, make_conninfo("", **settings))

        asyncio.run(add())
        return name

    def add_repository(self, name: str, location: str) -> None:
        """Register a repository by the service itself."""

        async def add() -> None:
            async with await open_session(load_config(self.console.env)) as session:
                await add_repository(session, name, location)

        asyncio.run(add())

    def good_job(self) -> dict[str, Any]:
        """A completed backup of ``shop``, made on first use."""
        good = self._good or self.ok("backup", "shop", "--name", "good", "--wait")
        self._good = good
        return good

    def failed_backup(self, code: str, source: str, *more: str) -> Failure:
        """A backup that must fail so; its row says the same as the error, and nothing of it is stored."""
        failure = self.fails(1, code, "backup", source, *more, "--wait")
        self.is_failed(failure)
        return failure

    def is_failed(self, failure: Failure) -> None:
        """The printed job is a failed one and holds the error."""
        job = failure.printed
        assert (job["status"], job["storage_path"]) == ("failed", None)
        assert job["error_message"] == failure.error["message"]
        assert job["error_details"]["hint"] == failure.error["hint"]
        assert job["completed_at"] and job["duration_seconds"] is not None

    @contextlib.contextmanager
    def agent(self, **env: str) -> Generator[None]:
        """Within it the agent runs with other settings."""
        before = dict(self.console.env)
        self.ok("agent", "stop")
        self.console.env |= env
        try:
            yield
        finally:
            self.console.env = before
            self.ok("agent", "stop")

    # -- what is there ------------------------------------------------------------------------------------------

    @property
    def repository(self) -> Path:
        """The default repository."""
        return self.console.folder / "xdg_data_home" / "tui-backup" / "repository"

    @staticmethod
    def objects(repository: Path, kind: str) -> set[str]:
        """Keys of the manifests or packs of a repository."""
        return {str(path.relative_to(repository)) for path in repository.glob(f"*/{kind}/**/*") if path.is_file()}

    def catalog(self, query: str) -> list[dict[str, Any]]:
        """Rows of the catalog, past all policies."""
        server = EmbeddedPostgres(self.console.state_dir)
        # an agent that stops takes the catalog's server with it
        server.ensure_running()
        with psycopg.connect(server.conninfo(DATABASE)) as conn:
            return conn.cursor(row_factory=dict_row).execute(query.encode()).fetchall()

    def find_databases(self) -> set[str]:
        """Names of the server's databases."""
        return {name for (name,) in self.server.execute("SELECT datname FROM pg_database")}

    def find_content(self) -> list[tuple[Any, ...]]:
        """What the live tables hold, and which tables there are."""
        return [
            *self.server.execute("SELECT count(*), md5(string_agg(t::text, '' ORDER BY id)) FROM orders t", self.shop),
            *self.server.execute(
                "SELECT count(*), md5(string_agg(t::text, '' ORDER BY id)) FROM customers t", self.shop
            ),
            *self.server.execute(
                "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND oid > 16383", self.shop
            ),
        ]

    @staticmethod
    def wait_for(condition: Callable[[], bool], timeout_s: float = 20) -> None:
        """Poll a condition."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.05)

    def is_reading(self) -> bool:
        """Whether a backup has begun to read rows."""
        return bool(self.catalog("SELECT 1 FROM tui_backup.progress WHERE bytes_done > 0"))

    # -- nothing lost, nothing left -----------------------------------------------------------------------------

    def assert_settled(self) -> None:
        """No work is stuck, nothing half-made is left, the live data is as it was, no secret has leaked."""
        for table in _SUBJECTS:
            assert self.catalog(f"SELECT * FROM tui_backup.{table} WHERE status IN ('pending', 'running')") == []
        assert self.catalog("SELECT * FROM tui_backup.progress") == []
        jobs = self.catalog("SELECT * FROM tui_backup.backup_jobs WHERE deleted_at IS NULL")
        for job in jobs:
            assert (job["status"] == "completed") == (job["storage_path"] is not None), job
            assert job["status"] == "completed" or job["error_details"]["hint"], job
        stored = {job["storage_path"] for job in jobs if job["storage_bucket"] == str(self.repository)}
        assert self.objects(self.repository, "manifests") == stored
        if not stored:
            assert self.objects(self.repository, "packs") == set()
        own = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'tui-backup %'"
        self.wait_for(lambda: not self.server.execute(own), 5)
        assert self.find_databases() == self.databases
        assert self.find_content() == self.content
        self.assert_no_secret()

    def assert_no_secret(self) -> None:
        """Not in a file but the passfile, not in a row of the catalog, not in an argument list."""
        assert self.watch.found == set()
        words = [word.encode() for word in self.words]
        logs = EmbeddedPostgres(self.console.state_dir).log_dir
        for folder in (self.console.folder, logs):
            for path in folder.rglob("*"):
                if path.is_file() and path.name != "pgpass" and self.repository not in path.parents:
                    data = path.read_bytes()
                    assert not any(word in data for word in words), path
        for table in self.catalog(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname !~ '^(pg_|information_schema)'"
        ):
            name = '"{schemaname}"."{tablename}"'.format(**table)
            for row in self.catalog(f"SELECT t::text AS row FROM {name} t"):
                assert not any(word in row["row"] for word in self.words), name


class Failure:
    """What a failed command said. ``printed`` is its stdout: the failed job or log, the refused plan, or None."""

    def __init__(self, error: dict[str, Any], printed: Any) -> None:
        self.error = error
        self.printed = printed

    @property
    def message(self) -> str:
        """What went wrong."""
        return str(self.error["message"])

    @property
    def hint(self) -> str:
        """What to do."""
        return str(self.error["hint"])


class Waiting:
    """A command that has not ended yet."""

    def __init__(self, bench: Bench, process: subprocess.Popen[str], words: tuple[str, ...]) -> None:
        self._bench, self._process, self._words = bench, process, words

    def _end(self) -> subprocess.CompletedProcess[str]:
        stdout, stderr = self._process.communicate(timeout=120)
        self._bench.look_at(self._words, stdout, stderr)
        return subprocess.CompletedProcess(self._words, self._process.returncode, stdout, stderr)

    def ok(self) -> Any:
        """Wait until it succeeds; what it printed."""
        done = self._end()
        assert done.returncode == 0, f"{self._words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def fails(self, status: int, code: str) -> Failure:
        """Wait until it fails so."""
        return self._bench.failure(status, code, self._words, self._end())
