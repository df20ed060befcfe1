"""The palette: every action by name, with its key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from tui_backup.actions import ACTIONS, Action
from tui_backup.screens.base import Dialog
from tui_backup.widgets.live_table import LiveTable
from tui_backup.widgets.plain_input import PlainInput
from tui_backup.widgets.table_model import Cell, Column, Row

COLUMNS = (Column("name", "Action", 14), Column("key", "Key", 7), Column("help", "What it does", 20, most=90))


class PaletteDialog(Dialog[str]):
    """Type to narrow, Enter runs. The result is the action's id."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "move(1)", show=False, priority=True),
        Binding("up", "move(-1)", show=False, priority=True),
    ]
    TITLE_TEXT = "Actions"

    def __init__(self, key_names: Mapping[str, str], *, read_only: bool) -> None:
        super().__init__(classes="palette")
        self._key_names = key_names
        self._actions = [action for action in ACTIONS if not (action.changes and read_only)]

    def compose_body(self) -> ComposeResult:
        """Field and table."""
        yield PlainInput(placeholder="type to narrow", id="needle")
        yield LiveTable(COLUMNS, symbols=self.host.symbols, id="found")

    def on_mount(self) -> None:
        """List everything."""
        self._table.can_focus = False
        self._table.set_placeholder("No action of this name.")
        self._table.set_rows([self._row(place, action) for place, action in enumerate(self._actions)])
        self.query_one("#needle").focus()

    @property
    def _table(self) -> LiveTable:
        return self.query_one("#found", LiveTable)

    def _row(self, place: int, action: Action) -> Row:
        key = action.key_text(self._key_names)
        return Row(action.id, (Cell(action.label), Cell(key or "-"), Cell(action.help)), rank=place)

    def action_move(self, step: int) -> None:
        """Move the cursor while the field keeps the focus."""
        self._table.action_move(step)

    @on(Input.Changed, "#needle")
    def _narrow(self, event: Input.Changed) -> None:
        self._table.set_filter(event.value)
        self._table.action_jump(0)

    @on(Input.Submitted, "#needle")
    def _run(self) -> None:
        if self._table.cursor_key is not None:
            self.dismiss(self._table.cursor_key)

    @on(LiveTable.Selected, "#found")
    def _chosen(self, event: LiveTable.Selected) -> None:
        self.dismiss(event.key)
