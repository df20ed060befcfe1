"""Real PostgreSQL servers for tests.

A server is started when the first test asks for it, and once a session (and once an xdist worker). A watchdog process
stops it and removes its folder when pytest ends in any way, also by kill -9. Its data folder is a copy of a template
made once per version, so a start costs a fraction of a second.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, LiteralString, cast
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from tests.fetch_postgres import find, locked
from tui_backup.embedded.account import Account, can_reach, popen_options, service_account
from tui_backup.embedded.binaries import Binaries
from tui_backup.embedded.server import LOOPBACK, SUPERUSER, PostgresServer, free_port

# every character that a URI, a shell, a conninfo string or a pgpass file treats in its own way
PASSWORD = "p@ss:w/o?r#d %41'\\\"é"
_SETTINGS = {
    "shared_buffers": "64MB",
    "max_connections": "60",
    "max_prepared_transactions": "10",
    "wal_level": "logical",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "max_wal_size": "512MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_WATCHDOG = """
read -r _
pid=$(head -n 1 "$1/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid" 2>/dev/null && sleep 1
rm -rf -- "$2"
"""


class TestServer:
    """One running server with scram passwords on 127.0.0.1 and a unix socket.

    Args:
        binaries: the version to run.
        fresh: run initdb, for a system identifier that no other test server has.
        fsync: be as durable as a real server.
        settings: further server settings.
    """

    __test__ = False

    def __init__(
        self,
        binaries: Binaries,
        *,
        fresh: bool = False,
        fsync: bool = False,
        settings: dict[str, str] | None = None,
        base: Path | None = None,
    ) -> None:
        account = service_account()
        binaries = _reachable(binaries, account)
        self.major = binaries.major
        self.bin_dir = binaries.bin_dir
        self.host = LOOPBACK
        self.superuser = SUPERUSER
        self.password = PASSWORD
        self.base = base or Path(tempfile.mkdtemp(prefix=f"tbt-pg{self.major}-", dir="/tmp"))
        self.base.chmod(0o711)
        self.socket_dir = self.base / "s"
        self.server = PostgresServer(
            binaries,
            self.base / "data",
            account=account,
            socket_dir=self.socket_dir,
            tcp=True,
            port=free_port(),
            start_timeout_s=120,
        )
        self._watchdog = _start_watchdog(self.server.data_dir, self.base)
        self.socket_dir.mkdir(mode=0o700, exist_ok=True)
        if account is not None:
            account.give(self.socket_dir)
        if self.server.is_initialized:
            return
        if fresh:
            self.server.init(PASSWORD, settings=_SETTINGS, initdb_args=["--no-sync"])
        else:
            _copy_tree(_template(binaries, account), self.server.data_dir)
        real = fsync or os.environ.get("TUI_BACKUP_TEST_FSYNC") == "on"
        durability = {} if real else {"fsync": "off", "full_page_writes": "off"}
        self.configure({**durability, **(settings or {})})

    @property
    def port(self) -> int:
        """TCP port on 127.0.0.1."""
        return self.server.port

    @property
    def data_dir(self) -> Path:
        """The data folder."""
        return self.server.data_dir

    @property
    def log_path(self) -> Path:
        """All that the server writes to its log."""
        return self.server.start_log

    def configure(self, settings: dict[str, str]) -> None:
        """Append settings to postgresql.conf; they count from the next start on."""
        with (self.data_dir / "postgresql.conf").open("a") as stream:
            for name, value in settings.items():
                escaped = value.replace("'", "''")
                stream.write(f"{name} = '{escaped}'\n")

    def dsn(self, dbname: str = "postgres", user: str | None = None, password: str | None = None) -> str:
        """A URI with a password: the superuser's unless another user is named."""
        if password is None:
            password = self.password
        login = f"{quote(user or self.superuser, safe='')}:{quote(password, safe='')}"
        return f"postgresql://{login}@{self.host}:{self.port}/{quote(dbname, safe='')}"

    def socket_dsn(self, dbname: str = "postgres", user: str | None = None, password: str | None = None) -> str:
        """As :meth:`dsn`, through the unix socket."""
        login = {"user": user or self.superuser, "password": password or self.password}
        return psycopg.conninfo.make_conninfo("", host=str(self.socket_dir), port=self.port, dbname=dbname, **login)

    def connect(self, dbname: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
        """An autocommit connection as superuser, in UTF8 whatever the database's settings say."""
        return psycopg.connect(self.dsn(dbname), autocommit=True, **{"client_encoding": "UTF8", **options})

    def execute(self, statements: str, dbname: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one or more statements as superuser; rows of the first result set, empty when there is none."""
        with self.connect(dbname) as conn:
            # client-side cursor with no parameters: several statements in one string are allowed
            cursor = conn.execute(cast("LiteralString", statements))
            return cursor.fetchall() if cursor.description else []

    def create_database(self, name: str | None = None, template: str | None = None, **options: object) -> str:
        """Create a database, with a random name when None.

        Args:
            name: its name, as it is (any character).
            template: copied from; template0 when ``options`` name an encoding or a locale.
            options: of CREATE DATABASE in lower case, e.g. ``encoding="LATIN1"``, ``lc_ctype="C"``, ``owner="x"``.
        """
        name = name or f"t_{secrets.token_hex(6)}"
        if template is None and options.keys() & {"encoding", "locale", "lc_collate", "lc_ctype", "locale_provider"}:
            template = "template0"
        parts = [sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))]
        if template is not None:
            parts.append(sql.SQL("TEMPLATE {}").format(sql.Identifier(template)))
        for key, value in options.items():
            if not re.fullmatch("[a-z_]+", key):
                raise ValueError(key)
            shown = sql.Identifier(str(value)) if key in ("owner", "tablespace") else sql.Literal(value)
            parts.append(sql.SQL(cast("LiteralString", key.upper())) + sql.SQL(" = ") + shown)
        with self.connect() as conn:
            conn.execute(sql.SQL(" ").join(parts))
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, with its sessions."""
        with self.connect() as conn:
            conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def start(self) -> None:
        """Start the server unless it runs."""
        self.server.start()

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; ``immediate`` is as a crash."""
        self.server.stop(mode)

    def restart(self, mode: str = "fast") -> None:
        """Stop and start it on the same port."""
        self.stop(mode)
        self.start()

    def program(self, name: str) -> str:
        """Path of one of its client programs."""
        return str(self.bin_dir / name)

    def has_extension(self, name: str) -> bool:
        """Whether CREATE EXTENSION would find it."""
        return bool(self.execute(f"SELECT 1 FROM pg_available_extensions WHERE name = '{name}'"))

    @property
    def has_tls(self) -> bool:
        """Whether the server was built with OpenSSL."""
        return self.execute("SELECT setting FROM pg_config() WHERE name = 'LIBS'")[0][0].find("-lssl") >= 0

    @property
    def has_xml(self) -> bool:
        """Whether the server was built with libxml."""
        return bool(self.execute("SELECT setting FROM pg_config WHERE setting LIKE '%-with-libxml%'"))

    def needs(self, feature: str) -> None:
        """Skip the test by name where this build lacks ``TLS`` or ``XML``; in CI that is a failure."""
        if self.has_tls if feature == "TLS" else self.has_xml:
            return
        message = f"this PostgreSQL {self.major} has no {feature}: python -m tests.fetch_postgres {self.major}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)

    def start_standby(self) -> TestServer:
        """Start a streaming standby of this server; the caller closes it."""
        base = Path(tempfile.mkdtemp(prefix=f"tbt-pg{self.major}-standby-", dir="/tmp"))
        account = self.server.account
        if account is not None:
            account.give(base)
        subprocess.run(
            [
                *[self.program("pg_basebackup"), "-D", str(base / "data"), "-R", "-X", "stream", "-c", "fast"],
                *["--no-sync", "-h", self.host, "-p", str(self.port), "-U", self.superuser],
            ],
            env={**os.environ, "PGPASSWORD": self.password},
            cwd="/",
            check=True,
            timeout=120,
            **popen_options(account),
        )
        if account is not None:
            os.chown(base, os.geteuid(), os.getegid())
        standby = TestServer(self.server.binaries, base=base)
        standby.start()
        return standby

    def close(self) -> None:
        """Stop the server for good and remove its folder."""
        try:
            self.stop("immediate")
        finally:
            shutil.rmtree(self.base, ignore_errors=True)
            assert self._watchdog.stdin is not None
            self._watchdog.stdin.close()
            self._watchdog.wait(timeout=30)


class ServerPool:
    """The session's servers by major version."""

    def __init__(self) -> None:
        self._servers: dict[int, TestServer] = {}

    def get(self, major: int) -> TestServer | None:
        """The running server of a version, started on first use; None when the machine has no such version."""
        if major not in self._servers:
            binaries = find(major)
            if binaries is None:
                return None
            self._servers[major] = TestServer(binaries)
        server = self._servers[major]
        server.start()
        return server

    def close(self) -> None:
        """Stop them all, at once."""
        with ThreadPoolExecutor() as threads:
            endings = [threads.submit(server.close) for server in self._servers.values()]
        self._servers.clear()
        for ending in endings:
            ending.result()


def _start_watchdog(data_dir: Path, base: Path) -> subprocess.Popen[bytes]:
    """Start the child that cleans up when our end of its pipe closes, which the kernel does at our end."""
    return subprocess.Popen(
        ["/bin/sh", "-c", _WATCHDOG, "sh", str(data_dir), str(base)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )


def _cache_dir() -> Path:
    """A folder for templates and copies that the server's account can reach."""
    folder = Path(f"/tmp/tui-backup-test-cache-{os.geteuid()}")
    folder.mkdir(mode=0o711, exist_ok=True)
    if folder.stat().st_uid != os.geteuid():
        raise RuntimeError(f"{folder} belongs to somebody else")
    return folder


def _template(binaries: Binaries, account: Account | None) -> Path:
    """A data folder fresh from initdb, made once per version and kept."""
    folder = _cache_dir()
    server = PostgresServer(binaries, folder / f"data-{binaries.version}-1", account=account)
    with locked(folder / "template.lock"):
        if not server.is_initialized:
            server.init(PASSWORD, settings=_SETTINGS, initdb_args=["--no-sync"])
    return server.data_dir


def _copy_tree(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(target)], check=True, timeout=120)


def _reachable(binaries: Binaries, account: Account | None) -> Binaries:
    """The same programs at a place where the account can run them."""
    if can_reach(account, binaries.program("postgres")):
        return binaries
    assert binaries.tree is not None, f"{account} cannot run {binaries.bin_dir}"
    folder = _cache_dir()
    copy = folder / f"{binaries.tree.name}-{binaries.version}"
    libraries = binaries.tree.with_name(binaries.tree.name + ".libs")
    with locked(folder / "programs.lock"):
        if not copy.exists():
            partial = folder / f".{copy.name}.new"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            _copy_tree(binaries.tree, partial / binaries.tree.name)
            if libraries.exists():
                _copy_tree(libraries, partial / libraries.name)
            subprocess.run(["chmod", "-R", "a+rX", str(partial)], check=True, timeout=120)
            partial.rename(copy)
    inside = binaries.bin_dir.relative_to(binaries.tree.parent)
    return Binaries(copy / inside, binaries.version, copy / binaries.tree.name)
