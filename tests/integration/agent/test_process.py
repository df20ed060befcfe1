"""The agent as a process: one per installation, its own temporary folder, its masked log."""

from __future__ import annotations

import subprocess
import sys

from tests.integration.agent.installation import AGENT, Installation
from tui_backup.agent.logs import mask_secrets
from tui_backup.services.agent_lock import running_agent_pid


def test_one_agent_per_installation_and_its_pid_is_true_only_while_it_lives(installation: Installation) -> None:
    state = installation.folder / "state"
    assert running_agent_pid(state) is None
    agent = installation.start_agent()
    assert running_agent_pid(state) == agent.pid
    second = subprocess.run(
        [sys.executable, "-c", AGENT.replace("sys.exit(run_agent(load_config()))", "run_agent(load_config())")],
        env={"TUI_BACKUP_CONFIG": str(installation.config_file), "HOME": str(installation.folder)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode != 0
    assert "runs already" in second.stderr
    agent.kill()
    agent.wait()
    assert running_agent_pid(state) is None


def test_what_a_killed_agent_left_is_cleared(installation: Installation) -> None:
    left = installation.folder / "state" / "tmp" / "tui-backup-restore-x"
    left.mkdir(parents=True)
    (left / "schema.dump").write_bytes(b"x")
    installation.start_agent()
    assert not left.exists()


def test_the_log_masks_passwords() -> None:
    line = "connect postgresql://bob:hunter2@db/x password=hunter2 PGPASSWORD='hun ter2' token: hunter2"
    assert "hunter2" not in mask_secrets(line)
    assert "ter2" not in mask_secrets(line)
    assert "bob" in mask_secrets(line)
