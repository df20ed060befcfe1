"""The agent's log: the last 2,000 lines, followed while the end is in sight."""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input, Log

from tui_backup.messages import Tick
from tui_backup.screens.base import DashboardScreen, set_text, text
from tui_backup.screens.log_tail import LAST_LINES, LogTail
from tui_backup.widgets.key_bar import KeyBar, KeyHint
from tui_backup.widgets.plain_input import PlainInput


class LogScreen(DashboardScreen[None]):
    """``/`` shows only lines that contain a text; scrolling up stops following, ``G`` goes on.

    Args:
        path: the log file.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", show=False, id="back"),
        Binding("q", "close", "Back", show=False),
        Binding("slash", "search", "Search", show=False, id="filter"),
        Binding("j", "scroll(1)", show=False),
        Binding("k", "scroll(-1)", show=False),
        Binding("g", "top", show=False),
        Binding("G,f", "follow", show=False),
    ]
    HINTS = (("leave", "Esc", "Back"), ("search", "/", "Search"), ("top", "g", "Top"), ("follow", "G", "Follow"))

    def __init__(self, path: Path) -> None:
        super().__init__(classes="log")
        self._path = path
        self._tail = LogTail(path)
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._needle = ""
        self._error = ""
        self._reading = False

    def compose(self) -> ComposeResult:
        """Path, lines, keys."""
        yield text("", id="title")
        yield PlainInput(placeholder="text to look for", id="needle")
        yield Log(max_lines=LAST_LINES, auto_scroll=False, id="lines")
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Read the file."""
        self.query_one("#needle").display = False
        self.query_one("#keys", KeyBar).show_hints([KeyHint(*hint) for hint in self.HINTS])
        self._view.focus()
        self._read()

    @property
    def _view(self) -> Log:
        return self.query_one("#lines", Log)

    @property
    def _following(self) -> bool:
        return self._view.scroll_offset.y >= self._view.max_scroll_y - 1

    def on_tick(self, message: Tick) -> None:
        """Look for new lines each second."""
        if not self._reading:
            self._read()

    @work(group="log", exit_on_error=False, description="reading the agent's log")
    async def _read(self) -> None:
        self._reading = True
        try:
            lines, fresh = await asyncio.to_thread(self._tail.read)
            self._error = ""
        except OSError as error:
            self._error = f"cannot be read: {error.strerror}"
            return
        finally:
            self._reading = False
            self._show_title()
        follow = self._following
        if fresh:
            self._lines.clear()
            self._view.clear()
        self._lines.extend(lines)
        found = [line for line in lines if self._needle in line.lower()]
        if found:
            self._view.write_lines(found, scroll_end=False)
        if follow and (found or fresh):
            self.call_after_refresh(self.action_follow)
        self._show_title()

    def _show_title(self) -> None:
        state = self._error or ("following" if self._following else "not following, G follows")
        if not self._lines and not self._error:
            state = "empty: no agent has written it yet"
        matches = ""
        if self._needle:
            count = sum(1 for line in self._lines if self._needle in line.lower())
            matches = f'; "{self._needle}": {count} of {len(self._lines)} lines'
        set_text(self.query_one("#title"), f"{state}{matches}  {self._path}")

    def action_search(self) -> None:
        """Open the search field."""
        field = self.query_one("#needle", Input)
        field.display = True
        field.focus()

    @on(Input.Changed, "#needle")
    def _search(self, event: Input.Changed) -> None:
        self._needle = event.value.strip().lower()
        self._view.clear()
        self._view.write_lines([line for line in self._lines if self._needle in line.lower()], scroll_end=False)
        self.call_after_refresh(self.action_follow)

    @on(Input.Submitted, "#needle")
    def _search_done(self) -> None:
        self.query_one("#needle").display = False
        self._view.focus()

    def action_leave(self) -> None:
        """Esc: end the search first, then go back."""
        field = self.query_one("#needle", Input)
        if field.display or self._needle:
            field.value = ""
            self._search_done()
        else:
            self.dismiss(None)

    def action_close(self) -> None:
        """Go back."""
        self.dismiss(None)

    def action_scroll(self, lines: int) -> None:
        """Scroll by lines."""
        self._view.scroll_relative(y=lines, animate=False)

    def action_top(self) -> None:
        """Go to the first line."""
        self._view.scroll_home(animate=False)

    def action_follow(self) -> None:
        """Go to the last line and stay there."""
        self._view.scroll_end(animate=False)
        self._show_title()

    async def on_key_bar_pressed(self, event: KeyBar.Pressed) -> None:
        """A hint was clicked."""
        await self.run_action(event.action)
