"""Names of the queue's tasks. Each takes one argument, ``subject_id``: the id of the row it is about."""

from __future__ import annotations

SCHEMA = "tui_backup_queue"
"""Where procrastinate's tables live."""

BACKUP = "tui_backup.backup"
"""Run a row of backup_jobs."""
RESTORE = "tui_backup.restore"
"""Run a row of backup_restore_logs."""
VERIFY = "tui_backup.verify"
"""Run a row of backup_verifications."""
DELETE = "tui_backup.delete"
"""Delete the files of a backup, then its row."""
UNDO = "tui_backup.undo"
"""Undo or finish a restore, as its undo_state asks."""

SETTLE = "tui_backup.settle"
"""Find out how a restore ended that could not say so itself."""

ALL = (BACKUP, RESTORE, VERIFY, DELETE, UNDO, SETTLE)
