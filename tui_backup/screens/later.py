"""Screens and dialogs that are loaded when they are opened for the first time: the dashboard starts without them.

Use them as ``later.HelpDialog(…)``. Importing them all takes about a quarter of the time to the first paint.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tui_backup.screens.add_source import AddSourceDialog
    from tui_backup.screens.confirm import ConfirmDialog, TypedConfirmDialog
    from tui_backup.screens.download import DownloadDialog
    from tui_backup.screens.help import HelpDialog
    from tui_backup.screens.job_details import JobDetailsScreen
    from tui_backup.screens.log_view import LogScreen
    from tui_backup.screens.new_backup import NewBackupDialog
    from tui_backup.screens.palette import PaletteDialog
    from tui_backup.screens.restore_details import RestoreDetailsScreen
    from tui_backup.screens.restore_wizard import RestoreWizard
    from tui_backup.screens.schedule_form import ScheduleForm
    from tui_backup.screens.setup import SetupDialog

__all__ = [
    "AddSourceDialog",
    "ConfirmDialog",
    "DownloadDialog",
    "HelpDialog",
    "JobDetailsScreen",
    "LogScreen",
    "NewBackupDialog",
    "PaletteDialog",
    "RestoreDetailsScreen",
    "RestoreWizard",
    "ScheduleForm",
    "SetupDialog",
    "TypedConfirmDialog",
]

HOMES = {
    "AddSourceDialog": "add_source",
    "ConfirmDialog": "confirm",
    "TypedConfirmDialog": "confirm",
    "DownloadDialog": "download",
    "HelpDialog": "help",
    "JobDetailsScreen": "job_details",
    "LogScreen": "log_view",
    "NewBackupDialog": "new_backup",
    "PaletteDialog": "palette",
    "RestoreDetailsScreen": "restore_details",
    "RestoreWizard": "restore_wizard",
    "ScheduleForm": "schedule_form",
    "SetupDialog": "setup",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"tui_backup.screens.{HOMES[name]}"), name)
