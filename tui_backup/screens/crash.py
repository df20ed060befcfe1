"""The dashboard's own log: failures that were shown, and crashes without the values of variables."""

from __future__ import annotations

import logging
import logging.handlers
import traceback
from pathlib import Path

from tui_backup.errors import TuiBackupError
from tui_backup.screens.log_tail import mask_secrets

NAME = "tui_backup.dashboard"
MEGABYTE = 1 << 20


class _MaskingFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return mask_secrets(super().format(record))


def open_log(path: Path) -> logging.Logger:
    """The logger of the dashboard; without a writable folder it logs nowhere, the screen shows everything anyway."""
    logger = logging.getLogger(NAME)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    for old in list(logger.handlers):
        logger.removeHandler(old)
        old.close()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handler: logging.Handler = logging.handlers.RotatingFileHandler(
            path, maxBytes=MEGABYTE, backupCount=1, encoding="utf-8", errors="backslashreplace"
        )
        path.chmod(0o600)
    except OSError:
        handler = logging.NullHandler()
    handler.setFormatter(_MaskingFormatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    return logger


def error_words(error: BaseException) -> tuple[str, str]:
    """What went wrong and what to do, without secrets."""
    if isinstance(error, TuiBackupError):
        return mask_secrets(error.message), mask_secrets(error.hint)
    if isinstance(error, TimeoutError):
        return "The catalog did not answer in time.", "R tries again."
    return f"Unexpected {type(error).__name__}.", "The dashboard's log has the details; please report it."


def trace(error: BaseException) -> str:
    """The traceback without the values of variables: those may be secrets."""
    return mask_secrets("".join(traceback.format_exception(error)))
