"""A few lines of content of a fixed height that repaint only when they change."""

from __future__ import annotations

from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget


class Line(Widget):
    """Fixed height (from its style sheet), no layout on change.

    An equal ``Static.update`` still repaints, and an automatic height lays the screen out again: both cost
    hundreds of bytes a second on a slow link.
    """

    DEFAULT_CSS = "Line { height: 1; width: 1fr; }"
    ALLOW_SELECT = False

    def __init__(self, content: Content | None = None, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._content = content or Content("")

    @property
    def content(self) -> Content:
        """What is shown."""
        return self._content

    def show(self, content: Content) -> None:
        """Show something else; nothing happens when it is the same."""
        if not self._content.is_same(content):
            self._content = content
            self.refresh()

    def render(self) -> RenderResult:
        """Draw the content."""
        return self._content
