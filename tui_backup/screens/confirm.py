"""Questions before something is ended or destroyed: y/n with No focused, and the typed name for what is final."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Button, Input

from tui_backup.screens.base import Dialog, text
from tui_backup.widgets.controls import Field, PlainButton
from tui_backup.widgets.plain_input import PlainInput
from tui_backup.widgets.text import shown


class ConfirmDialog(Dialog[bool]):
    """A yes/no question.

    Args:
        question: what will be done.
        detail: what that means, in a sentence or two.
        yes: the verb on the button.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "yes", "Yes", show=False),
        Binding("n", "back", "No", show=False),
        Binding("left,right", "app.focus_next", show=False),
    ]

    def __init__(self, question: str, detail: str = "", *, yes: str = "Yes") -> None:
        super().__init__(classes="confirm")
        self.TITLE_TEXT = question
        self._detail = detail
        self._yes = yes

    def compose_body(self) -> ComposeResult:
        """What it means."""
        yield text(self._detail, classes="prose")

    def compose_buttons(self) -> ComposeResult:
        """No first: it has the focus."""
        yield PlainButton("n  No", id="no")
        yield PlainButton(f"y  {self._yes}", id="yes", danger=True)

    def on_mount(self) -> None:
        """Enter means No."""
        self.query_one("#no").focus()

    @on(Button.Pressed, "#no")
    def action_back(self) -> None:
        """No."""
        self.dismiss(False)

    @on(Button.Pressed, "#yes")
    def action_yes(self) -> None:
        """Yes."""
        self.dismiss(True)


class TypedConfirmDialog(Dialog[bool]):
    """Destruction: the name must be typed before the button works, and Enter in the field never confirms.

    Args:
        question: what will be destroyed.
        detail: what that means.
        expected: the name to type.
        yes: the verb on the button.
    """

    def __init__(self, question: str, detail: str, expected: str, *, yes: str = "Delete") -> None:
        super().__init__(classes="confirm danger")
        self.TITLE_TEXT = question
        self._detail = detail
        self.expected = shown(expected)
        self._yes = yes

    def compose_body(self) -> ComposeResult:
        """What it means, and the field."""
        yield text(self._detail, classes="prose")
        yield text(f"Type {self.expected} to confirm:", classes="prose")
        yield Field("Name", PlainInput(id="typed"))

    def compose_buttons(self) -> ComposeResult:
        """Cancel first: it has the focus."""
        yield PlainButton("Cancel", id="no")
        yield PlainButton(self._yes, id="yes", danger=True, disabled=True)

    def on_mount(self) -> None:
        """Nothing destructive has the focus."""
        self.query_one("#no").focus()

    @on(Input.Changed, "#typed")
    def _compare(self, event: Input.Changed) -> None:
        self.query_one("#yes", Button).disabled = event.value.strip() != self.expected

    @on(Button.Pressed, "#no")
    def action_back(self) -> None:
        """Do nothing."""
        self.dismiss(False)

    @on(Button.Pressed, "#yes")
    def _yes_pressed(self) -> None:
        self.dismiss(True)
