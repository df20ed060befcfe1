"""The whole story in a real terminal, keys only: back up, lose a table, bring it back by swap, undo, leave."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.tmux,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
    pytest.mark.timeout(240),
]


class Terminal:
    """A tmux server of its own with one pane."""

    def __init__(self, size: tuple[int, int], home: Path) -> None:
        self._socket = f"tui-backup-test-{uuid.uuid4().hex[:8]}"
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("TUI_BACKUP", "XDG_", "TMUX"))}
        self.env = {**kept, "HOME": str(home), "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
        width, height = size
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), "sh")

    def _tmux(self, *words: str) -> str:
        argv = ["tmux", "-L", self._socket, *words]
        return subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=20, check=True).stdout

    def keys(self, *names: str) -> None:
        """Press keys by tmux's names."""
        for name in names:
            self._tmux("send-keys", name)
            time.sleep(0.15)

    def type(self, text: str) -> None:
        """Type text as it is."""
        self._tmux("send-keys", "-l", text)

    def screen(self, *, styled: bool = False) -> str:
        """What is on the screen."""
        return self._tmux("capture-pane", "-p", *(["-e"] if styled else []))

    def wait(self, pattern: str, timeout_s: float = 60) -> str:
        """Wait until a pattern is on the screen."""
        deadline = time.monotonic() + timeout_s
        while True:
            shown = self.screen()
            if re.search(pattern, shown):
                return shown
            assert time.monotonic() < deadline, f"{pattern!r} did not come:\n{shown}"
            time.sleep(0.2)

    def focus(self, label: str) -> None:
        """Press Tab until the button is shown in reverse."""
        focused = re.compile(r"\x1b\[(?:\d+;)*7m(?:\x1b\[[0-9;]*m)* ?\[ " + re.escape(label) + r" \]")
        for _ in range(25):
            if focused.search(self.screen(styled=True)):
                return
            self.keys("Tab")
        raise AssertionError(f"the focus never came to {label}:\n{self.screen()}")

    def close(self) -> None:
        """End the tmux server."""
        subprocess.run(["tmux", "-L", self._socket, "kill-server"], check=False, capture_output=True, timeout=20)


@pytest.fixture(params=[(80, 24), pytest.param((200, 50), marks=pytest.mark.slow)], ids=["80x24", "200x50"])
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(request.param, tmp_path)
    try:
        yield made
    finally:
        made.close()


def _back_up(terminal: Terminal) -> None:
    terminal.keys("n")
    terminal.wait("New backup")
    terminal.wait("Needs +about")
    terminal.focus("Start")
    terminal.keys("Enter")
    terminal.wait(r"completed +shop")
    terminal.wait(r"SAFE +shop: last good <1m")


def _restore_by_swap(terminal: Terminal) -> None:
    terminal.keys("r")
    terminal.wait("Holds +20 tables")
    terminal.focus("Next")
    terminal.keys("Enter")
    terminal.wait("swap: restored beside")
    terminal.keys("Down")
    terminal.wait(r"\(\*\) swap")
    terminal.focus("Next")
    terminal.keys("Enter")
    terminal.wait("Everything was checked")
    terminal.focus("Next")
    terminal.keys("Enter")
    terminal.wait("THIS REPLACES LIVE DATA")


def _confirm(terminal: Terminal) -> None:
    # Enter never confirms: Cancel has the focus, and the button is disabled until both are done
    terminal.wait(r"not there -> 120,000|orders +not there")
    terminal.keys("BTab")
    terminal.type("shop")
    terminal.wait(r"Name +shop")
    terminal.keys("BTab", "Space")
    terminal.wait(r"\[x\] I understand the risks")
    terminal.focus("Restore")
    terminal.keys("Space")
    terminal.wait("identical with the backup", 90)


def test_back_up_lose_restore_undo_by_keys_alone(terminal: Terminal, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    program = f"{sys.executable} -m tui_backup demo --dir {folder}"
    terminal.type(f"{program}; echo ended with $?\n")
    terminal.wait("NOT SAFE +shop: no good backup yet", 90)
    terminal.wait(r"--drop\s+orders")
    _back_up(terminal)
    dropped = subprocess.run(
        [sys.executable, "-m", "tui_backup", "demo", "--dir", str(folder), "--drop", "orders"],
        env=terminal.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "gone" in dropped.stdout
    _restore_by_swap(terminal)
    _confirm(terminal)
    terminal.keys("u")
    terminal.wait("Undo this swap")
    terminal.keys("y")
    terminal.wait("Undo: undone", 60)
    terminal.keys("Escape")
    terminal.wait("1 Backups")
    terminal.wait(r"restored <1m")
    terminal.keys("q")
    terminal.wait("ended with 0", 60)
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in listed.splitlines() if str(folder) in line and "pytest" not in line]
