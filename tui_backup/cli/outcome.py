"""What waited-for work came to, and what to say while it is waited for."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tui_backup.model import BackupJob, BackupRestoreLog, JobStatus, Verification

if TYPE_CHECKING:
    from tui_backup.cli.context import Context
    from tui_backup.cli.output import Output

Work = BackupJob | BackupRestoreLog | Verification


@contextmanager
def going_on(context: Context, sentence: str, hint: str) -> Generator[None]:
    """Within it, Ctrl-C says that the work goes on and how to end it."""
    context.going_on = (sentence, hint)
    yield
    context.going_on = None


def report_failure(context: Context, work: Work, what: str) -> int:
    """Report finished work that did not complete, as it told itself; returns the exit status.

    Args:
        context: where to report.
        work: a final row.
        what: names the work when its row holds no message.
    """
    if work.status is JobStatus.COMPLETED:
        return 0
    stored = work.error_details or {}
    is_cancelled = work.status is JobStatus.CANCELLED
    body: dict[str, Any] = {
        "error": stored.get("error", "cancelled" if is_cancelled else "failed"),
        "message": work.error_message or f"{what} {'was cancelled' if is_cancelled else 'failed'}.",
        "hint": stored.get("hint", ""),
    }
    if details := stored.get("details"):
        body["details"] = details
    context.output.failure(body)
    return 1


def show_failure(output: Output, message: str, details: Mapping[str, Any] | None) -> None:
    """Show the stored failure of finished work: what, and what to do."""
    from tui_backup.services.utilities import clean_text

    output.line(f"{output.paint(output.status('failed'))}  {clean_text(message)}")
    if hint := (details or {}).get("hint"):
        output.line(f"hint: {clean_text(str(hint))}")
