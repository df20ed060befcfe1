"""The first line: product, who we are, and the tabs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.message import Message

from tui_backup.widgets.line import Line
from tui_backup.widgets.text import fit, shown


@dataclass(frozen=True, slots=True)
class Tab:
    """One tab: its action's argument, key, icon (with its space, or empty) and label."""

    id: str
    key: str
    icon: str
    label: str


class TabBar(Line):
    """Title on the left, tabs on the right; what does not fit leaves from the left."""

    DEFAULT_CSS = "TabBar { background: $panel; color: $text; }"

    @dataclass
    class Pressed(Message):
        """A tab was clicked."""

        tab: str

    def __init__(self, tabs: Sequence[Tab], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.tabs = tabs
        self._active = tabs[0].id
        self._title = ""
        self._places: list[tuple[int, int, str]] = []

    def show_title(self, title: str) -> None:
        """Say who we are."""
        self._title = shown(title)
        self._arrange()

    def activate(self, tab: str) -> None:
        """Mark a tab as the open one."""
        self._active = tab
        self._arrange()

    def on_resize(self) -> None:
        """Fit into the new width."""
        self._arrange()

    def _arrange(self) -> None:
        width = self.size.width
        with_icons = [f" {tab.icon}{tab.key} {tab.label} " for tab in self.tabs]
        without = [f" {tab.key} {tab.label} " for tab in self.tabs]
        labels = with_icons if sum(map(cell_len, with_icons)) + 14 <= width else without
        start = max(0, width - sum(map(cell_len, labels)))
        parts: list[str | tuple[str, str]] = [(fit(" " + self._title, start, ellipsis=""), "bold")]
        self._places = []
        x = start
        for tab, label in zip(self.tabs, labels, strict=True):
            parts.append((label, "bold reverse" if tab.id == self._active else ""))
            self._places.append((x, x + cell_len(label), tab.id))
            x += cell_len(label)
        self.show(Content.assemble(*parts))

    def on_click(self, event: events.Click) -> None:
        """Open the tab under the pointer."""
        for start, end, tab in self._places:
            if start <= event.x < end:
                self.post_message(self.Pressed(tab))
                return
