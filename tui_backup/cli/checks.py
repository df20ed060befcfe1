"""Shows checks (plan, doctor, source test, repository check) and what they mean for the exit status."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tui_backup.cli.output import Output

if TYPE_CHECKING:
    from tui_backup.model import PlanCheck


def show_checks(output: Output, checks: Sequence[PlanCheck]) -> None:
    """Print one line a check, its message indented below when it has several lines."""
    from tui_backup.services.utilities import clean_text

    for check in checks:
        first, *rest = check.message.splitlines() or [""]
        output.line(f"{output.paint(output.status(check.level))}  {clean_text(check.name)}: {clean_text(first)}")
        output.lines([f"    {clean_text(line)}" for line in rest])


def worst_status(checks: Sequence[PlanCheck]) -> int:
    """Exit status: 1 when a check says that it will not work."""
    return 1 if any(check.level == "refused" for check in checks) else 0
