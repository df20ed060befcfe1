"""The first screen of a machine where nothing is set up: says what is missing and offers to set it up."""

from __future__ import annotations

from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Button

from tui_backup.errors import TuiBackupError
from tui_backup.screens.base import Dialog, set_text, text
from tui_backup.screens.waiting import Waiting
from tui_backup.widgets.controls import PlainButton
from tui_backup.widgets.text import shown


class SetupDialog(Dialog[bool]):
    """``i`` makes the embedded catalog, ``q`` leaves. The result is whether it was made.

    Args:
        why: what is missing, in the service's words.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("i", "init", "Set up", show=False),
        Binding("q", "app.quit", "Leave", show=False),
        Binding("escape", "nothing", show=False, id="back"),
    ]
    TITLE_TEXT = "Nothing is set up on this machine yet"

    def __init__(self, why: str) -> None:
        super().__init__(classes="setup")
        self._why = why
        self._busy = False
        self._done: list[str] = []

    def compose_body(self) -> ComposeResult:
        """What would be made, and where; and the other way."""
        config = self.host.config
        yield text(self._why, classes="prose")
        yield text(
            "i sets up a catalog of its own: a small PostgreSQL server of this program, used by nobody else, "
            "with password authentication, started together with the agent.\n"
            f"  catalog and logs   {shown(str(config.state_dir))}\n"
            f"  backups            {shown(str(config.data_dir / 'repository'))}\n"
            f"  configuration      {shown(str(config.file))}",
            classes="prose",
        )
        yield text("To use a PostgreSQL server that you have, leave and run:", classes="prose")
        yield text("  tui-backup init --catalog DSN", classes="command")
        yield Waiting(id="progress")
        yield text("", id="done", classes="hint")

    def compose_buttons(self) -> ComposeResult:
        """Set up, or leave."""
        yield PlainButton("i  Set up now", id="init", disabled=self.host.read_only)
        yield PlainButton("q  Leave", id="leave")

    def on_mount(self) -> None:
        """The way on has the focus: it destroys nothing."""
        self.query_one("#leave" if self.host.read_only else "#init").focus()

    def action_nothing(self) -> None:
        """Esc has nowhere to go back to."""

    @on(Button.Pressed, "#leave")
    def _leave(self) -> None:
        self.host.leave()

    @on(Button.Pressed, "#init")
    def action_init(self) -> None:
        """Set up, once."""
        if not self._busy and not self.host.read_only:
            self._busy = True
            self.query_one("#init", Button).disabled = True
            self._init()

    def _notice(self, words: str) -> None:
        self._done.append(words)
        set_text(self.query_one("#done"), "\n".join(self._done[-8:]))

    @work(group="setup", exit_on_error=False, description="setting up")
    async def _init(self) -> None:
        progress = self.query_one("#progress", Waiting)
        progress.wait_for("Setting up")
        try:
            await self.host.backend.init_embedded(self._notice)
        except TuiBackupError as error:
            progress.say(f"{error.message} {error.hint}", wrong=True)
            self.host.report(error, doing="setting up")
        else:
            self.dismiss(True)
        finally:
            self._busy = False
            self.query_one("#init", Button).disabled = False
