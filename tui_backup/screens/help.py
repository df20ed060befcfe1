"""Every key and what it does."""

from __future__ import annotations

from collections.abc import Mapping

from textual.app import ComposeResult
from textual.content import Content

from tui_backup.actions import ACTIONS, PLACES
from tui_backup.screens.base import Dialog, text

HEADINGS = {
    "everywhere": "Everywhere",
    "tables": "In a table",
    "backups": "On a backup",
    "schedules": "On a schedule",
    "restore": "On a restore",
}
MOVES = (
    ("j k, arrows", "Down and up."),
    ("g G", "First and last row; the last row loads older ones."),
    ("PgUp PgDn", "A page up and down."),
    ("Tab", "From one table or field to the next."),
    ("Esc", "Back; first screen: message read, filter cleared."),
)


class HelpDialog(Dialog[None]):
    """Scrolls with the arrows; Esc or ? closes."""

    BINDINGS = [("question_mark,q", "back", "Close")]  # noqa: RUF012
    TITLE_TEXT = "Keys"

    def __init__(self, key_names: Mapping[str, str], *, read_only: bool) -> None:
        super().__init__(classes="help")
        self._key_names = key_names
        self._read_only = read_only

    def compose_body(self) -> ComposeResult:
        """One block a place."""
        yield text(self._block("Moving", MOVES))
        for place in PLACES:
            lines = [
                (action.key_text(self._key_names) or "-", action.help)
                for action in ACTIONS
                if action.place == place and not (action.changes and self._read_only)
            ]
            yield text(self._block(HEADINGS[place], lines))
        if self._read_only:
            yield text("Read-only: what changes anything is left out.", classes="hint")

    def on_mount(self) -> None:
        """The arrows scroll the text."""
        body = self.query_one(".dialog-body")
        body.can_focus = True
        body.focus()

    @staticmethod
    def _block(heading: str, lines: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> Content:
        parts: list[str | tuple[str, str]] = [(heading, "bold")]
        for key, words in lines:
            parts += ["\n  ", (f"{key:<12}", "$text-accent"), words]
        return Content.assemble(*parts, "\n")
