"""A real terminal in place of a standard stream."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tui_backup.cli import main
from tui_backup.cli.context import Context


@pytest.fixture(autouse=True)
def own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep these tests away from an installation of whoever runs them, and in one time zone."""
    monkeypatch.delenv("TUI_BACKUP_CONFIG", raising=False)
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class Terminal:
    """The user's side of a pseudo-terminal of 80x24."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self) -> str:
        """What was written so far."""
        written = b""
        while select.select([self._descriptor], [], [], 0.2)[0]:
            written += os.read(self._descriptor, 65536)
        return written.decode()


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Terminal]]:
    """Puts ``stdout`` or ``stderr`` on a terminal."""
    opened: list[int] = []

    def attach(name: str) -> Terminal:
        outer, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        opened.append(outer)
        monkeypatch.setattr(sys, name, open(inner, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        return Terminal(outer)

    yield attach
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if opened and stream.isatty():
            stream.close()
    monkeypatch.undo()
    for descriptor in opened:
        os.close(descriptor)


HOSTILE = "[/x]\x1b]0;pwned\x07\u202e"
"""A name that a careless program would let the terminal obey."""

Answer = Callable[..., None]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Makes a service function give a fixed answer, and opens no catalog."""

    @asynccontextmanager
    async def session(self: Context, *, agent: bool = False, tenant: str = "") -> AsyncIterator[None]:
        yield None

    def give(module: Any, name: str, value: Any, calls: list[Any] | None = None) -> None:
        async def reply(_session: object, *args: Any, **options: Any) -> Any:
            if calls is not None:
                calls.append((*args, *options.values()))
            return value

        monkeypatch.setattr(module, name, reply)

    monkeypatch.setattr(Context, "session", session)
    return give


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command; gives status, stdout, stderr, and sees to it that no terminal is obeyed."""

    def run(*words: str) -> tuple[int, str, str]:
        status = main(words)
        printed = capsys.readouterr()
        for text in (printed.out, printed.err):
            assert "\x1b" not in text and "\x07" not in text and "\u202e" not in text
        return status, printed.out, printed.err

    return run


Shown = Callable[..., tuple[int, str, str]]
