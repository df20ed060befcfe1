"""Tries to break the argument of ``tui_backup/engine/logical/INCREMENTAL.md`` with random programs on a real server."""
