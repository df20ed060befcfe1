"""Base of the screens that show everything about one row: facts, timeline, error, command, tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Label

from tui_backup.actions import bindings
from tui_backup.screens.base import DashboardScreen, set_text, text
from tui_backup.screens.log_view import LogScreen
from tui_backup.widgets.key_bar import KeyBar, KeyHint
from tui_backup.widgets.live_table import LiveTable
from tui_backup.widgets.table_model import Column
from tui_backup.widgets.text import shown, shown_lines

Facts = Sequence[tuple[str, str]]


def facts_content(facts: Facts, width: int = 22) -> Content:
    """Names, ``width`` cells wide, and values, which are outside text."""
    parts: list[str | tuple[str, str]] = []
    for name, value in facts:
        parts += [(f"{name:<{width}}", "$text-muted"), shown_lines(value).replace("\n", "\n" + " " * width), "\n"]
    return Content.assemble(*parts)


def timeline_content(steps: Facts) -> Content:
    """What happened when, in order."""
    parts: list[str | tuple[str, str]] = []
    for when, what in steps:
        parts += [(f"{when:<26}", "$text-muted"), shown(what), "\n"]
    return Content.assemble(*parts)


class DetailsScreen(DashboardScreen[None]):
    """Scrolls with arrows and j k; Tab goes to the table; Esc goes back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("copy_id", "copy_command", "log"),
        Binding("escape,q", "back", "Back", show=False, id="back"),
        Binding("j", "scroll(1)", show=False),
        Binding("k", "scroll(-1)", show=False),
    ]
    HINTS: ClassVar[Sequence[tuple[str, str, str]]] = (
        ("back", "Esc", "Back"),
        ("copy_id", "y", "Copy id"),
        ("copy_command", "Y", "Copy command"),
        ("log", "l", "Log"),
    )
    columns: Sequence[Column] = ()

    def compose(self) -> ComposeResult:
        """Title, body with table, keys."""
        yield text("", id="title")
        with VerticalScroll(id="body"):
            yield text("", id="error", classes="error-box")
            yield text("Timeline", classes="section")
            yield Label("", id="timeline", markup=False)
            yield text("Command that repeats this", classes="section")
            yield text("", id="command", classes="command")
            yield text("Tables", id="tables-title", classes="section")
            yield LiveTable(self.columns, symbols=self.host.symbols, id="tables")
            yield text("Facts", classes="section")
            yield Label("", id="facts", markup=False)
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Fill."""
        self.query_one("#body").focus()
        self.query_one("#keys", KeyBar).show_hints([KeyHint(*hint) for hint in self.HINTS])
        self.query_one("#error").display = False
        self.show_row()

    def on_screen_resume(self) -> None:
        """Seen again: what changed meanwhile."""
        self.show_row()

    def show_row(self) -> None:
        """Show the row as it is now."""
        raise NotImplementedError

    def put(self, title: str, error: str, timeline: Facts, command: str, facts: Facts) -> None:
        """Fill the parts; those that did not change are not painted again."""
        set_text(self.query_one("#title"), Content.styled(shown(title), "bold"))
        box = self.query_one("#error")
        box.display = bool(error)
        set_text(box, error)
        set_text(self.query_one("#timeline"), timeline_content(timeline))
        set_text(self.query_one("#command"), command)
        set_text(self.query_one("#facts"), facts_content(facts))

    def fit_table(self) -> None:
        """Give the table the height of its rows, so that the body scrolls as one."""
        table = self.query_one("#tables", LiveTable)
        table.styles.height = min(max(table.row_count, 2) + 1, 20)

    def action_back(self) -> None:
        """Go back."""
        self.dismiss(None)

    def action_scroll(self, lines: int) -> None:
        """Scroll the body."""
        self.query_one("#body").scroll_relative(y=lines, animate=False)

    def action_log(self) -> None:
        """The agent's log."""
        self.host.open_screen(LogScreen(self.host.config.agent_log))

    async def on_key_bar_pressed(self, event: KeyBar.Pressed) -> None:
        """A hint was clicked."""
        await self.run_action(event.action)
