"""The pane under the table: messages that stay until they are read, else what the highlighted row has to say."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content

from tui_backup.widgets.line import Line
from tui_backup.widgets.symbols import BAD, GOOD, WARN
from tui_backup.widgets.text import shown

STYLES = {BAD: "bold $text-error", WARN: "$text-warning", GOOD: "$text-success", "": ""}


@dataclass(frozen=True, slots=True)
class PaneMessage:
    """What happened, why, and the next step. Texts come from outside and are made safe when drawn."""

    what: str
    next_step: str = ""
    tone: str = ""


class DetailPane(Line):
    """Shows the newest unread message, else the row's own text."""

    DEFAULT_CSS = "DetailPane { height: 3; padding: 0 1; }"
    KEPT = 20

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._messages: list[PaneMessage] = []
        self._row: PaneMessage | None = None

    @property
    def messages(self) -> list[PaneMessage]:
        """Unread messages, oldest first."""
        return list(self._messages)

    def push(self, message: PaneMessage) -> None:
        """Add a message that stays until dismissed; the same one twice counts once."""
        if message not in self._messages:
            self._messages.append(message)
            del self._messages[: -self.KEPT]
        self._draw()

    def dismiss_message(self) -> bool:
        """Take the shown message away; False when there was none."""
        if not self._messages:
            return False
        self._messages.pop()
        self._draw()
        return True

    def show_row(self, message: PaneMessage | None) -> None:
        """Text about the highlighted row."""
        self._row = message
        self._draw()

    def _draw(self) -> None:
        message = self._messages[-1] if self._messages else self._row
        if message is None:
            self.show(Content(""))
            return
        parts: list[str | tuple[str, str]] = [(shown(" ".join(message.what.split())), STYLES.get(message.tone, ""))]
        if message.next_step:
            parts += [" ", shown(" ".join(message.next_step.split()))]
        if self._messages:
            more = f", {len(self._messages) - 1} more" if len(self._messages) > 1 else ""
            parts.append((f"  [Esc: read{more}]", "dim"))
        self.show(Content.assemble(*parts))
