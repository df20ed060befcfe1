"""One PostgreSQL server that we start ourselves: init, start, stop, status.

The server is started through ``sh`` in a session of its own and handed to init, so it outlives the program, a
closed terminal and Ctrl-C, and ends only by :meth:`PostgresServer.stop`. pg_ctl is not used for that: it pastes
paths into a shell command line. Nothing here takes a lock; :class:`tui_backup.embedded.EmbeddedPostgres` does.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from psycopg.conninfo import make_conninfo

from tui_backup.embedded.account import Account, popen_options
from tui_backup.embedded.binaries import Binaries
from tui_backup.embedded.postmaster import PidFile, exists, is_alive, read_pid_file, running_server, stop_server
from tui_backup.errors import EmbeddedServerError

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
SUPERUSER = "postgres"
# sun_path holds 108 bytes on Linux and 104 on macOS, one of them the end mark
SOCKET_PATH_LIMIT = 103 if sys.platform == "darwin" else 107
_SETTINGS_FILE = "tui-backup.conf"
_INITDB_TIMEOUT_S = 120.0
_LAUNCH_TIMEOUT_S = 30.0
_LOG_LAG_S = 3.0
_POLL_S = 0.02
_LOG_TAIL_BYTES = 4000
# the last message a crashed server's surviving children cause; they end by themselves within moments
_CHILDREN_LEFT = "is still in use"
_PORT_TAKEN = "Address already in use"
_LAUNCH_SCRIPT = '"$@" </dev/null >>"$START_LOG" 2>&1 & echo "$!"'


class PostgresServer:
    """A server's programs, data folder and address.

    Args:
        binaries: programs to run it with; None where it is only asked about or stopped.
        data_dir: absolute path; made by :meth:`init`. Its parent must exist and be passable for the account.
        account: whom to run it under; None for the current user.
        socket_dir: existing folder of the unix socket; None for no socket.
        tcp: listen on 127.0.0.1.
        port: TCP port and number in the socket's name.
        start_log: file for what the server says before its own logging starts.
        start_timeout_s: how long a start (with crash recovery) may take.
        stop_timeout_s: how long a stop may take before it is made harder.
    """

    def __init__(
        self,
        binaries: Binaries | None,
        data_dir: Path,
        *,
        account: Account | None = None,
        socket_dir: Path | None = None,
        tcp: bool = False,
        port: int = 5432,
        start_log: Path | None = None,
        start_timeout_s: float = 300.0,
        stop_timeout_s: float = 30.0,
    ) -> None:
        self._binaries = binaries
        self.data_dir = data_dir
        self.account = account
        self.socket_dir = socket_dir
        self.tcp = tcp
        self.port = port
        self.start_log = start_log or data_dir.with_name(data_dir.name + ".start.log")
        self.start_timeout_s = start_timeout_s
        self.stop_timeout_s = stop_timeout_s
        self._log_sizes: dict[Path, int] = {}

    @property
    def binaries(self) -> Binaries:
        """The programs it runs with."""
        if self._binaries is None:
            raise EmbeddedServerError("no PostgreSQL programs are known for this server")
        return self._binaries

    @property
    def is_initialized(self) -> bool:
        """Whether the data folder holds a server's data."""
        return (self.data_dir / "PG_VERSION").is_file()

    @property
    def host(self) -> str:
        """What clients put into ``host``: the socket's folder, or 127.0.0.1."""
        return str(self.socket_dir) if self.socket_dir is not None else LOOPBACK

    def conninfo(self, dbname: str = "postgres", user: str = SUPERUSER, **parameters: str) -> str:
        """Connection string without a password."""
        return make_conninfo("", host=self.host, port=self.port, user=user, dbname=dbname, **parameters)

    def status(self) -> PidFile | None:
        """The running (or starting, or stopping) server's own facts; None when it does not run."""
        return running_server(self.data_dir)

    # -- init --------------------------------------------------------------------------------

    def init(self, password: str, *, settings: Mapping[str, str], initdb_args: Sequence[str] = ()) -> None:
        """Make the data folder: UTF8, password authentication, checksums. It appears whole or not at all.

        Args:
            password: the superuser's; goes through a private file, never through argv.
            settings: lines for the server's configuration.
            initdb_args: further arguments for initdb.

        Raises:
            EmbeddedServerError: the folder holds something else, or initdb failed.
        """
        if self.data_dir.exists() and any(self.data_dir.iterdir()):
            raise EmbeddedServerError(
                f"the folder {self.data_dir} is not empty and holds no PostgreSQL data",
                hint="Move its contents away, or choose another state folder.",
            )
        for leftover in self.data_dir.parent.glob(f"{self.data_dir.name}.new-*"):
            shutil.rmtree(leftover)
        partial = Path(tempfile.mkdtemp(prefix=f"{self.data_dir.name}.new-", dir=self.data_dir.parent))
        try:
            self._run_initdb(partial, password, initdb_args)
            self._write_settings(partial, settings)
            partial.rename(self.data_dir)
            _sync_folder(self.data_dir.parent)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    def _run_initdb(self, folder: Path, password: str, initdb_args: Sequence[str]) -> None:
        handle, password_name = tempfile.mkstemp(prefix="pw-", dir=self.data_dir.parent)
        password_file = Path(password_name)
        try:
            with os.fdopen(handle, "w") as stream:
                stream.write(password + "\n")
            if self.account is not None:
                self.account.give(password_file)
                self.account.give(folder)
            arguments = ["-D", folder, "-U", SUPERUSER, f"--pwfile={password_file}", "--auth=scram-sha-256"]
            arguments += ["--encoding=UTF8", "--locale=C", "--data-checksums", *initdb_args]
            if self.binaries.major >= 17:
                arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            answer = subprocess.run(
                [self.binaries.program("initdb"), *arguments],
                cwd="/",
                env=_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=_INITDB_TIMEOUT_S,
                umask=0o077,
                start_new_session=True,
                **popen_options(self.account),
            )
        except subprocess.TimeoutExpired as error:
            raise EmbeddedServerError(f"initdb did not end within {_INITDB_TIMEOUT_S:.0f} s") from error
        finally:
            password_file.unlink(missing_ok=True)
        if answer.returncode != 0:
            raise EmbeddedServerError(
                f"initdb failed: {answer.stderr.strip()[-_LOG_TAIL_BYTES:] or answer.returncode}",
                hint="Is there room on the disk? A server of your own does too: `tui-backup init --catalog DSN`.",
            )

    def _write_settings(self, folder: Path, settings: Mapping[str, str]) -> None:
        lines = [f"{name} = {_quoted(value)}" for name, value in settings.items()]
        own = folder / _SETTINGS_FILE
        own.write_text("# written by tui-backup when it made this server; yours to change\n" + "\n".join(lines) + "\n")
        own.chmod(0o600)
        if self.account is not None:
            self.account.give(own)
        with (folder / "postgresql.conf").open("a") as stream:
            stream.write(f"\ninclude_if_exists = '{_SETTINGS_FILE}'\n")

    # -- start --------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the server and wait until it takes connections; nothing happens when it runs already.

        Raises:
            PortTakenError: another program listens on the port.
            EmbeddedServerError: data of another version, or the server ended; with its own last words.
        """
        self._check_version()
        deadline = time.monotonic() + self.start_timeout_s
        while not self._start_once(deadline):
            if time.monotonic() > deadline:
                raise self._failure(f"PostgreSQL was not ready within {self.start_timeout_s:.0f} s")
            time.sleep(10 * _POLL_S)
        self._follow_running()

    def _start_once(self, deadline: float) -> bool:
        """Start or find the server; False where something that ends by itself was in the way."""
        running = self.status()
        pid = running.pid if running else self._launch()
        while True:
            found = read_pid_file(self.data_dir)
            if found is not None and found.pid == pid and found.status in ("ready", "standby"):
                return True
            if not is_alive(pid):
                break
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        if running is not None:
            # somebody else's start failed, or their stop was under way
            return False
        said = self._last_words()
        if _CHILDREN_LEFT in said:
            return False
        if _PORT_TAKEN in said:
            raise PortTakenError(f"port {self.port} on {LOOPBACK} is taken by another program")
        raise self._failure("PostgreSQL ended while it was starting")

    def _last_words(self) -> str:
        """Why the server ended; its logging collector writes them a moment later."""
        until = time.monotonic() + _LOG_LAG_S
        while True:
            said = self.log_tail()
            if "FATAL" in said or "PANIC" in said or time.monotonic() > until:
                return said
            time.sleep(_POLL_S)

    def _check_version(self) -> None:
        made_by = (self.data_dir / "PG_VERSION").read_text().strip()
        if made_by != str(self.binaries.major):
            raise EmbeddedServerError(
                f"the data folder {self.data_dir} was made by PostgreSQL {made_by}, the programs in "
                f"{self.binaries.bin_dir} are {self.binaries.version}",
                hint=f"Install PostgreSQL {made_by}, or move the data with that version's pg_dump.",
            )

    def _launch(self) -> int:
        self._remove_stale_locks()
        self._log_sizes = {path: path.stat().st_size for path in self._log_files()}
        self._log_sizes.pop(self.start_log, None)
        self.start_log.unlink(missing_ok=True)
        self.start_log.touch(mode=0o600)
        if self.account is not None:
            self.account.give(self.start_log)
        options = {
            "listen_addresses": LOOPBACK if self.tcp else "",
            "unix_socket_directories": _listed(self.socket_dir),
            "unix_socket_permissions": "0700",
            "port": str(self.port),
        }
        command = [str(self.binaries.program("postgres")), "-D", str(self.data_dir)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        answer = subprocess.run(
            ["/bin/sh", "-c", _LAUNCH_SCRIPT, "sh", *command],
            cwd="/",
            env={**_environment(), "START_LOG": str(self.start_log)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=_LAUNCH_TIMEOUT_S,
            umask=0o077,
            start_new_session=True,
            **popen_options(self.account),
        )
        return int(answer.stdout)

    def _remove_stale_locks(self) -> None:
        """Remove lock files of a crashed server whose pid was shown to be no server of this folder.

        PostgreSQL removes them itself where the pid is dead, but refuses to start where it is another program of
        the same user or a zombie (in a container nobody may reap the crashed server). The children of a crashed
        server stay guarded against: PostgreSQL also looks for its shared memory by the data folder's inode.
        """
        candidates = [self.data_dir / "postmaster.pid"]
        if self.socket_dir is not None:
            candidates.append(self.socket_dir / f".s.PGSQL.{self.port}.lock")
        for path in candidates:
            lines = path.read_text(errors="replace").splitlines() if path.exists() else []
            # the first line is the pid (negative for a single-user server), the second the data folder
            if len(lines) < 2 or lines[1] != str(self.data_dir) or not exists(abs(int(lines[0]))):
                continue
            log.warning("removing %s: process %s is not the server", path, lines[0])
            path.unlink()

    def _follow_running(self) -> None:
        """Take the address over from a server that somebody else started with another one."""
        running = self.status()
        if running is None or not running.port:
            return
        self.port = running.port
        self.tcp = bool(running.listen_address)
        self.socket_dir = Path(running.socket_dir) if running.socket_dir else None

    # -- stop and words --------------------------------------------------------------------------------------

    def stop(self, mode: str = "fast") -> None:
        """Stop the server and wait for its end, as :func:`stop_server`."""
        stop_server(self.data_dir, mode, timeout_s=self.stop_timeout_s)

    def _log_files(self) -> list[Path]:
        """The start log and, beside it, what the server's own logging writes."""
        return sorted({*self.start_log.parent.glob("*.log"), self.start_log} & set(self.start_log.parent.iterdir()))

    def log_tail(self) -> str:
        """The last lines the server wrote since it was launched."""
        said = ""
        for path in self._log_files():
            with path.open(errors="replace") as stream:
                stream.seek(self._log_sizes.get(path, 0))
                said += stream.read()
        return said.strip()[-_LOG_TAIL_BYTES:]

    def _failure(self, what: str) -> EmbeddedServerError:
        tail = self.log_tail()
        message = f"{what}: {tail}" if tail else what
        return EmbeddedServerError(message, details={"log": str(self.start_log), "data": str(self.data_dir)})


class PortTakenError(EmbeddedServerError):
    """Another program listens on the port."""

    code = "embedded_port_taken"
    retryable = True


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def socket_possible(folder: Path, port: int = 65535) -> bool:
    """Whether clients can use a unix socket in the folder.

    Its path must be short enough for the system, and libpq takes a comma as the start of the next host.
    """
    return len(os.fsencode(folder / f".s.PGSQL.{port}")) <= SOCKET_PATH_LIMIT and "," not in str(folder)


def _listed(folder: Path | None) -> str:
    """A folder as the one entry of a setting that is a list."""
    return "" if folder is None else '"' + str(folder).replace('"', '""') + '"'


def _sync_folder(folder: Path) -> None:
    """Make a rename in the folder durable: an unfinished data folder would be removed by the next start."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _environment() -> dict[str, str]:
    """A small environment: PG* variables and the locale are the user's, and the server would obey them."""
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "TMPDIR")
    return {"LC_ALL": "C", **{name: os.environ[name] for name in kept if name in os.environ}}


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
