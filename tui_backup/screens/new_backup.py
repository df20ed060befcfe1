"""The dialog for a new backup."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from textual import on, work
from textual.app import ComposeResult
from textual.widgets import Button, Input, RadioSet, Select

from tui_backup.errors import TuiBackupError
from tui_backup.model import BackupJob, BackupJobInsert, JobType
from tui_backup.screens.base import Dialog
from tui_backup.screens.formats import TABLE_COLUMNS
from tui_backup.screens.waiting import Waiting
from tui_backup.services.backups import BackupEstimate
from tui_backup.services.sources import SourceTable
from tui_backup.services.utilities import format_bytes, format_duration
from tui_backup.widgets.controls import Field, PlainButton, PlainRadioSet, PlainSelect
from tui_backup.widgets.pick_table import PickTable
from tui_backup.widgets.plain_input import PlainInput
from tui_backup.widgets.table_model import Cell, Row


def table_rows(tables: Sequence[SourceTable]) -> list[Row]:
    """Tables of a source for ticking."""
    return [
        Row(
            table.quoted_name,
            (
                Cell(table.quoted_name),
                Cell(f"~{table.rows_estimate:,}", sort=table.rows_estimate),
                Cell(format_bytes(table.bytes), sort=table.bytes),
            ),
            rank=(table.schema, table.name),
        )
        for table in tables
    ]


def estimate_words(estimate: BackupEstimate) -> str:
    """Room and time in words."""
    needs = "unknown" if estimate.bytes_needed is None else f"about {format_bytes(estimate.bytes_needed)}"
    if estimate.seconds is not None:
        needs += f", about {format_duration(estimate.seconds)}"
    if estimate.bytes_free is not None:
        needs += f"; {estimate.repository} has {format_bytes(estimate.bytes_free)} free"
        if estimate.bytes_needed is not None and estimate.bytes_needed > estimate.bytes_free:
            needs += ": NOT ENOUGH"
    return needs


class NewBackupDialog(Dialog[BackupJob]):
    """Asks what is backed up and where to; closes only once the job is queued, so that nothing typed is lost.

    Args:
        source: name of the source to start with.
    """

    TITLE_TEXT = "New backup"

    def __init__(self, source: str | None = None) -> None:
        super().__init__(classes="new-backup")
        self._wanted = source
        self._tables_of: str | None = None

    def compose_body(self) -> ComposeResult:
        """The form."""
        yield Field("Source", PlainSelect([], id="source"), id="source-field")
        kinds = (("full", "full"), ("incremental: what changed", "incremental"))
        yield Field("Type", PlainRadioSet(kinds, value="full", id="type"))
        parts = (("all of it", "all"), ("chosen tables", "tables"), ("this tenant's rows only", "tenant"))
        yield Field("What", PlainRadioSet(parts, value="all", id="what"), id="tables-field")
        yield PickTable(TABLE_COLUMNS[:3], symbols=self.host.symbols, id="tables")
        yield Field("Name", PlainInput(placeholder="optional", id="name"), id="name-field")
        yield Field("Description", PlainInput(placeholder="optional", id="description"))
        yield Field("Into", PlainSelect([], id="repository"), id="repository-field")
        yield Field("Needs", Waiting(id="needs"))

    def compose_buttons(self) -> ComposeResult:
        """Start, and the way back."""
        yield PlainButton("Start", id="start")
        yield PlainButton("Cancel", id="cancel")
        yield Waiting(id="progress", classes="hint")

    def on_mount(self) -> None:
        """Read the choices."""
        self.query_one("#tables").display = False
        self._progress.say("Esc back")
        self._load()

    @property
    def _progress(self) -> Waiting:
        return self.query_one("#progress", Waiting)

    @property
    def _source(self) -> str | None:
        return self.query_one("#source", PlainSelect).chosen

    @property
    def _is_of_tenant(self) -> bool:
        return self.query_one("#what", PlainRadioSet).chosen == "tenant"

    @property
    def _picked(self) -> list[str]:
        chosen = self.query_one("#what", PlainRadioSet).chosen == "tables"
        return self.query_one("#tables", PickTable).ticked if chosen else []

    @work(group="load", exclusive=True, exit_on_error=False, description="reading sources and repositories")
    async def _load(self) -> None:
        needs = self.query_one("#needs", Waiting)
        needs.wait_for("Loading")
        try:
            sources = await self.host.backend.get_sources()
            repositories = await self.host.backend.get_repositories()
        except TuiBackupError as error:
            needs.say(f"{error.message} {error.hint}", wrong=True)
            return
        names = [source.source_name for source in sources]
        wanted = self._wanted if self._wanted in names else (names[0] if names else None)
        self.query_one("#source", PlainSelect).replace_options([(name, name) for name in names], wanted)
        places = [(f"{each.repository_name}  {each.location}", each.repository_name) for each in repositories]
        default = next((each.repository_name for each in repositories if each.is_default), None)
        self.query_one("#repository", PlainSelect).replace_options(places, default)
        # One source, or the highlighted row's: nothing has to be chosen, Enter starts.
        clear = len(names) == 1 or (self._wanted is not None and wanted == self._wanted)
        self.query_one("#start" if clear else "#source").focus()
        self._estimate()

    @on(Select.Changed, "#source")
    def _source_changed(self) -> None:
        self._show_tables()
        self._estimate()

    @on(Select.Changed, "#repository")
    @on(PickTable.Changed)
    def _choice_changed(self) -> None:
        self._estimate()

    @on(RadioSet.Changed, "#what")
    def _what_changed(self) -> None:
        self._show_tables()
        self._estimate()

    def _show_tables(self) -> None:
        wanted = self.query_one("#what", PlainRadioSet).chosen == "tables"
        self.query_one("#tables").display = wanted
        if wanted and self._source is not None and self._tables_of != self._source:
            self._load_tables(self._source)

    @work(group="tables", exclusive=True, exit_on_error=False, description="reading the tables")
    async def _load_tables(self, source: str) -> None:
        table = self.query_one("#tables", PickTable)
        field = self.query_one("#tables-field", Field)
        table.set_choices([])
        table.set_placeholder(f"Reading the tables of {source}")
        try:
            found = await self.host.backend.list_source_tables(source)
        except TuiBackupError as error:
            field.show_error(f"{error.message} {error.hint}")
            table.set_placeholder("The tables could not be read.")
            return
        field.show_error("")
        self._tables_of = source
        table.set_placeholder("This database has no tables.")
        table.set_choices(table_rows(found))

    @work(group="estimate", exclusive=True, exit_on_error=False, description="estimating")
    async def _estimate(self) -> None:
        source = self._source
        if source is None:
            self.query_one("#needs", Waiting).say("unknown: choose a source")
            return
        needs = self.query_one("#needs", Waiting)
        if self._is_of_tenant:
            needs.say("unknown: the room for this tenant's rows")
            return
        needs.wait_for("Estimating")
        # Ticking ten tables shall ask once.
        await asyncio.sleep(0.3)
        try:
            repository = self.query_one("#repository", PlainSelect).chosen
            estimate = await self.host.backend.estimate_backup(source, self._picked, repository)
        except TuiBackupError as error:
            needs.say(f"unknown: {error.message}", wrong=True)
        else:
            needs.say(estimate_words(estimate))

    @on(Button.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.dismiss(None)

    @on(Input.Submitted)
    @on(Button.Pressed, "#start")
    def _start(self) -> None:
        source = self._source
        self.query_one("#source-field", Field).show_error("" if source else "Choose a source.")
        partial = self.query_one("#what", PlainRadioSet).chosen == "tables"
        missing = partial and not self._picked
        self.query_one("#tables-field", Field).show_error("Tick at least one table (Space)." if missing else "")
        if source and not missing and not self.query_one("#start", Button).disabled:
            self._create(
                BackupJobInsert(
                    source=source,
                    job_type=JobType(self.query_one("#type", PlainRadioSet).chosen or JobType.FULL),
                    backup_name=self.query_one("#name", PlainInput).value.strip() or None,
                    description=self.query_one("#description", PlainInput).value.strip() or None,
                    tables=self._picked,
                    repository=self.query_one("#repository", PlainSelect).chosen,
                    tenant_scope=self._is_of_tenant,
                )
            )

    @work(group="create", exit_on_error=False, description="starting a backup")
    async def _create(self, job: BackupJobInsert) -> None:
        start = self.query_one("#start", Button)
        # One press, one backup.
        start.disabled = True
        self._progress.wait_for("Asking")
        try:
            made = await self.host.backend.create_backup_job(job)
        except TuiBackupError as error:
            self._progress.say(f"{error.message} {error.hint}", wrong=True)
            self.host.report(error, doing="starting a backup")
        else:
            self.dismiss(made)
        finally:
            start.disabled = False
