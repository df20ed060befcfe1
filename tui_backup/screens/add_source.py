"""The dialog that registers a database to back up, and tries it."""

from __future__ import annotations

from textual import on, work
from textual.app import ComposeResult
from textual.widgets import Button

from tui_backup.errors import TuiBackupError, ValidationError
from tui_backup.screens.base import Dialog, text
from tui_backup.screens.waiting import Waiting
from tui_backup.services.utilities import format_bytes
from tui_backup.widgets.controls import Field, PlainButton
from tui_backup.widgets.plain_input import PlainInput


class AddSourceDialog(Dialog[str]):
    """The password stays hidden while it is typed; the service moves it to the product's passfile."""

    TITLE_TEXT = "New source"

    def __init__(self) -> None:
        super().__init__(classes="add-source")

    def compose_body(self) -> ComposeResult:
        """The form."""
        yield Field("Name", PlainInput(placeholder="shop", id="name"), id="source_name")
        yield Field("DSN", PlainInput(placeholder="postgresql://user@host/database", id="dsn"), id="dsn-field")
        yield Field("Password", PlainInput(password=True, placeholder="empty: .pgpass, service", id="password"))
        yield text("Connection settings are libpq's. The password goes to a private file, not to the catalog.")
        yield Waiting(id="result")

    def compose_buttons(self) -> ComposeResult:
        """Save, and the way back."""
        yield PlainButton("Save and try", id="save")
        yield PlainButton("Cancel", id="cancel")

    def on_mount(self) -> None:
        """Start with the name."""
        self.query_one("#name").focus()

    @on(Button.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.dismiss(None)

    @on(Button.Pressed, "#save")
    def _save(self) -> None:
        name = self.query_one("#name", PlainInput).value.strip()
        dsn = self.query_one("#dsn", PlainInput).value.strip()
        self.query_one("#source_name", Field).show_error("" if name else "Give it a name.")
        self.query_one("#dsn-field", Field).show_error("" if dsn else "Say where it is.")
        if name and dsn:
            self._add(name, dsn, self.query_one("#password", PlainInput).value)

    @work(group="add", exit_on_error=False, description="registering a source")
    async def _add(self, name: str, dsn: str, password: str) -> None:
        result = self.query_one("#result", Waiting)
        button = self.query_one("#save", Button)
        button.disabled = True
        result.wait_for("Connecting")
        try:
            await self.host.backend.add_source(name, dsn, password or None)
            found = await self.host.backend.test_source(name)
        except ValidationError as error:
            field = "#source_name" if error.field == "source_name" else "#dsn-field"
            self.query_one(field, Field).show_error(error.message)
            result.say(error.hint, wrong=True)
        except TuiBackupError as error:
            result.say(f"{error.message} {error.hint}", wrong=True)
        else:
            problems = [check.message for check in found.problems if check.level != "ok"]
            if problems:
                self.host.toast(f"{name}: {problems[0]}", "warn")
            else:
                self.host.toast(f"{found.database}: {found.tables} tables, {format_bytes(found.size_bytes)}.", "good")
            self.dismiss(name)
        finally:
            button.disabled = False
