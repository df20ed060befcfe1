"""Agents: who is alive, and starting or stopping the one of this installation."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tui_backup.catalog import rows
from tui_backup.config import Config
from tui_backup.errors import AlreadyExistsError, NotSetUpError, WorkFailedError
from tui_backup.model import AgentInfo
from tui_backup.services.agent_lock import running_agent_pid
from tui_backup.services.session import Notice, Session

_POLL_S = 0.1
_ALIVE_WAIT_S = 10.0
_LOG_TAIL_BYTES = 2000
# told to the process that is started, so that both use the same installation
_CONFIG_VARIABLE = "TUI_BACKUP_CONFIG"
_LAUNCH_SCRIPT = '"$@" </dev/null >>"$START_LOG" 2>&1 & echo "$!"'
_LAUNCH_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """The agent of this installation on this machine."""

    running: bool
    pid: int | None
    log: Path


async def get_agents(session: Session) -> list[AgentInfo]:
    """Agents that are alive or were within a day, newest sign of life first; ages by the catalog's clock."""
    return [rows.agent(row) for row in await session.catalog.rows("agents")]


async def agent_status(config: Config) -> AgentStatus:
    """Whether this installation's agent runs on this machine."""
    pid = running_agent_pid(config.state_dir)
    return AgentStatus(pid is not None, pid, config.agent_log)


async def start_agent(config: Config, *, wait_s: float = 15) -> int:
    """Start a detached agent: in a session of its own, so that no closed terminal ends it.

    Args:
        config: the installation it shall serve.
        wait_s: how long to wait until it has taken its lock.

    Returns:
        Its process id.

    Raises:
        NotSetUpError: no catalog is configured.
        AlreadyExistsError: it runs already.
        WorkFailedError: it ended at once, or did not come up in time.
    """
    if not config.is_set_up:
        raise NotSetUpError("No catalog is set up here.")
    if (pid := running_agent_pid(config.state_dir)) is not None:
        raise AlreadyExistsError(
            f"The agent of this installation runs already (process {pid}).", hint="See `tui-backup agent status`."
        )
    start_log = _start_log(config)
    pid = await asyncio.to_thread(_launch, config, start_log)
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if running_agent_pid(config.state_dir) == pid:
            return pid
        if _has_ended(pid):
            if (other := running_agent_pid(config.state_dir)) is not None:
                return other
            raise WorkFailedError(f"The agent ended at once: {_tail(start_log)}", hint=f"Its log: {config.agent_log}")
        await asyncio.sleep(_POLL_S)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    raise WorkFailedError(f"The agent did not come up within {wait_s:.0f} s.", hint=f"Its log: {config.agent_log}")


def _launch(config: Config, start_log: Path) -> int:
    """Start it through a shell that ends at once: it is nobody's child then, and no dead child of ours later."""
    with start_log.open("wb") as stream:
        os.fchmod(stream.fileno(), 0o600)
        shell = subprocess.run(
            ["sh", "-c", _LAUNCH_SCRIPT, "sh", sys.executable, "-m", "tui_backup", "agent", "run"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stream,
            start_new_session=True,
            cwd="/",
            env={**os.environ, _CONFIG_VARIABLE: str(config.file), "START_LOG": str(start_log)},
            timeout=_LAUNCH_TIMEOUT_S,
            check=True,
        )
    return int(shell.stdout)


def _has_ended(pid: int) -> bool:
    """Whether the process is gone, or is only waiting to be taken note of (a container's first process may not)."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except ProcessLookupError:
        return True
    except OSError:
        # it lives, and there is no /proc here
        return False
    return state.rpartition(")")[2].split()[:1] == ["Z"]


def _start_log(config: Config) -> Path:
    try:
        config.log_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as exc:
        raise WorkFailedError(
            f"{config.log_dir} cannot be made: {exc.strerror}.", hint="Set state_dir in the configuration file."
        ) from exc
    return config.log_dir / "agent-start.log"


def _tail(path: Path) -> str:
    data = path.read_bytes()[-_LOG_TAIL_BYTES:].decode("utf-8", "replace")
    return " ".join(data.split()) or "it said nothing"


async def stop_agent(config: Config, *, wait_s: float = 60) -> bool:
    """Ask this installation's agent to end, and wait until it has; what it runs goes back to the queue.

    Args:
        config: the installation.
        wait_s: how long to wait.

    Returns:
        False when none ran.

    Raises:
        WorkFailedError: it does not end, or belongs to another user.
    """
    pid = running_agent_pid(config.state_dir)
    if pid is None:
        return False
    try:
        # the pid is true as long as the lock is held, and it was held a moment ago
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return True
    except PermissionError as exc:
        raise WorkFailedError(
            f"The agent (process {pid}) belongs to another user.", hint="Stop it as that user, or as root."
        ) from exc
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if running_agent_pid(config.state_dir) != pid:
            return True
        await asyncio.sleep(_POLL_S)
    raise WorkFailedError(
        f"The agent (process {pid}) has not ended within {wait_s:.0f} s.", hint=f"Its log: {config.agent_log}"
    )


async def ensure_agent(session: Session, *, notice: Notice | None = None) -> bool:
    """Make sure that somebody works: with the embedded catalog start an agent when none is alive.

    Args:
        session: open.
        notice: gets a sentence when one was started.

    Returns:
        Whether an agent is alive. False means that the work waits until somebody starts one.
    """
    if await _is_alive(session):
        return True
    if not session.config.settings.catalog.embedded:
        return False
    if running_agent_pid(session.config.state_dir) is None:
        try:
            pid = await start_agent(session.config)
        except AlreadyExistsError:
            # somebody else was faster
            pid = running_agent_pid(session.config.state_dir)
        if notice:
            notice(f"Started the agent (process {pid}).")
    deadline = time.monotonic() + _ALIVE_WAIT_S
    while time.monotonic() < deadline:
        if await _is_alive(session):
            return True
        await asyncio.sleep(_POLL_S)
    return False


async def _is_alive(session: Session) -> bool:
    return any(agent.is_alive for agent in await get_agents(session))
