"""The dialog that writes a backup as plain SQL, which psql loads without this program."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Button, Input

from tui_backup.errors import TuiBackupError
from tui_backup.model import BackupJob, Progress
from tui_backup.screens.base import Dialog, text
from tui_backup.screens.formats import number, percent
from tui_backup.screens.waiting import Waiting
from tui_backup.services.utilities import format_bytes
from tui_backup.widgets.controls import Field, PlainButton
from tui_backup.widgets.plain_input import PlainInput
from tui_backup.widgets.symbols import GOOD


class DownloadDialog(Dialog[None]):
    """Runs while it is open; Esc stops it and the service removes the partial file.

    Args:
        job: the completed backup.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "back", show=False, id="back")]
    TITLE_TEXT = "Write as plain SQL"

    def __init__(self, job: BackupJob) -> None:
        super().__init__(classes="download")
        self._job = job

    def compose_body(self) -> ComposeResult:
        """Where to."""
        job = self._job
        moment = (job.started_at or job.created_at).strftime("%Y%m%d_%H%M")
        plain = "".join(char if char.isascii() and (char.isalnum() or char in "-_") else "_" for char in _name(job))
        yield text(f"{_name(job)}: {number(job.tables_count)} tables, {format_bytes(job.backup_size)} of rows.")
        yield Field("File", PlainInput(str(Path.cwd() / f"{plain}_{moment}.sql"), id="output"), id="output-field")
        yield Waiting(id="progress", classes="hint")

    def compose_buttons(self) -> ComposeResult:
        """Write, and the way back."""
        yield PlainButton("Write", id="write")
        yield PlainButton("Cancel", id="cancel")

    def on_mount(self) -> None:
        """Start in the field."""
        self.query_one("#output").focus()
        self._progress.say("An existing file is never overwritten. Load it with psql into an empty database.")

    @property
    def _progress(self) -> Waiting:
        return self.query_one("#progress", Waiting)

    @on(Button.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.dismiss(None)

    @on(Input.Submitted, "#output")
    @on(Button.Pressed, "#write")
    def _start(self) -> None:
        value = self.query_one("#output", PlainInput).value.strip()
        self.query_one("#output-field", Field).show_error("" if value else "Say where to write it.")
        if value and not self.query_one("#write", Button).disabled:
            self._write(Path(value).expanduser())

    def _show(self, progress: Progress) -> None:
        self._progress.say(f"{format_bytes(progress.bytes_done)} written {percent(progress)}. Esc stops.")

    @work(group="download", exit_on_error=False, description="writing a backup as SQL")
    async def _write(self, output: Path) -> None:
        button = self.query_one("#write", Button)
        button.disabled = True
        self._progress.wait_for("Writing")
        try:
            written = await self.host.backend.download_backup_file(self._job.id, output, self._show)
        except TuiBackupError as error:
            self._progress.say(f"{error.message} {error.hint}", wrong=True)
        else:
            self.host.toast(f"{format_bytes(written)} written to {output}", GOOD)
            self.dismiss(None)
        finally:
            button.disabled = False


def _name(job: BackupJob) -> str:
    return job.backup_name or job.source_name or "backup"
