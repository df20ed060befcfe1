"""Bases of all screens: the way to the host, the symbol set, and workers whose failures are shown."""

from __future__ import annotations

from typing import ClassVar, TypeVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Label
from textual.worker import Worker

from tui_backup.screens.host import Host, host_of, report_worker
from tui_backup.widgets.text import shown, shown_lines

Result = TypeVar("Result")

BREAKPOINTS = [(0, "-tiny"), (40, "-narrow"), (70, "-normal"), (110, "-wide")]
HEIGHTS = [(0, "-flat"), (12, "-low"), (20, "-usual"), (34, "-high")]


class DashboardScreen(Screen[Result]):
    """A full screen."""

    HORIZONTAL_BREAKPOINTS = BREAKPOINTS
    VERTICAL_BREAKPOINTS = HEIGHTS

    @property
    def host(self) -> Host:
        """The application."""
        return host_of(self)

    def on_mount(self) -> None:
        """Mark the symbol set for the style sheets."""
        self.set_class(self.host.symbols.is_ascii, "-plain")

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Show failures of workers."""
        report_worker(self, event)


class Dialog(ModalScreen[Result]):
    """A box over the screen below; Esc goes back. Subclasses give the title, the body and the buttons."""

    HORIZONTAL_BREAKPOINTS = BREAKPOINTS
    VERTICAL_BREAKPOINTS = HEIGHTS
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "back", "Back", show=False, id="back")]
    TITLE_TEXT = ""

    @property
    def host(self) -> Host:
        """The application."""
        return host_of(self)

    def compose(self) -> ComposeResult:
        """Title in the border, scrolling body, buttons."""
        with Vertical(classes="dialog") as box:
            box.border_title = Content(shown(self.TITLE_TEXT))
            with VerticalScroll(classes="dialog-body -auto", can_focus=False):
                yield from self.compose_body()
            with Horizontal(classes="dialog-buttons"):
                yield from self.compose_buttons()

    def compose_body(self) -> ComposeResult:
        """The inside of the box."""
        yield from ()

    def compose_buttons(self) -> ComposeResult:
        """The last line of the box."""
        yield Label("Esc back", classes="hint", markup=False)

    def on_mount(self) -> None:
        """Mark the symbol set for the style sheets."""
        self.set_class(self.host.symbols.is_ascii, "-plain")

    def on_resize(self, event: events.Resize) -> None:
        """Let the body scroll before the buttons are pushed out of the terminal."""
        buttons = 2 if event.size.height >= HEIGHTS[2][0] else 1
        for body in self.query(".dialog-body.-auto"):
            body.styles.max_height = max(1, event.size.height - 2 - buttons)

    def action_back(self) -> None:
        """Close without a result."""
        self.dismiss(None)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Show failures of workers."""
        report_worker(self, event)


def text(content: str | Content, *, id: str | None = None, classes: str = "") -> Label:
    """A label of outside text: no markup, controls replaced."""
    return Label(content if isinstance(content, Content) else Content(shown_lines(content)), id=id, classes=classes)


def set_text(widget: Widget, content: str | Content) -> None:
    """Change a label made by text(), only when it differs (an equal update would repaint)."""
    label = cast(Label, widget)
    fresh = content if isinstance(content, Content) else Content(shown_lines(content))
    old = label.content
    if not (isinstance(old, Content) and old.is_same(fresh)):
        label.update(fresh)
