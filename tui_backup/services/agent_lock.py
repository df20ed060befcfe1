"""One agent per installation: an flock on ``<state_dir>/agent.lock`` that lives as long as the agent's process.

The pid in the file counts only while the lock is held, so a pid that belongs to another process by now is never
signalled (the kernel drops the lock with its holder, also after kill -9 or a power cut).
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

from tui_backup.errors import AlreadyExistsError

_PROBE_PATIENCE_S = 1.0


def lock_path(state_dir: Path) -> Path:
    """Where the lock of an installation is."""
    return state_dir / "agent.lock"


class AgentLock:
    """Held by a running agent.

    Raises:
        AlreadyExistsError: another agent of this installation holds it (from ``__enter__``).
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = lock_path(state_dir)
        self._fd: int | None = None

    def __enter__(self) -> AgentLock:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + _PROBE_PATIENCE_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as exc:
                pid = running_agent_pid(self._path.parent)
                # somebody who only looks holds the lock for a moment
                if pid is None and time.monotonic() < deadline:
                    time.sleep(0.01)
                    continue
                os.close(fd)
                raise AlreadyExistsError(
                    f"An agent of this installation runs already (pid {pid}).", hint="See `tui-backup agent status`."
                ) from exc
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
        self._fd = fd
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None


def running_agent_pid(state_dir: Path) -> int | None:
    """The pid of the installation's running agent, None when there is none."""
    try:
        fd = os.open(lock_path(state_dir), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            text = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            return int(text) if text.isdigit() else None
        return None
    finally:
        os.close(fd)
