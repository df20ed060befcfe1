"""The embedded PostgreSQL of one state folder: made, started, stopped and removed, safely from several processes."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tui_backup.embedded.account import Account, can_reach, service_account
from tui_backup.embedded.binaries import Binaries, copy_for, find_binaries
from tui_backup.embedded.location import SYSTEM_ROOT, find_home, prepare
from tui_backup.embedded.postmaster import running_server, stop_server
from tui_backup.embedded.server import (
    SUPERUSER,
    PortTakenError,
    PostgresServer,
    free_port,
    socket_possible,
)
from tui_backup.errors import EmbeddedServerError, NotSetUpError

# statements in the log could hold rows or passwords: only the messages are kept, for a week
SETTINGS: Mapping[str, str] = {
    "shared_buffers": "128MB",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "on",
    "log_directory": "../log",
    "log_filename": "postgresql-%a.log",
    "log_truncate_on_rotation": "on",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_min_error_statement": "panic",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}
_LOCK_TIMEOUT_S = 420.0
_LOCK_POLL_S = 0.05
_PORT_ATTEMPTS = 5
_SOCKET_PORT = 5432


class EmbeddedPostgres:
    """The server that belongs to a state folder.

    All methods block (a first start some seconds); call them from a thread where an event loop runs. The server runs
    on when this process ends.

    Args:
        state_dir: the product's state folder.
        system_root: where the server lives when its account cannot reach the state folder.
        binaries: PostgreSQL's programs; found when left out.
    """

    def __init__(self, state_dir: Path, *, system_root: Path = SYSTEM_ROOT, binaries: Binaries | None = None) -> None:
        self.state_dir = state_dir.expanduser().resolve()
        self._system_root = system_root
        self._binaries = binaries
        self._home = find_home(self.state_dir, system_root=system_root)

    @property
    def data_dir(self) -> Path:
        """The server's data folder."""
        return self._home.data_dir

    @property
    def log_dir(self) -> Path:
        """The folder of the server's logs."""
        return self._home.log_dir

    @property
    def passfile(self) -> Path:
        """The password file, in libpq's format and with mode 0600."""
        return self._home.passfile

    @property
    def is_initialized(self) -> bool:
        """Whether the server has been made."""
        return self._home.is_ours and (self.data_dir / "PG_VERSION").is_file()

    @property
    def is_running(self) -> bool:
        """Whether the server takes connections."""
        running = running_server(self.data_dir) if self.is_initialized else None
        return running is not None and running.status == "ready"

    def ensure_running(self) -> None:
        """Make the server if there is none, start it if it does not run, and wait until it takes connections.

        Raises:
            EmbeddedServerError: with what failed and what to do.
        """
        if self.is_running:
            return
        with self._locked():
            account = service_account(self.data_dir)
            prepare(self._home, account)
            server = self._server(account)
            if not server.is_initialized:
                password = secrets.token_urlsafe(32)
                self._write_passfile([_pass_line(SUPERUSER, password)])
                server.init(password, settings=SETTINGS)
            elif not self.passfile.exists():
                raise EmbeddedServerError(
                    f"the password file {self.passfile} of the embedded server is gone",
                    hint="Put it back from a backup, or set a password by hand with trust in pg_hba.conf.",
                )
            self._start(server)
            self._remove_old_copies(server.binaries)

    def stop(self) -> None:
        """Stop the server and wait for its end; nothing happens when it does not run."""
        if not self.is_initialized:
            return
        with self._locked():
            stop_server(self.data_dir)

    def conninfo(self, dbname: str = "postgres", user: str | None = None) -> str:
        """Connection string that names the password file and holds no password.

        Args:
            dbname: the database.
            user: the role; the superuser when None. Others need :meth:`remember_password`.

        Raises:
            NotSetUpError: the server has not been made.
        """
        if not self.is_initialized:
            raise NotSetUpError(f"there is no embedded server in {self.state_dir}")
        server = PostgresServer(None, self.data_dir, **self._address())
        return server.conninfo(dbname, user or SUPERUSER, passfile=str(self.passfile))

    def remember_password(self, user: str, password: str) -> None:
        """Add or replace a role's password in the password file."""
        with self._locked():
            start = _pass_line(user, "")
            lines = [line for line in self.passfile.read_text().splitlines() if not line.startswith(start)]
            self._write_passfile([*lines, start + _pass_field(password)])

    def destroy(self) -> None:
        """Stop the server and remove all of it."""
        with self._locked():
            if not self._home.is_ours:
                return
            if self.data_dir.exists():
                stop_server(self.data_dir)
            if self._home.path.exists():
                shutil.rmtree(self._home.path)
            if self._home.token_file is not None:
                self._home.token_file.unlink(missing_ok=True)
        self._home = find_home(self.state_dir, system_root=self._system_root)

    # -- inside ----------------------------------------------------------------------------------------------

    def _server(self, account: Account | None) -> PostgresServer:
        version_file = self.data_dir / "PG_VERSION"
        major = int(version_file.read_text()) if version_file.exists() else None
        binaries = self._binaries or find_binaries(major)
        if not can_reach(account, binaries.program("postgres")):
            binaries = copy_for(binaries, self._home.path)
        start_log = self.log_dir / "start.log"
        return PostgresServer(binaries, self.data_dir, account=account, start_log=start_log, **self._address())

    def _address(self) -> dict[str, Any]:
        """The address of the running server, else the one it will get."""
        running = running_server(self.data_dir)
        if running is not None and running.port:
            socket_dir = Path(running.socket_dir) if running.socket_dir else None
            return {"port": running.port, "socket_dir": socket_dir, "tcp": bool(running.listen_address)}
        if socket_possible(self._home.socket_dir, _SOCKET_PORT):
            return {"port": _SOCKET_PORT, "socket_dir": self._home.socket_dir, "tcp": False}
        port_file = self._home.port_file
        port = int(port_file.read_text()) if port_file.exists() else free_port()
        return {"port": port, "socket_dir": None, "tcp": True}

    def _start(self, server: PostgresServer) -> None:
        for attempt in range(_PORT_ATTEMPTS):
            try:
                server.start()
                break
            except PortTakenError:
                # a socket's name is ours alone, so only a TCP port can be met
                if attempt == _PORT_ATTEMPTS - 1:
                    raise
                server.port = free_port()
        self._home.port_file.write_text(str(server.port))

    def _remove_old_copies(self, used: Binaries) -> None:
        for folder in self._home.path.glob("postgresql-*"):
            if folder not in used.bin_dir.parents:
                shutil.rmtree(folder)

    def _write_passfile(self, lines: list[str]) -> None:
        partial = self.passfile.with_name("pgpass.new")
        partial.unlink(missing_ok=True)
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as stream:
            stream.write("".join(line + "\n" for line in lines))
            stream.flush()
            os.fsync(stream.fileno())
        partial.rename(self.passfile)

    @contextmanager
    def _locked(self) -> Generator[None]:
        """Hold the state folder's lock, which the kernel drops with the process."""
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        lock_file = self.state_dir / "postgres.lock"
        try:
            self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise EmbeddedServerError(
                f"cannot use the state folder {self.state_dir}: {error.strerror}",
                hint="Choose another one with XDG_STATE_HOME.",
            ) from error
        try:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise EmbeddedServerError(
                            f"another process holds {lock_file} for too long",
                            hint="Look for a tui-backup that hangs, and end it.",
                        ) from error
                    time.sleep(_LOCK_POLL_S)
            yield
        finally:
            os.close(handle)


def _pass_field(text: str) -> str:
    return text.replace("\\", "\\\\").replace(":", "\\:")


def _pass_line(user: str, password: str) -> str:
    return f"*:*:*:{_pass_field(user)}:{_pass_field(password)}"
