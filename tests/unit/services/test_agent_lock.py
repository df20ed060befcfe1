"""One agent an installation, told by a lock that dies with its holder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tui_backup.errors import AlreadyExistsError
from tui_backup.services.agent_lock import AgentLock, lock_path, running_agent_pid

HOLD = """
import sys, time
from pathlib import Path
from tui_backup.services.agent_lock import AgentLock
with AgentLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_it_is_held_once_and_names_its_holder(tmp_path: Path) -> None:
    assert running_agent_pid(tmp_path) is None
    with AgentLock(tmp_path / "state"):
        assert running_agent_pid(tmp_path / "state") == os.getpid()
        with pytest.raises(AlreadyExistsError, match=str(os.getpid())), AgentLock(tmp_path / "state"):
            pytest.fail("held twice")
    assert running_agent_pid(tmp_path / "state") is None
    with AgentLock(tmp_path / "state"):
        assert running_agent_pid(tmp_path / "state") == os.getpid()


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        assert running_agent_pid(tmp_path) == process.pid
        process.send_signal(signal.SIGKILL)
    # its number stands in the file, and may be anybody's by now
    assert lock_path(tmp_path).read_text().strip() == str(process.pid)
    assert running_agent_pid(tmp_path) is None


def test_somebody_who_only_looks_keeps_no_agent_out(tmp_path: Path) -> None:
    look = "import sys\nfrom pathlib import Path\nfrom tui_backup.services.agent_lock import running_agent_pid\n"
    look += "print('looking', flush=True)\nwhile True: running_agent_pid(Path(sys.argv[1]))"
    with AgentLock(tmp_path):
        pass
    with subprocess.Popen([sys.executable, "-c", look, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"looking\n"
        try:
            deadline = time.monotonic() + 1
            while time.monotonic() < deadline:
                with AgentLock(tmp_path):
                    assert running_agent_pid(tmp_path) == os.getpid()
        finally:
            process.kill()
