"""Every action of the dashboard once: its keys, label and help. Screens bind them, help and palette list them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from textual.binding import Binding

PLACES = ("everywhere", "tables", "backups", "schedules", "restore")


@dataclass(frozen=True, slots=True)
class Action:
    """One action.

    Args:
        id: name that the configuration's ``[dashboard.keys]`` uses; the screen's method is ``action_<id>``.
        keys: keys as Textual names them, comma-separated.
        label: word for the key bar.
        help: one sentence for help and palette.
        place: where it works, one of PLACES.
        changes: whether it changes anything; ``--read-only`` leaves these out.
        shown: how the key is written for people.
    """

    id: str
    keys: str
    label: str
    help: str
    place: str = "everywhere"
    changes: bool = False
    shown: str = ""

    def key_text(self, keymap: Mapping[str, str]) -> str:
        """The first key as people write it, after the configuration's changes."""
        if self.id in keymap:
            return keymap[self.id].split(",")[0]
        return self.shown or self.keys.split(",", maxsplit=1)[0]


ACTIONS: tuple[Action, ...] = (
    Action("help", "question_mark", "Help", "Show every key and what it does.", shown="?"),
    Action("palette", "colon,ctrl+p", "Palette", "Find any action by its name.", shown=":"),
    Action("show_backups", "1", "Backups", "Open the backups tab."),
    Action("show_schedules", "2", "Schedules", "Open the schedules tab."),
    Action("show_restore", "3", "Restore", "Open the restore tab."),
    Action("new", "n", "New", "New backup; on the schedules tab a new schedule.", changes=True),
    Action("restore", "r", "Restore", "Restore the highlighted backup.", "backups", changes=True),
    Action("verify", "v", "Verify", "Read the highlighted backup back and check every file.", "backups", True),
    Action("download", "d", "Download", "Write the highlighted backup as plain SQL for psql.", "backups"),
    Action("details", "enter", "Details", "Show everything about the highlighted row.", "tables", shown="Enter"),
    Action("filter", "slash", "Filter", "Show only rows that contain a text.", "tables", shown="/"),
    Action("sort", "s", "Sort", "Sort by the next column; S turns the order round.", "tables"),
    Action("cancel", "x", "Cancel", "Cancel the highlighted job or restore.", "tables", changes=True),
    Action("delete", "D", "Delete", "Delete the highlighted backup or schedule.", "tables", changes=True),
    Action("edit", "e", "Edit", "Edit the highlighted schedule.", "schedules", changes=True),
    Action("toggle_schedule", "space", "On/off", "Switch the schedule on or off.", "schedules", True, "Space"),
    Action("undo", "u", "Undo", "Undo the highlighted swap while the old database is kept.", "restore", True),
    Action("finish", "F", "Finish", "Drop the old database that a swap has kept.", "restore", changes=True),
    Action("log", "l", "Log", "Show the agent's log."),
    Action("copy_id", "y", "Copy id", "Copy the highlighted row's id.", "tables"),
    Action("copy_command", "Y", "Copy command", "Copy the command that repeats this.", "tables"),
    Action("pause", "p", "Pause", "Stop or go on with showing changes."),
    Action("reload", "R", "Reload", "Read everything again."),
    Action("start_agent", "", "Start agent", "Start a detached agent on this machine.", changes=True),
    Action("add_source", "", "Add source", "Register a database to back up.", changes=True),
    Action("suspend", "ctrl+z", "Suspend", "Go back to the shell; `fg` comes back."),
    Action("quit", "q,ctrl+q", "Quit", "Leave at once. Jobs go on without the dashboard."),
)

BY_ID = {action.id: action for action in ACTIONS}


def bindings(*ids: str) -> list[Binding]:
    """Textual's bindings for these actions, all of them when none is named."""
    chosen = [BY_ID[name] for name in ids] if ids else list(ACTIONS)
    return [Binding(action.keys, action.id, action.label, show=False, id=action.id) for action in chosen if action.keys]
