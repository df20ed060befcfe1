"""The command line as a script uses it: real processes on an installation of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tui_backup.embedded import EmbeddedPostgres

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")


class Console:
    """Runs commands with folders of their own; nothing of the user's environment counts."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tbc-", dir="/tmp"))
        self.folder.chmod(0o711)
        self.env = {name: os.environ[name] for name in _KEPT if name in os.environ}
        for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
            self.env[name] = str(self.folder / name.lower())

    @property
    def state_dir(self) -> Path:
        """Where the installation keeps its state."""
        return self.folder / "xdg_state_home" / "tui-backup"

    def run(self, *words: str, stdin: str = "", timeout_s: float = 120, **env: str) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "tui_backup", *words],
            check=False,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=timeout_s,
            env={**self.env, **env},
            cwd="/",
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(
            [sys.executable, "-m", "tui_backup", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.env,
            cwd="/",
        )

    def ok(self, *words: str, stdin: str = "") -> str:
        """Run one command that must succeed; its stdout."""
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, f"{words}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *words: str, stdin: str = "") -> Any:
        """Run one command with --json that must succeed, and say nothing on stderr; what it printed."""
        done = self.run(*words, "--json", stdin=stdin)
        assert done.returncode == 0 and done.stderr == "", f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def refused(self, status: int, *words: str) -> dict[str, Any]:
        """Run one command with --json that must fail with the status; its error object."""
        done = self.run(*words, "--json")
        assert done.returncode == status, f"{words}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.stderr.count("\n") == 1
        error = json.loads(done.stderr)
        assert error["error"] and error["message"] and error["hint"]
        return error

    def close(self) -> None:
        """Stop everything that was started, and remove it."""
        self.run("agent", "stop")
        EmbeddedPostgres(self.state_dir).destroy()
        shutil.rmtree(self.folder)
