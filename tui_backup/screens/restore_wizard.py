"""The restore wizard: backup, what and where, plan and checks, confirmation, result."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar
from uuid import UUID

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Button, ContentSwitcher, Input

from tui_backup.errors import TuiBackupError
from tui_backup.messages import BoardChanged, Tick
from tui_backup.model import RestorePlan, RestoreRequest
from tui_backup.screens.base import Dialog, set_text, text
from tui_backup.screens.confirm import ConfirmDialog
from tui_backup.screens.facts import undo_words, undone_words, why_not_cancel, why_not_restore, why_not_undo
from tui_backup.screens.waiting import Waiting
from tui_backup.screens.wizard_choice import BackupStep, TargetStep
from tui_backup.screens.wizard_plan import ConfirmStep, PlanStep, RiskButton
from tui_backup.screens.wizard_result import ResultStep
from tui_backup.services.events import Change
from tui_backup.widgets.controls import PlainButton
from tui_backup.widgets.live_table import LiveTable
from tui_backup.widgets.symbols import GOOD, WARN

STEPS = ("1 Backup", "2 What and where", "3 Plan and checks", "4 CONFIRM")
RESULT = 5


class RestoreWizard(Dialog[UUID]):
    """Esc goes one step back and keeps every answer. The result is the restore's id once it was started.

    Args:
        job_id: the backup to start with.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("x", "cancel_restore", show=False, id="cancel"),
        Binding("u", "undo", show=False, id="undo"),
    ]
    TITLE_TEXT = "Restore"

    def __init__(self, job_id: UUID) -> None:
        super().__init__(classes="wizard")
        self._job_id = job_id
        self._step = 1
        self._plan: RestorePlan | None = None
        self._request: RestoreRequest | None = None

    def compose(self) -> ComposeResult:
        """Steps line, the step, buttons."""
        with Vertical(classes="dialog") as box:
            box.border_title = self.TITLE_TEXT
            yield text("", id="steps")
            with (
                VerticalScroll(classes="dialog-body", can_focus=False),
                ContentSwitcher(initial="step-1", id="switcher"),
            ):
                yield BackupStep(self._job_id)
                yield TargetStep()
                yield PlanStep()
                yield ConfirmStep()
                yield ResultStep()
            with Horizontal(classes="dialog-buttons"):
                yield PlainButton("Cancel", id="cancel")
                yield PlainButton("Back", id="back")
                yield PlainButton("Next", id="next")
                yield RiskButton("Restore", id="restore", danger=True, disabled=True)

    def on_mount(self) -> None:
        """Start at the first step."""
        self._show_step(1)

    # -- going ---------------------------------------------------------------------------------------------------

    def _show_step(self, step: int) -> None:
        self._step = step
        self.query_one("#switcher", ContentSwitcher).current = f"step-{step}"
        parts: list[str | tuple[str, str]] = []
        for place, label in enumerate(STEPS, start=1):
            parts += [" > "] if place > 1 else []
            parts.append((label, "bold reverse" if place == step else "dim" if place > step else ""))
        set_text(self.query_one("#steps"), Content.assemble(*parts) if step != RESULT else Content(""))
        self.query_one("#cancel", Button).display = step != RESULT
        back, forward = self.query_one("#back", Button), self.query_one("#next", Button)
        back.display = step > 1
        back.label = Content("[ Close ]" if step == RESULT else "[ Back ]")
        forward.display = step < 4
        self.query_one("#restore").display = step == 4
        self.query_one(".dialog").set_class(step == 4, "-confirm")
        waits = step == 3 and (self._plan is None or bool(self._plan.refused))
        third = "#back" if waits else "#next"
        focus = {1: "#wizard-backups", 2: "#target", 3: third, 4: "#cancel", RESULT: "#back"}[step]
        # Focus first: a button that is disabled while it has the focus drops it a moment later.
        self.query_one(focus).focus()
        forward.disabled = waits

    def action_back(self) -> None:
        """One step back; from the first step, and from the result, out."""
        if self._step == RESULT:
            self.dismiss(self.query_one(ResultStep).restore_id)
        elif self._step == 1:
            self.dismiss(None)
        else:
            self._show_step(self._step - 1)

    @on(Button.Pressed, "#back")
    def _back_pressed(self) -> None:
        self.action_back()

    @on(Button.Pressed, "#cancel")
    def _cancel_pressed(self) -> None:
        self.dismiss(None)

    @on(LiveTable.Selected, "#wizard-backups")
    @on(Input.Submitted, "#target-name")
    @on(Button.Pressed, "#next")
    def _next(self) -> None:
        {1: self._to_target, 2: self._to_plan, 3: self._to_confirm}[self._step]()

    def _to_target(self) -> None:
        job = self.query_one(BackupStep).job
        reason = why_not_restore(job)
        if reason or job is None:
            self.host.toast(reason, WARN)
            return
        self.query_one(TargetStep).take_job(job, self.host.board.now())
        self._show_step(2)

    def _to_plan(self) -> None:
        job, step = self.query_one(BackupStep).job, self.query_one(TargetStep)
        if job is None or step.problems():
            return
        request = step.request(job)
        self._plan = None
        self._request = request
        self._show_step(3)
        self._make_plan(request)

    def _to_confirm(self) -> None:
        if self._plan is None or self._request is None or self._plan.refused:
            return
        self.query_one(ConfirmStep).take(self._plan, self._request)
        self._show_step(4)

    # -- work ----------------------------------------------------------------------------------------------------

    @work(group="plan", exclusive=True, exit_on_error=False, description="planning a restore")
    async def _make_plan(self, request: RestoreRequest) -> None:
        step = self.query_one(PlanStep)
        step.wait()
        try:
            plan = await self.host.backend.plan_restore(request)
        except TuiBackupError as error:
            step.fail(f"{error.message} {error.hint}")
            self.host.report(error, doing="planning a restore")
            return
        self._plan = plan
        step.show_plan(plan)
        if self._step == 3:
            forward = self.query_one("#next", Button)
            forward.disabled = bool(plan.refused)
            (self.query_one("#back") if plan.refused else forward).focus()

    @on(Button.Pressed, "#restore")
    def _restore_pressed(self) -> None:
        if self._step == 4 and self.query_one(ConfirmStep).ready and self._request is not None:
            self._start(replace(self._request, confirm_restore=True))

    @work(group="restore", exit_on_error=False, description="starting a restore")
    async def _start(self, request: RestoreRequest) -> None:
        progress = self.query_one("#confirm-progress", Waiting)
        button = self.query_one("#restore", Button)
        button.disabled = True
        progress.wait_for("Asking")
        try:
            log = await self.host.backend.restore_from_backup(request)
        except TuiBackupError as error:
            progress.say(f"{error.message} {error.hint}", wrong=True)
            self.host.report(error, doing="starting a restore")
            button.disabled = not self.query_one(ConfirmStep).ready
            return
        self.host.feed.take_change(Change("restore", log.id, log))
        result = self.query_one(ResultStep)
        result.restore_id = log.id
        self._show_step(RESULT)
        result.show_log()

    # -- following -----------------------------------------------------------------------------------------------

    def on_board_changed(self, message: BoardChanged) -> None:
        """Follow the restore; list new backups."""
        if self._step == RESULT and message.subject == "restores":
            self.query_one(ResultStep).show_log()
        elif self._step == 1 and message.subject == "jobs":
            self.query_one(BackupStep).refresh_rows()

    def on_screen_resume(self) -> None:
        """Seen again after a question: what changed meanwhile."""
        self.query_one(ResultStep).show_log()

    def on_tick(self, message: Tick) -> None:
        """The elapsed time."""
        if self._step == RESULT:
            self.query_one(ResultStep).show_log()

    def action_cancel_restore(self) -> None:
        """Ask, then cancel the running restore."""
        log = self.query_one(ResultStep).restore
        if self._step != RESULT or log is None:
            return
        if reason := why_not_cancel(log):
            self.host.toast(reason, WARN)
            return
        dialog = ConfirmDialog("Cancel this restore?", "The target stays as it was before.", yes="Cancel the restore")
        self.host.open_screen(dialog, lambda yes: self._cancel_restore(log.id) if yes else None)

    @work(group="cancel", exit_on_error=False, description="cancelling a restore")
    async def _cancel_restore(self, restore_id: UUID) -> None:
        log = await self.host.backend.cancel_restore(restore_id)
        self.host.feed.take_change(Change("restore", log.id, log))

    def action_undo(self) -> None:
        """Ask, then swap back."""
        log = self.query_one(ResultStep).restore
        if self._step != RESULT or log is None:
            return
        if reason := why_not_undo(log):
            self.host.toast(reason, WARN)
            return
        title, detail, yes = undo_words(log)
        dialog = ConfirmDialog(title, detail, yes=yes)
        self.host.open_screen(dialog, lambda yes: self._undo(log.id) if yes else None)

    @work(group="undo", exit_on_error=False, description="undoing a swap")
    async def _undo(self, restore_id: UUID) -> None:
        log = await self.host.backend.undo_restore(restore_id)
        self.host.feed.take_change(Change("restore", log.id, log))
        self.host.toast(undone_words(log), GOOD)
