"""One line of text to type, fit for a slow link."""

from __future__ import annotations

from textual.widgets import Input

from tui_backup.services.utilities import clean_text

# Typing or pasting any of these is refused: C0, C1 and what turns the writing direction.
NO_CONTROLS = "[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2060-\u206f]*"


class PlainInput(Input):
    """One line of text. A blinking cursor would send 2 kB a second; a control character would reach the terminal.

    Args:
        value: outside text to start with; shown without controls, and given back as it was while nobody edits it.
    """

    def __init__(
        self, value: str = "", *, placeholder: str = "", id: str | None = None, password: bool = False
    ) -> None:
        self._original, self._shown = value, clean_text(value)
        super().__init__(
            self._shown,
            placeholder=placeholder,
            id=id,
            password=password,
            compact=True,
            select_on_focus=False,
            restrict=NO_CONTROLS,
        )
        self.cursor_blink = False

    @property
    def text(self) -> str:
        """What was typed, without spaces around it; the original while it was not edited."""
        return self._original if self.value == self._shown else self.value.strip()
