"""The last line: which keys do what here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.message import Message

from tui_backup.widgets.line import Line


@dataclass(frozen=True, slots=True)
class KeyHint:
    """One key, what it does, and whether it can be used on what is highlighted."""

    action: str
    key: str
    label: str
    enabled: bool = True


class KeyBar(Line):
    """Hints in order of weight: those that do not fit are left out, the palette and the help have them all."""

    DEFAULT_CSS = "KeyBar { background: $panel; color: $text; }"

    @dataclass
    class Pressed(Message):
        """A hint was clicked."""

        action: str

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._hints: Sequence[KeyHint] = ()
        self._places: list[tuple[int, int, str]] = []

    def show_hints(self, hints: Sequence[KeyHint]) -> None:
        """Show these hints."""
        self._hints = tuple(hints)
        self._arrange()

    def on_resize(self) -> None:
        """Fit the hints into the new width."""
        self._arrange()

    def _arrange(self) -> None:
        parts: list[str | tuple[str, str]] = []
        self._places = []
        x = 1
        for hint in self._hints:
            length = cell_len(f"{hint.key} {hint.label}")
            if x + length > self.size.width:
                break
            if hint.enabled:
                parts += [" ", (hint.key, "bold $text-accent"), f" {hint.label} "]
            else:
                parts += [(f" {hint.key} {hint.label} ", "dim")]
            self._places.append((x, x + length, hint.action))
            x += length + 2
        self.show(Content.assemble(*parts))

    def on_click(self, event: events.Click) -> None:
        """Run the hint under the pointer."""
        for start, end, action in self._places:
            if start <= event.x < end:
                self.post_message(self.Pressed(action))
                return
