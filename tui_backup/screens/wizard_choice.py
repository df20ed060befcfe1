"""The restore wizard's first two steps: which backup, what of it, and where to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Label, RadioSet
from textual.worker import Worker

from tui_backup.errors import TuiBackupError
from tui_backup.model import BackupJob, RestoreRequest, RestoreTarget
from tui_backup.screens.backups import PROOF_WORDS
from tui_backup.screens.base import text
from tui_backup.screens.details import facts_content
from tui_backup.screens.formats import TABLE_COLUMNS, exact_time, number
from tui_backup.screens.host import Host, host_of, report_worker
from tui_backup.screens.job_rows import COMPLETED_COLUMNS, completed_row
from tui_backup.screens.restores import can_restore
from tui_backup.screens.rows import Look, View
from tui_backup.services.utilities import format_age, format_bytes
from tui_backup.widgets.controls import Field, PlainCheckbox, PlainRadioSet, PlainSelect
from tui_backup.widgets.live_table import LiveTable
from tui_backup.widgets.pick_table import PickTable
from tui_backup.widgets.plain_input import PlainInput
from tui_backup.widgets.table_model import Cell, Row

TARGETS = (
    ("a new database beside the old one: replaces nothing", RestoreTarget.NEW_DATABASE),
    ("swap: restored beside, then exchanged by name, the old one kept", RestoreTarget.SWAP),
    ("chosen tables into a side schema, to look at them first", RestoreTarget.SIDE_SCHEMA),
    ("in place: replace the rows of the live tables", RestoreTarget.IN_PLACE),
)
WORDS_OF_TARGET = {
    RestoreTarget.NEW_DATABASE: "The live database is not touched. The safest way, and the default.",
    RestoreTarget.SWAP: "Sessions on the live database are ended. Undo by one key while the old one is kept.",
    RestoreTarget.SIDE_SCHEMA: "The tables appear in a schema of their own in the live database.",
    RestoreTarget.IN_PLACE: "One transaction: on any error the tables stay as they are. THEIR ROWS ARE REPLACED.",
}


class BackupStep(Vertical):
    """Step 1: a completed backup, with all its details below."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__(id="step-1")
        self._wanted = job_id

    @property
    def host(self) -> Host:
        """The application."""
        return host_of(self)

    def compose(self) -> ComposeResult:
        """Table and preview."""
        yield LiveTable(COMPLETED_COLUMNS, symbols=self.host.symbols, id="wizard-backups")
        yield Label("", id="preview", markup=False)

    def on_mount(self) -> None:
        """List the completed backups."""
        self.refresh_rows()
        self.table.move_to(str(self._wanted))

    @property
    def table(self) -> LiveTable:
        """The backups."""
        return self.query_one("#wizard-backups", LiveTable)

    @property
    def job(self) -> BackupJob | None:
        """The chosen backup."""
        key = self.table.cursor_key
        return self.host.board.jobs.get(UUID(key)) if key else None

    def refresh_rows(self) -> None:
        """Follow the board."""
        board = self.host.board
        look = Look(board.now, self.host.symbols)
        jobs = [job for job in board.jobs.values() if can_restore(job)]
        self.table.set_rows([completed_row(View(job, board.verifications.get(job.id), look)) for job in jobs])

    def on_live_table_highlighted(self) -> None:
        """Another backup: its details."""
        job = self.job
        if job is None:
            return
        age = format_age((self.host.board.now() - (job.completed_at or job.created_at)).total_seconds())
        proof = PROOF_WORDS[job.proof]
        facts = (
            ("Backup", f"{job.source_name}  {job.backup_name or ''}".strip()),
            ("Id", str(job.id)),
            ("Taken", f"{exact_time(job.started_at)}, {age} ago"),
            ("Holds", f"{number(job.tables_count)} tables, {number(job.rows_count)} rows"),
            ("Size", f"{format_bytes(job.backup_size)}, stored in {format_bytes(job.compressed_size_bytes)}"),
            ("Repository", f"{job.repository_name or '?'}  {job.storage_bucket or ''}"),
            ("Description", job.description or "-"),
            ("Proof", proof if job.proof_at is None else f"{proof} {exact_time(job.proof_at)}"),
        )
        self.query_one("#preview", Label).update(facts_content(facts, 13))


