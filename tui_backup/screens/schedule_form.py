"""The form for a schedule: presets or cron, zone, keeping, mail; validated while typing."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

from textual import on, work
from textual.app import ComposeResult
from textual.suggester import SuggestFromList
from textual.widgets import Button, Checkbox, Input, Select

from tui_backup.errors import TuiBackupError, ValidationError
from tui_backup.model import BackupSchedule, BackupScheduleInsert, JobType
from tui_backup.screens.base import Dialog, set_text, text
from tui_backup.screens.formats import cron_words
from tui_backup.screens.waiting import Waiting
from tui_backup.services.schedules import PRESETS, next_runs, validate_schedule
from tui_backup.widgets.controls import Field, PlainButton, PlainCheckbox, PlainRadioSet, PlainSelect
from tui_backup.widgets.plain_input import PlainInput

CUSTOM = "custom"
# Which field of the form shows what validate_schedule() says of which setting.
FIELDS = {
    "schedule_name": "name-field",
    "source": "source-field",
    "cron_expression": "cron-field",
    "timezone": "zone-field",
    "retention_days": "days-field",
    "max_backups_count": "count-field",
    "notification_emails": "mail-field",
    "description": "description-field",
    "repository": "repository-field",
}


class ScheduleForm(Dialog[BackupSchedule]):
    """Makes a schedule, or edits one. Closes only once it is stored, so that nothing typed is lost.

    Args:
        schedule: the one to edit, None for a new one.
    """

    def __init__(self, schedule: BackupSchedule | None = None) -> None:
        super().__init__(classes="schedule-form")
        self.TITLE_TEXT = f"Edit {schedule.schedule_name}" if schedule else "New schedule"
        self._schedule = schedule
        # A new form does not shout at fields that nobody has reached yet.
        self._touched: set[str] = set(FIELDS) if schedule else set()

    def compose_body(self) -> ComposeResult:
        """The form, filled from the schedule to edit."""
        old = self._schedule
        cron = old.cron_expression if old else PRESETS[0].cron
        preset = next((each.id for each in PRESETS if each.cron == cron), CUSTOM)
        presets = [(each.label, each.id) for each in PRESETS] + [("Custom", CUSTOM)]
        keep_days = old.retention_days if old else 30
        keep_count = old.max_backups_count if old else 10
        yield Field("Name", PlainInput(old.schedule_name if old else "", id="name"), id="name-field")
        yield Field("Source", PlainSelect([], id="source"), id="source-field")
        kinds = (("full", "full"), ("incremental: what changed", "incremental"))
        kind = str(old.job_type) if old else "full"
        yield Field("Type", PlainRadioSet(kinds, value=kind, id="type"))
        yield Field("Preset", PlainSelect(presets, value=preset, id="preset"))
        yield Field("Cron", PlainInput(cron, id="cron"), id="cron-field")
        zone = PlainInput(old.timezone if old else "UTC", placeholder="Asia/Riyadh", id="zone")
        zone.suggester = SuggestFromList(sorted(available_timezones()), case_sensitive=False)
        yield Field("Zone", zone, id="zone-field")
        yield Field("Next", text("", id="next"))
        yield Field("Keep days", PlainInput("" if keep_days is None else str(keep_days), id="days"), id="days-field")
        yield Field("At most", PlainInput("" if keep_count is None else str(keep_count), id="count"), id="count-field")
        emails = ", ".join(old.notification_emails) if old else ""
        yield Field("Mail", PlainInput(emails, placeholder="a@example.com, b@example.com", id="mail"), id="mail-field")
        yield Field(
            "Mail on",
            PlainCheckbox("success", old.notify_on_success if old else False, id="on-success"),
            PlainCheckbox("failure", old.notify_on_failure if old else True, id="on-failure"),
        )
        yield Field("Into", PlainSelect([], id="repository"), id="repository-field")
        description = old.description or "" if old else ""
        yield Field("Description", PlainInput(description, placeholder="optional", id="description"))

    def compose_buttons(self) -> ComposeResult:
        """Save, and the way back."""
        yield PlainButton("Save", id="save")
        yield PlainButton("Cancel", id="cancel")
        yield Waiting(id="progress", classes="hint")

    def on_mount(self) -> None:
        """Read the choices and show the first preview."""
        self.query_one("#name").focus()
        self._progress.wait_for("Loading")
        self._load()
        self._check()

    @property
    def _progress(self) -> Waiting:
        return self.query_one("#progress", Waiting)

    @work(group="load", exclusive=True, exit_on_error=False, description="reading sources and repositories")
    async def _load(self) -> None:
        old = self._schedule
        try:
            sources = [each.source_name for each in await self.host.backend.get_sources()]
            repositories = await self.host.backend.get_repositories()
        except TuiBackupError as error:
            self._progress.say(f"{error.message} {error.hint}", wrong=True)
            return
        first = sources[0] if sources else None
        self._select("#source").replace_options(
            [(name, name) for name in sources], (old.source_name if old else None) or first
        )
        default = next((each.repository_name for each in repositories if each.is_default), None)
        self._select("#repository").replace_options(
            [(f"{each.repository_name}  {each.location}", each.repository_name) for each in repositories],
            (old.repository_name if old else None) or default,
        )
        self._progress.say("Esc back")
        self._check()

    def _select(self, selector: str) -> PlainSelect:
        return self.query_one(selector, PlainSelect)

    def _text(self, selector: str) -> str:
        return self.query_one(selector, PlainInput).text

    # -- while typing -------------------------------------------------------------------------------------------

    @on(Select.Changed, "#preset")
    def _preset_changed(self) -> None:
        preset = next((each for each in PRESETS if each.id == self._select("#preset").chosen), None)
        if preset is not None and self._text("#cron") != preset.cron:
            self.query_one("#cron", PlainInput).value = preset.cron
        elif preset is None and self.focused is self._select("#preset"):
            self.query_one("#cron").focus()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        if event.input.id == "cron":
            preset = next((each.id for each in PRESETS if each.cron == event.value.strip()), CUSTOM)
            if self._select("#preset").chosen != preset:
                self._select("#preset").value = preset
        if event.input.has_focus:
            self._touched.update(name for name, field in FIELDS.items() if field == f"{event.input.id}-field")
        self._check()

    @on(Select.Changed, "#source")
    @on(Checkbox.Changed)
    def _chosen(self) -> None:
        self._check()

    def _check(self) -> dict[str, str]:
        """Show what is wrong below each field that was touched, and the next runs."""
        problems = self._problems()
        for name, field in FIELDS.items():
            found = self.query(f"#{field}")
            if found:
                words = problems.get(name, "") if name in self._touched else ""
                found.first(Field).show_error(words)
        if "cron_expression" in problems or "timezone" in problems:
            set_text(self.query_one("#next"), "-")
        else:
            self._preview()
        return problems

    def _problems(self) -> dict[str, str]:
        problems: dict[str, str] = {}
        for name, selector in (("retention_days", "#days"), ("max_backups_count", "#count")):
            value = self._text(selector)
            if value and not (value.isascii() and value.isdigit()):
                problems[name] = "A whole number, or empty for no limit."
        problems = {**validate_schedule(self._insert()), **problems}
        if self._select("#source").chosen is None:
            problems["source"] = "Choose a source."
        return problems

    def _preview(self) -> None:
        cron, zone = self._text("#cron"), self._text("#zone")
        try:
            runs = next_runs(cron, zone, count=5, after=self.host.board.now())
        except ValidationError as error:
            set_text(self.query_one("#next"), error.message)
            return
        times = ", ".join(run.strftime("%a %b %d %H:%M") for run in runs)
        set_text(self.query_one("#next"), f"{cron_words(cron)}: {times} ({zone})")

    # -- saving -------------------------------------------------------------------------------------------------

    def _number(self, selector: str) -> int | None:
        value = self._text(selector)
        return int(value) if value.isascii() and value.isdigit() else None

    def _insert(self) -> BackupScheduleInsert:
        emails = [part.strip() for part in self._text("#mail").replace(";", ",").split(",")]
        return BackupScheduleInsert(
            schedule_name=self._text("#name"),
            source=self._select("#source").chosen or "",
            cron_expression=self._text("#cron"),
            job_type=JobType(self.query_one("#type", PlainRadioSet).chosen or JobType.FULL),
            timezone=self._text("#zone"),
            description=self._text("#description") or None,
            repository=self._select("#repository").chosen,
            is_enabled=self._schedule.is_enabled if self._schedule else True,
            retention_days=self._number("#days"),
            max_backups_count=self._number("#count"),
            notify_on_success=self.query_one("#on-success", Checkbox).value,
            notify_on_failure=self.query_one("#on-failure", Checkbox).value,
            notification_emails=[email for email in emails if email],
            tables=self._schedule.chosen_tables if self._schedule else (),
            tenant_scope=self._schedule.tenant_scope if self._schedule else False,
        )

    @on(Button.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.dismiss(None)

    @on(Input.Submitted)
    @on(Button.Pressed, "#save")
    def _save(self) -> None:
        self._touched = set(FIELDS)
        problems = self._check()
        if self.query_one("#save", Button).disabled:
            return
        if not problems:
            self._store(self._insert())
            return
        self._progress.say("Not saved: see the marked fields.", wrong=True)
        first = next((field for name, field in FIELDS.items() if name in problems), None)
        if first:
            self.query_one(f"#{first}").query("PlainInput, PlainSelect").first().focus()

    @work(group="save", exit_on_error=False, description="saving a schedule")
    async def _store(self, insert: BackupScheduleInsert) -> None:
        button = self.query_one("#save", Button)
        button.disabled = True
        self._progress.wait_for("Saving")
        try:
            if self._schedule is None:
                row = await self.host.backend.create_backup_schedule(insert)
            else:
                row = await self.host.backend.update_backup_schedule(self._schedule.id, _updates(insert))
        except ValidationError as error:
            self._progress.say("Not saved: see the marked fields.", wrong=True)
            if error.field in FIELDS:
                self.query_one(f"#{FIELDS[error.field]}", Field).show_error(error.message)
            else:
                self._progress.say(error.message, wrong=True)
        except TuiBackupError as error:
            self._progress.say(f"{error.message} {error.hint}", wrong=True)
            self.host.report(error, doing="saving a schedule")
        else:
            self.dismiss(row)
        finally:
            button.disabled = False


def _updates(insert: BackupScheduleInsert) -> dict[str, Any]:
    names = (
        "schedule_name",
        "source",
        "cron_expression",
        "timezone",
        "description",
        "repository",
        "retention_days",
        "max_backups_count",
        "notify_on_success",
        "notify_on_failure",
        "notification_emails",
    )
    return {name: getattr(insert, name) for name in names}
