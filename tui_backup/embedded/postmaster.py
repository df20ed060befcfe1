"""The running server process: what ``postmaster.pid`` says, whether it is still true, and stopping it.

The file outlives a crash or a power cut, and its process id may belong to any other program by then. So a pid
counts only when that process really is a PostgreSQL server working in this data folder.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tui_backup.errors import EmbeddedServerError

log = logging.getLogger(__name__)

_PS_TIMEOUT_S = 10.0
_POLL_S = 0.02
_STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


@dataclass(frozen=True, slots=True)
class PidFile:
    """The fields of ``postmaster.pid`` that are used; ``status`` is empty until the server has written it."""

    pid: int
    port: int
    socket_dir: str
    listen_address: str
    status: str


def read_pid_file(data_dir: Path) -> PidFile | None:
    """Read the file; None when there is none or it holds no pid, as while a server starts or stops."""
    try:
        lines = (data_dir / "postmaster.pid").read_text(errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    lines += [""] * (8 - len(lines))
    try:
        pid = abs(int(lines[0]))
    except ValueError:
        return None
    port = int(lines[3]) if lines[3].strip().isdigit() else 0
    return PidFile(pid, port, lines[4].strip(), lines[5].strip(), lines[7].strip())


def exists(pid: int) -> bool:
    """Whether a signal could be sent to the process, as PostgreSQL asks: zombies count, other users' do not."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie that nobody has reaped does not."""
    if sys.platform == "linux":
        try:
            # the name in parentheses may hold anything, so the state is looked for after the last one
            state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError, IndexError):
            return False
        return state not in ("Z", "X")
    return _ps(pid, "state=").strip()[:1] not in ("", "Z")


def is_server_of(pid: int, data_dir: Path) -> bool:
    """Whether the process is the postmaster that works in ``data_dir``."""
    if not is_alive(pid):
        return False
    if sys.platform == "linux":
        try:
            same_folder = os.path.samestat(Path(f"/proc/{pid}/cwd").stat(), data_dir.stat())
            program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            # another user's process cannot be our server: ours runs under our own account, or we are root
            return False
        # a backend shows "postgres: …" as its command line, the postmaster its path
        return same_folder and os.path.basename(program) == b"postgres"  # noqa: PTH119
    command = _ps(pid, "command=")
    return "postgres" in command and str(data_dir) in command


def running_server(data_dir: Path) -> PidFile | None:
    """The facts of the server that runs (or starts, or stops) in ``data_dir``; None when none does."""
    found = read_pid_file(data_dir)
    return found if found and is_server_of(found.pid, data_dir) else None


def stop_server(data_dir: Path, mode: str = "fast", *, timeout_s: float = 30.0) -> None:
    """Stop the server of ``data_dir`` and wait for its end; nothing happens when none runs.

    Args:
        data_dir: its data folder.
        mode: ``smart`` (wait for sessions), ``fast`` (end them) or ``immediate`` (as a crash).
        timeout_s: after this long it is stopped as ``immediate``.

    Raises:
        EmbeddedServerError: it still runs after twice the time-out, or belongs to another user.
    """
    for chosen in (mode, "immediate"):
        running = running_server(data_dir)
        if running is None:
            return
        try:
            os.kill(running.pid, _STOP_SIGNALS[chosen])
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise EmbeddedServerError(
                f"the server (process {running.pid}) belongs to another user", hint="Stop it as that user."
            ) from error
        if _wait_gone(running.pid, timeout_s):
            return
        log.warning("PostgreSQL did not stop within %.0f s (%s)", timeout_s, chosen)
    raise EmbeddedServerError(f"the PostgreSQL server of {data_dir} does not stop")


def _wait_gone(pid: int, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while is_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _ps(pid: int, columns: str) -> str:
    answer = subprocess.run(
        ["ps", "-ww", "-o", columns, "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        timeout=_PS_TIMEOUT_S,
        stdin=subprocess.DEVNULL,
    )
    return answer.stdout
