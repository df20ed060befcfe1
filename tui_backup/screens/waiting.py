"""A label that says what is being waited for and for how long, in text: an animation would flood a slow link."""

from __future__ import annotations

import time

from textual.content import Content
from textual.widgets import Label

from tui_backup.widgets.text import shown


class Waiting(Label):
    """Counts seconds while it waits; shows a text otherwise."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__("", id=id, classes=classes, markup=False)
        self._since: float | None = None
        self._what = ""
        self._text = ""

    def on_mount(self) -> None:
        """Count."""
        self.set_interval(1.0, self._count)

    def wait_for(self, what: str) -> None:
        """Start to count."""
        self._what, self._since = what, time.monotonic()
        self.set_class(False, "-wrong")
        self._count()

    def say(self, text: str, *, wrong: bool = False) -> None:
        """Stop counting and show a text."""
        self._since = None
        self.set_class(wrong, "-wrong")
        self._put(shown(" ".join(text.split())))

    def _count(self) -> None:
        if self._since is not None:
            self._put(shown(f"{self._what} {int(time.monotonic() - self._since)}s"))

    def _put(self, words: str) -> None:
        if words != self._text:
            self._text = words
            self.update(Content(words))
