"""The command line: one module per command group, over the same services as the dashboard."""

from __future__ import annotations

from tui_backup.cli.program import main

__all__ = ["main"]
