"""What the console's measures stand on: the catalog W4, a real terminal line, CPU time of processes."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.fetch_postgres import find
from tests.integration.agent.installation import Installation
from tests.servers import TestServer

ROOT = Path(__file__).parents[2]
SIZE = (120, 40)
"""Columns and lines of the terminal."""
JOBS, TENANTS, SCHEDULES, SOURCES_EACH = 1_000_000, 200, 10_000, 5
USEFUL = re.compile(rb"inside RPO|shop")
"""The safety figures, or a row of the tenant's source: neither is painted before the catalog has answered."""

# Rows are put in place as they would lie after a year: no trigger shall queue work for the agent.
_PLACE = f"""
SET session_replication_role = replica;
SET search_path = tui_backup, pg_catalog;
INSERT INTO tenants (tenant_name, tenant_key)
SELECT 'crowd ' || n, 'crowd ' || n FROM generate_series(2, %(tenants)s) n;
INSERT INTO repositories (repository_name, location, tenant_id, is_default)
SELECT 'local', '/nowhere', t.id, true FROM tenants t WHERE t.tenant_name <> 'acme';
INSERT INTO sources (source_name, conninfo, tenant_id, updated_at)
SELECT 'shop' || CASE WHEN n > 1 THEN '-' || n ELSE '' END, '', t.id, now() - interval '1 day'
  FROM tenants t, generate_series(1, {SOURCES_EACH}) n WHERE n > 1 OR t.tenant_name <> 'acme';
CREATE TEMP TABLE places AS
SELECT t.id AS tenant_id, s.id AS source_id, r.id AS repository_id,
       (dense_rank() OVER (ORDER BY t.tenant_name <> 'acme', t.id)) - 1 AS tenant,
       row_number() OVER (PARTITION BY t.id ORDER BY s.source_name) - 1 AS source
  FROM tenants t JOIN sources s ON s.tenant_id = t.id JOIN repositories r ON r.tenant_id = t.id;
ANALYZE places;
-- no retention, and due tomorrow at the earliest: an agent that is alive finds nothing to do
INSERT INTO backup_schedules (schedule_name, cron_expression, next_run_at, retention_days, max_backups_count,
                              tenant_id, source_id, repository_id, updated_at)
SELECT 'nightly ' || n, '0 2 * * *', now() + interval '1 day' + n * interval '1 s', NULL, NULL,
       p.tenant_id, p.source_id, p.repository_id, now() - interval '1 day'
  FROM generate_series(0, %(schedules)s - 1) n
  JOIN places p ON p.tenant = n %% %(tenants)s AND p.source = (n / %(tenants)s) %% {SOURCES_EACH};
INSERT INTO backup_jobs (job_type, status, backup_name, tenant_id, created_at, started_at, completed_at, updated_at,
                         storage_path, backup_size, compressed_size_bytes, duration_seconds, tables_count, rows_count,
                         error_message, source_id, repository_id)
SELECT 'full', CASE WHEN ok THEN 'completed' ELSE 'failed' END, 'nightly ' || n, p.tenant_id, at, at,
       at + interval '90 s', at + interval '90 s', CASE WHEN ok THEN 'k/' || n END, CASE WHEN ok THEN 1000000 + n END,
       CASE WHEN ok THEN 300000 + n END, 90, 12, 1000 + n, CASE WHEN NOT ok THEN 'The source did not answer.' END,
       p.source_id, p.repository_id
  FROM (SELECT n, n %% 10 < 8 AS ok, now() - interval '10 minutes' - random() * interval '300 days' AS at,
               -- the rows beyond the catalog's number are the tenant's own
               CASE WHEN n < %(jobs)s THEN n %% %(tenants)s ELSE 0 END AS tenant,
               (n * 7919 / 200) %% {SOURCES_EACH} AS s
          FROM generate_series(0::bigint, %(jobs)s + %(extra)s - 1) n) g
  JOIN places p ON p.tenant = g.tenant AND p.source = g.s
 -- as in life the tenants' rows lie mixed
 ORDER BY random();
"""


