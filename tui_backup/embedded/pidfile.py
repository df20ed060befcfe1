"""What ``postmaster.pid`` says, and whether it is still true.

The file outlives a crash or a power cut, and its process id may belong to any other program by then. So a pid counts
only when that process really is a PostgreSQL server working in this data folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_PS_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class PidFile:
    """The fields of ``postmaster.pid`` that are used. ``status`` is empty while the server has not written it yet."""

    pid: int
    port: int
    socket_dir: str
    listen_address: str
    status: str


def read_pid_file(data_dir: Path) -> PidFile | None:
    """Read the file; None when there is none or it holds no pid (both happen while a server starts or stops)."""
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
