"""The peers of an incremental: pg_dump, which knows none, pg_basebackup of PostgreSQL 17 and later, and pgbackrest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from tests.benchmarks.bench import Bench
from tests.benchmarks.measure import Run, clear, size, wait_until
from tests.fetch_postgres import MAJORS, find
from tui_backup.embedded.account import popen_options


class Peer(Protocol):
    """Something that an incremental is compared with."""

    name: str

    def parent(self) -> None:
        """Before the change: what the peer's incremental builds upon."""

    def changed(self) -> None:
        """After the change: wait for what the peer does by itself in the background."""

    def run(self) -> Run:
        """One timed run; the next one starts from the same state."""
        ...

    def note(self) -> str:
        """What the last run stored."""
        ...


class Dump:
    """pg_dump: reads everything each time."""

    def __init__(self, bench: Bench, database: str) -> None:
        self._bench, self._database = bench, database
        self.name = bench.dump_name

    def parent(self) -> None:
        """It needs none."""

    def changed(self) -> None:
        """It does nothing in the background."""

    def run(self) -> Run:
        """A whole dump."""
        return self._bench.dump(self._database)

    def note(self) -> str:
        """Bytes of the dump."""
        return f"peer {size(self._bench.folder / 'dump') / 1e6:.1f} MB"


SUMMARIES = {"summarize_wal": "on"}
"""What the server needs for :class:`BaseBackup`."""


class BaseBackup:
    """``pg_basebackup --incremental`` as tar, which is three times as fast as its folder of a thousand small files.

    Args:
        bench: its server has the settings :data:`SUMMARIES`.
        compress: a method as pg_basebackup takes it; None stores as it is, which no other peer does.
    """

    def __init__(self, bench: Bench, compress: str | None) -> None:
        self._bench = bench
        self.name = f"pg_basebackup {bench.server.major} -Ft {compress or 'uncompressed'}, incremental"
        self._form = ["-Ft", f"--compress={compress or 'none'}"]
        self._manifest = bench.folder / f"backup_manifest_{compress}"
        self._target = bench.folder / "basebackup"
        self._stored = 0

    def _run(self, *words: str) -> Run:
        clear(self._target)
        bench = self._bench
        argv = [bench.tools / "pg_basebackup", "-D", self._target, "-c", "fast", *self._form, *words]
        return bench.timed([*argv, "-d", bench.conninfo("postgres")])

    def parent(self) -> None:
        """A full one, of which only the manifest is needed."""
        self._run()
        shutil.copy(self._target / "backup_manifest", self._manifest)
        clear(self._target)

    def changed(self) -> None:
        """The server summarizes its WAL by itself, up to the last checkpoint."""
        query = (
            "SELECT coalesce(max(end_lsn) >= (SELECT redo_lsn FROM pg_control_checkpoint()), false)"
            " FROM pg_available_wal_summaries()"
        )
        wait_until(lambda: bool(self._bench.one(query)), "WAL summaries")

    def run(self) -> Run:
        """An incremental upon the full one, into an empty folder."""
        run = self._run(f"--incremental={self._manifest}")
        self._stored = size(self._target)
        return run

    def note(self) -> str:
        """Bytes of the incremental."""
        return f"peer {self._stored / 1e6:.1f} MB, whole cluster"


_CONFIG = """\
[global]
repo1-path={folder}/repo
lock-path={folder}/lock
spool-path={folder}/spool
log-level-file=off
log-level-console=warn
compress-type=zst
compress-level=1
process-max={jobs}
start-fast=y
repo1-bundle=y

[bench]
pg1-path={data}
pg1-socket-path={socket}
pg1-port={port}
pg1-user={user}
"""


class PgBackRest:
    """``pgbackrest --type=incr`` with its archive, under the server's account, over the unix socket.

    Args:
        bench: its server has ``archive_mode=on``.
        program: pgbackrest.
    """

    def __init__(self, bench: Bench, program: str) -> None:
        self._bench, self._program = bench, program
        self._account = bench.server.server.account
        self._folder = bench.server.base / "pgbackrest"
        self._stored = 0
        self.name = f"pgbackrest incr, PostgreSQL {bench.server.major}"
        server = bench.server
        config = {"data": server.data_dir, "socket": server.socket_dir, "port": server.port, "user": server.superuser}
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._config = self._folder / "pgbackrest.conf"
        self._config.write_text(_CONFIG.format(folder=self._folder, jobs=bench.jobs, **config))
        if self._account is not None:
            self._account.give(self._folder)
            self._account.give(self._config)

    def _argv(self, *words: str) -> list[str]:
        return [self._program, f"--config={self._config}", "--stanza=bench", *words]

    def _ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run it untimed."""
        return subprocess.run(
            self._argv(*words),
            env={**os.environ, **self._bench.env},
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
            **popen_options(self._account),
        )

    def _do(self, *words: str) -> str:
        answer = self._ask(*words)
        if answer.returncode:
            raise RuntimeError(f"pgbackrest {' '.join(words)}: {(answer.stderr or answer.stdout).strip()[-600:]}")
        return answer.stdout

    def knows_version(self) -> bool:
        """Whether it works with this version of the server; asked of it, before the server runs."""
        return self._ask("stanza-create", "--no-online").returncode == 0

    def parent(self) -> None:
        """A full backup; the archive starts before the first one."""
        command = " ".join(self._argv("archive-push", '"%p"'))
        if self._bench.one("SHOW archive_command") != command:
            self._bench.server.execute(f"ALTER SYSTEM SET archive_command = '{command}'")
            self._bench.server.execute("SELECT pg_reload_conf()")
            self._do("stanza-create")
        self._archived()
        self._do("backup", "--type=full")
        self._do("expire", "--repo1-retention-full=1")

    def changed(self) -> None:
        """The server archives its WAL by itself."""
        self._archived()

    def _archived(self) -> None:
        last = self._bench.one("SELECT pg_walfile_name(pg_switch_wal())")
        query = f"SELECT coalesce(last_archived_wal >= '{last}', false) FROM pg_stat_archiver"
        wait_until(lambda: bool(self._bench.one(query)), "archive")

    def run(self) -> Run:
        """An incremental upon the full one, which is expired at once, so that the next one has the same work."""
        run = self._bench.timed(self._argv("backup", "--type=incr"), account=self._account)
        newest = json.loads(self._do("info", "--output=json"))[0]["backup"][-1]
        if newest["type"] != "incr":
            raise RuntimeError("pgbackrest has made a full backup")
        self._stored = newest["info"]["repository"]["delta"]
        self._do("expire", f"--set={newest['label']}")
        return run

    def note(self) -> str:
        """Bytes of the incremental."""
        return f"peer {self._stored / 1e6:.1f} MB, whole cluster"


def pgbackrest_bench(folder: Path, scale: float, count: int, program: str) -> Bench:
    """A server of the newest version that this pgbackrest knows, not started.

    Raises:
        RuntimeError: there is none on this machine.
    """
    for major in sorted(MAJORS, reverse=True):
        if find(major) is None:
            continue
        # archived to nowhere until the first backup: the WAL of making the data is nobody's concern
        bench = Bench(folder, scale, count, major=major, settings={"archive_mode": "on", "archive_command": "true"})
        known = PgBackRest(bench, program).knows_version()
        clear(bench.server.base / "pgbackrest")
        if known:
            return bench
        print(f"pgbackrest does not know PostgreSQL {major}", file=sys.stderr)
        bench.close()
    raise RuntimeError("pgbackrest knows no server version of this machine")