class World:
    """PostgreSQL 18 with the catalog W4 and an installation that uses it.

    Args:
        folder: private.
        scale: 1.0 makes 1,000,000 jobs of 200 tenants with 10,000 schedules; the tenant's own 5,000 stay the same.
        tenant_jobs: at least so many jobs of the tenant itself.
        agent: lines for the configuration's ``[agent]``.
    """

    def __init__(self, folder: Path, scale: float, *, tenant_jobs: int = 0, agent: str = "") -> None:
        binaries = find(18)
        if binaries is None:
            sys.exit("PostgreSQL 18 is missing: python -m tests.fetch_postgres 18")
        settings = {"shared_buffers": "128MB", "max_wal_size": "8GB", "checkpoint_timeout": "30min"}
        self.folder = folder
        self.server = TestServer(binaries, fsync=True, settings=settings)
        try:
            self.server.start()
            self.installation = Installation(self.server, folder)
            self._fill(scale, tenant_jobs)
        except BaseException:
            self.server.close()
            raise
        with self.installation.config_file.open("a") as stream:
            stream.write(f"[agent]\n{agent}\n[tools]\nbin_dir = {str(self.server.bin_dir)!r}\n")

    def _fill(self, scale: float, tenant_jobs: int) -> None:
        tenants = max(2, round(TENANTS * scale))
        jobs = max(tenants * 10, round(JOBS * scale))
        numbers = {
            "tenants": tenants,
            "jobs": jobs,
            "schedules": max(tenants, round(SCHEDULES * scale)),
            "extra": max(0, tenant_jobs - jobs // tenants),
        }
        print(f"making W4: {jobs:,} jobs …", file=sys.stderr, flush=True)
        with self.server.connect(self.installation.catalog) as conn:
            for statement in _PLACE.split(";\n"):
                if statement.strip():
                    conn.execute((statement % numbers).encode())
        self.server.execute("VACUUM (ANALYZE)", self.installation.catalog)
        self.server.execute("CHECKPOINT")

    @property
    def environment(self) -> dict[str, str]:
        """Of the programs that are measured: nothing of the caller's own set-up."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TUI_BACKUP_", "PG", "XDG_", "COV_", "TEXTUAL"))
            and name not in ("NO_COLOR", "COLORTERM", "COLUMNS", "LINES")
        }
        ours = {"TUI_BACKUP_CONFIG": str(self.installation.config_file), "HOME": str(self.folder)}
        return {**kept, **ours, "TERM": "xterm-256color", "LANG": "C.UTF-8", "TZ": "UTC"}

    def server_cpu_s(self) -> float:
        """CPU seconds of the server's processes that are alive."""
        postmaster = int((self.server.data_dir / "postmaster.pid").read_text().split()[0])
        parent = psutil.Process(postmaster)
        return sum(_cpu_or_nothing(one) for one in (parent, *parent.children(recursive=True)))

    def close(self) -> None:
        """End agents and server."""
        try:
            self.installation.stop_agents()
        finally:
            self.server.close()


@contextmanager
def world(folder: Path, scale: float, *, tenant_jobs: int = 0, agent: str = "") -> Generator[World]:
    """A world that is closed at the end."""
    made = World(folder, scale, tenant_jobs=tenant_jobs, agent=agent)
    try:
        yield made
    finally:
        made.close()


def cpu_s(process: psutil.Process) -> float:
    """User and system CPU seconds of a process."""
    times = process.cpu_times()
    return times.user + times.system


def _cpu_or_nothing(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):
        return cpu_s(process)
    return 0.0


class Terminal:
    """A program on a pseudo-terminal that is its controlling terminal.

    Args:
        argv: the program; executed at once, without another interpreter before it.
        env: its environment.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self.seen = bytearray()
        self.started_s = time.perf_counter()
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
                os.chdir(ROOT)
                os.execve(argv[0], list(argv), dict(env))  # noqa: S606
            finally:
                os._exit(127)
        self.process = psutil.Process(self.pid)

    def read(self, seconds: float) -> bytes:
        """What is there, waiting at most so long for its first byte."""
        ready, _, _ = select.select([self.master], [], [], max(0.0, seconds))
        if not ready:
            return b""
        try:
            data = os.read(self.master, 65536)
        except OSError as error:  # Linux: the other end is closed
            raise RuntimeError(f"the program ended: {bytes(self.seen[-2000:])!r}") from error
        self.seen += data
        return data

    def collect(self, seconds: float) -> bytes:
        """All that comes within the time."""
        end = time.perf_counter() + seconds
        got = b""
        while (left := end - time.perf_counter()) > 0:
            got += self.read(left)
        return got

    def settle(self, quiet_s: float, limit_s: float = 60.0) -> None:
        """Read until nothing has come for a while."""
        end = time.perf_counter() + limit_s
        while self.read(quiet_s):
            if time.perf_counter() > end:
                raise RuntimeError("the dashboard never becomes quiet")

    def wait_for(self, pattern: re.Pattern[bytes], limit_s: float = 60.0) -> re.Match[bytes]:
        """Read until a pattern has come since the last :meth:`forget`."""
        end = time.perf_counter() + limit_s
        while not (found := pattern.search(self.seen)):
            left = end - time.perf_counter()
            if left < 0:
                raise RuntimeError(f"{pattern.pattern!r} did not come: {bytes(self.seen[-2000:])!r}")
            self.read(left)
        return found

    def forget(self) -> None:
        """Drop what has been read."""
        self.seen.clear()

    def send(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.master, keys)

    def close(self) -> None:
        """End the program, politely and then not, and wait for it."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        end = time.perf_counter() + 10
        while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
            if time.perf_counter() > end:
                os.kill(self.pid, signal.SIGKILL)
                end = float("inf")
            with suppress(RuntimeError):
                self.read(0.05)
        os.close(self.master)


@contextmanager
def dashboard(made: World) -> Generator[Terminal]:
    """``python -m tui_backup`` on a terminal line."""
    line = Terminal([sys.executable, "-m", "tui_backup"], made.environment)
    try:
        yield line
    finally:
        line.close()
