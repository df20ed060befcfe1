"""The terminal around the dashboard: what it must be, and what to do when it goes away."""

from __future__ import annotations

import asyncio
import locale
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Mapping, MutableMapping

from tui_backup.errors import UsageError

HANGUP_EXIT = 129
GRACE_S = 2.0


def check_terminal(env: Mapping[str, str]) -> None:
    """Refuse what cannot show a dashboard: there, Textual would draw into a file or spin on an empty input.

    Raises:
        UsageError: no terminal on standard input or output, or a dumb one.
    """
    hint = "Use the commands instead: `tui-backup job list`, `tui-backup --help`."
    # Textual draws on standard error.
    if not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
        raise UsageError("The dashboard needs a terminal on standard input, output and error.", hint=hint)
    if env.get("TERM", "") in ("dumb", ""):
        raise UsageError("The dashboard needs a terminal that can move its cursor; TERM says it cannot.", hint=hint)


def wants_ascii() -> bool:
    """Whether the locale cannot show the symbols."""
    return locale.getpreferredencoding(False).lower().replace("-", "") != "utf8"


def follow_the_size(env: MutableMapping[str, str]) -> None:
    """Forget an exported size: Textual would keep to it whatever size the terminal takes."""
    for name in ("COLUMNS", "LINES"):
        env.pop(name, None)


def uses_colour(env: MutableMapping[str, str]) -> bool:
    """Whether colours may be used. An empty NO_COLOR is not set by its own rules, Textual takes it as set."""
    if env.get("NO_COLOR") == "":
        del env["NO_COLOR"]
    return "NO_COLOR" not in env


def handle_signals(loop: asyncio.AbstractEventLoop, leave: Callable[[int], object]) -> None:
    """Leave with a restored terminal when told to end or when the line drops."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        loop.add_signal_handler(number, leave, 128 + number)


class HangupWatch:
    """Notices that the terminal is gone even where SIGHUP is ignored (nohup), and ends this process and nothing else.

    It waits in a thread of its own: the loop itself may be stuck in a write to the terminal.

    Args:
        leave: ends the dashboard in good order; called from the thread.
        fd: the terminal.
    """

    def __init__(self, leave: Callable[[], object], fd: int = 0) -> None:
        self._leave = leave
        self._fd = fd
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="hangup", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End watching."""
        self._stopped.set()

    def _watch(self) -> None:
        poll = select.poll()
        # No events asked for: hang-up and error are always reported, and nothing else wakes us.
        poll.register(self._fd, 0)
        while not self._stopped.is_set():
            for _fd, event in poll.poll(1000):
                if event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) and not self._stopped.is_set():
                    self._leave()
                    if not self._stopped.wait(GRACE_S):
                        os._exit(HANGUP_EXIT)
                    return