class TargetStep(Vertical):
    """Step 2: where to, and all or chosen tables."""

    def __init__(self) -> None:
        super().__init__(id="step-2")
        self._job: BackupJob | None = None
        self._own_names: dict[RestoreTarget, str] = {}

    @property
    def host(self) -> Host:
        """The application."""
        return host_of(self)

    def compose(self) -> ComposeResult:
        """The form."""
        options = [(label, str(target)) for label, target in TARGETS]
        yield PlainRadioSet(options, value=str(RestoreTarget.NEW_DATABASE), id="target")
        yield text("", id="target-words", classes="prose hint")
        yield Field("Name", PlainInput(id="target-name"), id="target-name-field")
        whole = PlainRadioSet((("all of it", "all"), ("chosen tables", "tables")), value="all", id="what")
        yield Field("What", whole, id="what-field")
        yield PickTable(TABLE_COLUMNS[:3], symbols=self.host.symbols, id="wizard-tables")
        yield Field("Server of", PlainSelect([], id="target-source"), id="target-source-field")
        yield PlainCheckbox("compare with the backup's content afterwards", True, id="compare")
        yield PlainCheckbox("back the tables up first", True, id="safety")
        yield PlainCheckbox("leave owners and grants out (a server without the roles)", False, id="no-owner")

    def on_mount(self) -> None:
        """Nothing is known of the backup yet."""
        self.query_one("#wizard-tables").display = False
        self._show_target()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Show failures of workers."""
        report_worker(self, event)

    # -- the answers --------------------------------------------------------------------------------------------

    @property
    def target(self) -> RestoreTarget:
        """Where to."""
        return RestoreTarget(self.query_one("#target", PlainRadioSet).chosen)

    @property
    def _partial(self) -> bool:
        if self.target is RestoreTarget.SWAP:
            return False
        needed = self.target is RestoreTarget.SIDE_SCHEMA and not self._of_tenant
        return needed or self.query_one("#what", PlainRadioSet).chosen == "tables"

    @property
    def _of_tenant(self) -> bool:
        """The backup holds one tenant's rows: it may be looked at whole."""
        return self._job is not None and self._job.tenant_scope

    def request(self, job: BackupJob) -> RestoreRequest:
        """The answers as a request, not confirmed."""
        name = self.query_one("#target-name", PlainInput).value.strip() or None
        target = self.target
        source = self.query_one("#target-source", PlainSelect).chosen
        return RestoreRequest(
            job_id=job.id,
            target=target,
            database=name if target is RestoreTarget.NEW_DATABASE else None,
            schema=name if target is RestoreTarget.SIDE_SCHEMA else None,
            tables=self.query_one("#wizard-tables", PickTable).ticked if self._partial else (),
            compare=self._ticked("#compare"),
            safety_backup=self._ticked("#safety"),
            no_owner=self._ticked("#no-owner"),
            target_source=None if source == job.source_name else source,
        )

    def _ticked(self, selector: str) -> bool:
        return self.query_one(selector, PlainCheckbox).value

    def problems(self) -> bool:
        """Show what is missing; True when something is."""
        field = self.query_one("#target-name-field", Field)
        name = self.query_one("#target-name", PlainInput).value.strip()
        needed = self.target in (RestoreTarget.NEW_DATABASE, RestoreTarget.SIDE_SCHEMA)
        wrong = ""
        if needed and not name:
            wrong = "Give it a name."
        elif needed and len(name.encode()) > 63:
            wrong = "PostgreSQL's names have at most 63 bytes."
        field.show_error(wrong)
        nothing = self._partial and not self.query_one("#wizard-tables", PickTable).ticked
        self.query_one("#what-field", Field).show_error("Tick at least one table (Space)." if nothing else "")
        return bool(wrong) or nothing

    # -- the form -----------------------------------------------------------------------------------------------

    def take_job(self, job: BackupJob, now: datetime) -> None:
        """Start from a backup; the same one again keeps every answer."""
        if self._job is not None and self._job.id == job.id:
            return
        self._job = job
        stamp = (job.started_at or job.created_at).strftime("%Y%m%d_%H%M")
        self._own_names = {
            RestoreTarget.NEW_DATABASE: _safe_name(f"{job.source_name or 'restored'}_{stamp}"),
            RestoreTarget.SIDE_SCHEMA: _safe_name(f"restored_{stamp}"),
        }
        self._show_target(rename=True)
        self._load(job)

    @work(group="wizard", exclusive=True, exit_on_error=False, description="reading the backup's tables")
    async def _load(self, job: BackupJob) -> None:
        table = self.query_one("#wizard-tables", PickTable)
        table.set_choices([])
        table.set_placeholder("Reading the manifest")
        own = job.source_name or ""
        self.query_one("#target-source", PlainSelect).replace_options([(own, own)], own)
        try:
            sources = [source.source_name for source in await self.host.backend.get_sources()]
            found = await self.host.backend.get_backup_contents(job.id)
        except TuiBackupError as error:
            table.set_placeholder(f"The tables cannot be read: {error.message}", error.hint)
            self.host.report(error, doing="reading the backup's tables")
            return
        self.query_one("#target-source", PlainSelect).replace_options([(name, name) for name in sources], own)
        rows: Sequence[Row] = [
            Row(
                each.name,
                (
                    Cell(each.name),
                    Cell(number(each.rows), sort=each.rows),
                    Cell(format_bytes(each.raw_bytes), sort=each.raw_bytes),
                ),
                rank=each.name,
            )
            for each in found
        ]
        table.set_placeholder("This backup holds no tables.")
        table.set_choices(rows)

    @on(RadioSet.Changed, "#target")
    def _target_changed(self) -> None:
        self._show_target(rename=True)

    @on(RadioSet.Changed, "#what")
    def _what_changed(self) -> None:
        self._show_target()

    def _show_target(self, *, rename: bool = False) -> None:
        target = self.target
        words = self.query_one("#target-words", Label)
        words.update(WORDS_OF_TARGET[target])
        named = target in (RestoreTarget.NEW_DATABASE, RestoreTarget.SIDE_SCHEMA)
        self.query_one("#target-name-field").display = named
        field = self.query_one("#target-name", PlainInput)
        suggestions = set(self._own_names.values())
        if rename and named and (not field.value or field.value in suggestions):
            # A name that the user typed is kept, a suggested one follows the choice.
            field.value = self._own_names.get(target, "")
        whole = target is RestoreTarget.SWAP or (target is RestoreTarget.SIDE_SCHEMA and not self._of_tenant)
        self.query_one("#what-field").display = not whole
        self.query_one("#wizard-tables").display = self._partial
        self.query_one("#safety").display = target is RestoreTarget.IN_PLACE
        self.query_one("#no-owner").display = target in (RestoreTarget.NEW_DATABASE, RestoreTarget.SWAP)


def _safe_name(name: str) -> str:
    """A suggestion that needs no quoting: what a shell and a person can type."""
    plain = "".join(char if char.isascii() and (char.isalnum() or char == "_") else "_" for char in name.lower())
    return plain[:63]
