"""Progress: one fresh line on a terminal, few plain lines elsewhere, none beside JSON."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest

from tests.unit.cli.conftest import Terminal
from tui_backup.cli.output import Output
from tui_backup.cli.progress import ProgressLine
from tui_backup.cli.text import display_width
from tui_backup.model import Progress

UTF8 = {"LANG": "C.UTF-8"}
HALF = Progress(
    phase="data",
    tables_done=3,
    tables_total=20,
    bytes_done=512,
    bytes_total=1024,
    bytes_per_second=100.0,
    eta_seconds=5,
)


class Clock:
    """Seconds that pass when told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_plain_lines_come_at_most_every_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    clock = Clock()
    with ProgressLine(Output(env=UTF8), "backup", clock=clock) as line:
        for second in range(21):
            clock.now = 100.0 + second
            line.update(Progress(phase="data", bytes_done=second * 1024, bytes_total=20 * 1024))
    written = sys.stderr.getvalue()  # pyright: ignore
    assert len(written.splitlines()) == 5
    assert "\r" not in written and "\x1b" not in written
    assert "100%" in written and "backup" in written


def test_an_unchanged_line_is_not_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    clock = Clock()
    with ProgressLine(Output(env=UTF8), "backup", clock=clock) as line:
        line.update(None, "pending")
        clock.now += 0.3
        line.update(None, "pending")
        clock.now += 60
        line.update(None, "pending")
    assert sys.stderr.getvalue().count("pending") == 2  # pyright: ignore


def test_beside_json_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with ProgressLine(Output(is_json=True, env=UTF8), "backup") as line:
        line.update(HALF)
    assert sys.stderr.getvalue() == ""  # pyright: ignore


def test_a_terminal_sees_one_line_that_is_taken_away(
    monkeypatch: pytest.MonkeyPatch, on_terminal: Callable[[str], Terminal]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal, clock = on_terminal("stderr"), Clock()
    with ProgressLine(Output(env=UTF8), "backup", clock=clock) as line:
        line.update(HALF)
        clock.now += 11
        line.update(Progress(phase="\x1b[2J" + "x" * 200, bytes_done=900, bytes_total=1024, eta_seconds=3))
    written = terminal.read()
    assert "\n" not in written and "\x1b[2J" not in written
    first, second = [part.removesuffix("\x1b[K") for part in written.split("\r")[1:3]]
    assert "50%" in first and "ETA unknown" in first
    assert display_width(second) <= 79
    assert written.endswith("\r\x1b[K")


def test_the_eta_is_said_after_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    clock = Clock()
    with ProgressLine(Output(env=UTF8), "backup", clock=clock) as line:
        line.update(HALF)
        clock.now += 10
        line.update(HALF)
    early, late = sys.stderr.getvalue().splitlines()  # pyright: ignore
    assert "ETA unknown" in early and "ETA 00:00:05" in late
    assert early.endswith("3/20 tables")
