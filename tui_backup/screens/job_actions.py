"""What the keys of the first screen do: key -> action -> worker -> service -> board."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from uuid import UUID

from textual import work

from tui_backup.actions import BY_ID
from tui_backup.messages import Subject
from tui_backup.model import BackupJob, BackupRestoreLog, BackupSchedule, Verification
from tui_backup.screens import later
from tui_backup.screens.base import DashboardScreen
from tui_backup.screens.facts import (
    backup_command,
    kept_database,
    logged_restore_command,
    schedule_command,
    undo_words,
    undone_words,
    why_not_cancel,
    why_not_delete,
    why_not_finish,
    why_not_restore,
    why_not_undo,
)
from tui_backup.screens.formats import exact_time
from tui_backup.screens.pane import Pane
from tui_backup.services.events import Change, Kind
from tui_backup.widgets.symbols import GOOD, WARN

KINDS: Mapping[type[BackupJob | BackupRestoreLog | BackupSchedule | Verification], tuple[Kind, Subject]] = {
    BackupJob: ("job", "jobs"),
    BackupRestoreLog: ("restore", "restores"),
    BackupSchedule: ("schedule", "schedules"),
    Verification: ("verification", "verifications"),
}


class JobActions(DashboardScreen[None]):
    """The actions, for the screen that has panes."""

    _loading_older = False

    @property
    def pane(self) -> Pane:
        """The open tab's pane."""
        raise NotImplementedError

    def open_tab(self, name: str) -> None:
        """Open one of the three tabs."""
        raise NotImplementedError

    def show_panes(self) -> None:
        """Bring all tabs up to date with the board."""
        raise NotImplementedError

    # -- may it be done? ----------------------------------------------------------------------------------------

    def why_not(self, action: str) -> str:
        """Why an action makes no sense on what is highlighted, empty when it does."""
        pane = self.pane
        restore = pane.restore()
        match action:
            case "restore" | "download":
                return why_not_restore(pane.job())
            case "verify":
                return why_not_restore(pane.job()) or self._why_not_verify()
            case "cancel":
                return why_not_cancel(restore or pane.job())
            case "delete":
                return "" if pane.schedule() is not None else why_not_delete(pane.job())
            case "edit" | "toggle_schedule":
                return "" if pane.schedule() is not None else "Highlight a schedule first (tab 2)."
            case "undo":
                return why_not_undo(restore)
            case "finish":
                return why_not_finish(restore)
            case "details" | "copy_id" | "copy_command":
                return "" if pane.key() is not None else "Highlight a row first."
            case _:
                return ""

    def _why_not_verify(self) -> str:
        job = self.pane.job()
        verification = self.host.board.verifications.get(job.id) if job else None
        running = verification is not None and not verification.status.is_final
        return "This backup is being checked already." if running else ""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """``--read-only`` takes the actions that change anything away."""
        known = BY_ID.get(action)
        if known is not None and known.changes and self.host.read_only:
            return False
        return super().check_action(action, parameters)

    def _refused(self, action: str) -> bool:
        """Say why an action makes no sense here; True when it does not."""
        reason = self.why_not(action)
        if reason:
            self.host.toast(reason, WARN)
        return bool(reason)

    def _take(self, row: BackupJob | BackupRestoreLog | BackupSchedule | Verification) -> None:
        """Show a service's answer at once, without waiting for the catalog's notification."""
        for kind, (name, subject) in KINDS.items():
            if isinstance(row, kind):
                self.host.feed.take_change(Change(name, row.id, row))
                # At once, and not when the message comes: the cursor is put on the new row next.
                self.show_row_now(subject, row.backup_job_id if isinstance(row, Verification) else row.id)

    def show_row_now(self, subject: Subject, id_: UUID) -> None:
        """Bring one row of every tab up to date."""
        for pane in self.query(Pane):
            pane.show_one(subject, id_)

    # -- everywhere ---------------------------------------------------------------------------------------------

    def action_help(self) -> None:
        """Keys."""
        self.host.open_screen(later.HelpDialog(self.host.key_names, read_only=self.host.read_only))

    def action_palette(self) -> None:
        """Every action by name."""
        dialog = later.PaletteDialog(self.host.key_names, read_only=self.host.read_only)

        async def run(action: str | None) -> None:
            if action:
                await self.run_action(action)

        self.host.open_screen(dialog, run)

    def action_log(self) -> None:
        """The agent's log."""
        self.host.open_screen(later.LogScreen(self.host.config.agent_log))

    def action_pause(self) -> None:
        """Stop or go on."""
        board = self.host.board
        board.paused_at = None if board.paused else board.monotonic()
        if not board.paused:
            self.show_panes()
        self.host.toast("Paused: nothing on the screen changes." if board.paused else "Live again.")

    @work(group="reload", exclusive=True, exit_on_error=False, description="reading everything again")
    async def action_reload(self) -> None:
        """Read everything again; a dashboard that lost its catalog tries at once."""
        if self.host.board.connection.connected:
            await self.host.feed.read_all()
            self.host.toast("Read again.")
        else:
            self.host.start_feed()

    @work(group="agent", exit_on_error=False, description="starting an agent")
    async def action_start_agent(self) -> None:
        """Start a detached agent."""
        pid = await self.host.backend.start_agent()
        await self.host.feed.read_safety()
        self.host.toast(f"An agent runs now, pid {pid}. It goes on without the dashboard.", GOOD)

    def action_add_source(self) -> None:
        """Register a database."""
        self.host.open_screen(later.AddSourceDialog(), self._source_added)

    def _source_added(self, name: str | None) -> None:
        if name:
            self.host.toast(f"Source {name} is registered. n makes its first backup.", GOOD)
            self.action_reload()

    def action_quit(self) -> None:
        """Leave at once."""
        self.host.leave()

    # -- rows ---------------------------------------------------------------------------------------------------

    def action_sort(self) -> None:
        """Sort the table in use by the next column."""
        self.pane.table.action_sort()

    def action_details(self) -> None:
        """Everything about the highlighted row."""
        if self._refused("details"):
            return
        pane = self.pane
        restore, job, schedule = pane.restore(), pane.job(), pane.schedule()
        if restore is not None:
            self.host.open_screen(later.RestoreDetailsScreen(restore.id))
        elif job is not None:
            self.host.open_screen(later.JobDetailsScreen(job.id))
        elif schedule is not None and not self.host.read_only:
            self.action_edit()

    def action_copy_id(self) -> None:
        """Copy the id."""
        key = self.pane.key()
        if key is not None and not self._refused("copy_id"):
            self.host.copy(str(key), "id")

    def action_copy_command(self) -> None:
        """Copy the command that repeats this."""
        if self._refused("copy_command"):
            return
        pane = self.pane
        restore, job, schedule = pane.restore(), pane.job(), pane.schedule()
        if restore is not None:
            self.host.copy(logged_restore_command(restore), "command")
        elif job is not None:
            self.host.copy(backup_command(job), "command")
        elif schedule is not None:
            self.host.copy(schedule_command(schedule), "command")

    @work(group="older", exit_on_error=False, description="loading older backups")
    async def load_older(self) -> None:
        """Load the next page of jobs, one page at a time."""
        if not self._loading_older:
            self._loading_older = True
            try:
                await self.host.feed.read_older_jobs()
            finally:
                self._loading_older = False

    @work(group="find", exclusive=True, exit_on_error=False, description="looking for older backups")
    async def find_older(self, needle: str) -> None:
        """Look for the filter's text in jobs that are not loaded; each new key starts the wait again."""
        if needle.strip() and not self.host.board.all_jobs_loaded:
            await asyncio.sleep(0.4)
            await self.host.feed.read_matching_jobs(needle.strip())

    # -- backups ------------------------------------------------------------------------------------------------

    def action_new(self) -> None:
        """A backup, or a schedule on its tab; first of all a source where there is none."""
        if self.host.board.source_count == 0:
            self.action_add_source()
        elif self.pane.id == "schedules":
            self.host.open_screen(later.ScheduleForm(), self._schedule_saved)
        else:
            job = self.pane.job()
            self.host.open_screen(later.NewBackupDialog(source=job.source_name if job else None), self._job_made)

    def _job_made(self, job: BackupJob | None) -> None:
        if job is not None:
            self._take(job)
            self.open_tab("backups")
            self.pane.table.move_to(str(job.id))
            self.host.toast(f"Backup of {job.source_name} is queued.", GOOD)

    @work(group="verify", exit_on_error=False, description="asking for a check of the files")
    async def action_verify(self) -> None:
        """Ask the agent to read the backup back."""
        job = self.pane.job()
        if self._refused("verify") or job is None:
            return
        self._take(await self.host.backend.verify_backup(job.id))
        self.host.toast("The agent reads every file of this backup back now.")

    def action_download(self) -> None:
        """Ask where to write the backup as SQL."""
        job = self.pane.job()
        if not self._refused("download") and job is not None:
            self.host.open_screen(later.DownloadDialog(job))

    def action_restore(self) -> None:
        """Open the wizard on the highlighted backup."""
        job = self.pane.job()
        if self._refused("restore") or job is None:
            return
        self.host.open_screen(later.RestoreWizard(job.id), self._restore_left)

    def _restore_left(self, restore_id: UUID | None) -> None:
        if restore_id is not None:
            self.open_tab("restore")
            table = self.pane.tables[1]
            table.move_to(str(restore_id))
            table.focus()

    def action_cancel(self) -> None:
        """Ask, then cancel."""
        row = self.pane.restore() or self.pane.job()
        if self._refused("cancel") or row is None:
            return
        what = "restore" if isinstance(row, BackupRestoreLog) else "backup"
        detail = "What it has stored so far is not used." if what == "backup" else "The target stays as it was before."
        dialog = later.ConfirmDialog(f"Cancel this {what} of {row.source_name}?", detail, yes=f"Cancel the {what}")
        self.host.open_screen(dialog, lambda yes: self._cancel(row) if yes else None)

    @work(group="cancel", exit_on_error=False, description="cancelling")
    async def _cancel(self, row: BackupJob | BackupRestoreLog) -> None:
        backend = self.host.backend
        if isinstance(row, BackupRestoreLog):
            self._take(await backend.cancel_restore(row.id))
        else:
            self._take(await backend.cancel_backup_job(row.id))
        self.host.toast("Cancelling: the agent stops within a few seconds.")

    def action_delete(self) -> None:
        """Ask, then delete the backup or the schedule."""
        if self._refused("delete"):
            return
        schedule, job = self.pane.schedule(), self.pane.job()
        if schedule is not None:
            question = f"Delete schedule {schedule.schedule_name}?"
            dialog = later.ConfirmDialog(question, "Its backups stay. Nothing starts by itself any more.", yes="Delete")
            self.host.open_screen(dialog, lambda yes: self._delete_schedule(schedule) if yes else None)
        elif job is not None:
            self._ask_delete_job(job)

    def _ask_delete_job(self, job: BackupJob) -> None:
        others = [
            other
            for other in self.host.board.jobs.values()
            if other.source_id == job.source_id and other.id != job.id and not why_not_restore(other)
        ]
        detail = f"{job.source_name}, {exact_time(job.completed_at or job.created_at)}. Its files are deleted for good."
        if not why_not_restore(job):
            left = len(others)
            detail += f" {left} other backup(s) of this source stay." if left else " IT IS THE LAST GOOD BACKUP."
        name = job.backup_name or job.source_name or str(job.id)[:8]
        dialog = later.TypedConfirmDialog("Delete this backup?", detail, name)
        self.host.open_screen(dialog, lambda yes: self._delete_job(job) if yes else None)

    @work(group="delete", exit_on_error=False, description="deleting a backup")
    async def _delete_job(self, job: BackupJob) -> None:
        self.host.toast("The agent deletes the files.")
        await self.host.backend.delete_backup_job(job.id)
        await self.host.feed.read_all()
        self.host.toast("Backup deleted.", GOOD)

    # -- schedules ----------------------------------------------------------------------------------------------

    def action_edit(self) -> None:
        """Edit the highlighted schedule."""
        schedule = self.pane.schedule()
        if not self._refused("edit") and schedule is not None:
            self.host.open_screen(later.ScheduleForm(schedule), self._schedule_saved)

    def _schedule_saved(self, schedule: BackupSchedule | None) -> None:
        if schedule is not None:
            self._take(schedule)
            self.pane.table.move_to(str(schedule.id))
            self.host.toast(f"Schedule {schedule.schedule_name} is saved.", GOOD)

    def action_toggle_schedule(self) -> None:
        """Switch the highlighted schedule; switching off is asked first."""
        schedule = self.pane.schedule()
        if self._refused("toggle_schedule") or schedule is None:
            return
        if not schedule.is_enabled:
            self._toggle(schedule)
            return
        question = f"Switch {schedule.schedule_name} off?"
        dialog = later.ConfirmDialog(question, "Its backups no longer start by themselves.", yes="Switch off")
        self.host.open_screen(dialog, lambda yes: self._toggle(schedule) if yes else None)

    @work(group="toggle", exit_on_error=False, description="switching a schedule")
    async def _toggle(self, schedule: BackupSchedule) -> None:
        row = await self.host.backend.toggle_backup_schedule(schedule.id, not schedule.is_enabled)
        self._take(row)
        self.host.toast(f"{row.schedule_name} is {'on' if row.is_enabled else 'off'}.")

    @work(group="delete", exit_on_error=False, description="deleting a schedule")
    async def _delete_schedule(self, schedule: BackupSchedule) -> None:
        await self.host.backend.delete_backup_schedule(schedule.id)
        self.host.feed.take_change(Change("gone", schedule.id, None))
        self.host.toast(f"Schedule {schedule.schedule_name} is deleted.", GOOD)

    # -- restores -----------------------------------------------------------------------------------------------

    def action_undo(self) -> None:
        """Ask, then swap back, or put the rows back."""
        log = self.pane.restore()
        if self._refused("undo") or log is None:
            return
        title, detail, yes = undo_words(log)
        dialog = later.ConfirmDialog(title, detail, yes=yes)
        self.host.open_screen(dialog, lambda yes: self._undo(log) if yes else None)

    @work(group="undo", exit_on_error=False, description="undoing a swap")
    async def _undo(self, log: BackupRestoreLog) -> None:
        self.host.toast("The agent undoes it.")
        self._take(await self.host.backend.undo_restore(log.id))
        self.host.toast(undone_words(log), GOOD)

    def action_finish(self) -> None:
        """Ask, then drop the kept database."""
        log = self.pane.restore()
        if self._refused("finish") or log is None:
            return
        name = kept_database(log) or log.target_database or "finish"
        detail = f"The old database {name} is dropped for good. After this the swap cannot be undone."
        dialog = later.TypedConfirmDialog("Drop the old database?", detail, name, yes="Drop it")
        self.host.open_screen(dialog, lambda yes: self._finish(log) if yes else None)

    @work(group="undo", exit_on_error=False, description="dropping the old database")
    async def _finish(self, log: BackupRestoreLog) -> None:
        self._take(await self.host.backend.finish_restore(log.id))
        self.host.toast("The old database is dropped.", GOOD)
