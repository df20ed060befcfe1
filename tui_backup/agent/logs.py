"""The agent's log: one rotating file, masked, and stderr when it runs in the foreground."""

from __future__ import annotations

import logging
import logging.handlers
import re
import sys
import time

from tui_backup.config import Config

_SECRETS = (
    re.compile(r"(?i)(password|passwd|pwd|secret|token)(\s*[=:]\s*)('[^']*'|\S+)"),
    re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://[^\s:/@]*)(:)([^\s@/]+)(?=@)"),
)


def mask_secrets(text: str) -> str:
    """Replace what looks like a password in a DSN, a URL or a keyword=value list."""
    for pattern in _SECRETS:
        text = pattern.sub(r"\1\2***", text)
    return text


class MaskingFormatter(logging.Formatter):
    """Formats with UTC time and masks secrets, tracebacks included."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """The record's time in UTC."""
        return time.strftime(datefmt or "", time.gmtime(record.created))

    def format(self, record: logging.LogRecord) -> str:
        """The record as one masked text."""
        return mask_secrets(super().format(record))


def set_up_logging(config: Config) -> None:
    """Send the log to the agent's file (10 MB, five kept) and, on a terminal, to stderr.

    Raises:
        OSError: the folder cannot be written.
    """
    config.log_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    handlers: list[logging.Handler] = [
        logging.handlers.RotatingFileHandler(
            config.agent_log, maxBytes=10_000_000, backupCount=5, encoding="utf-8", errors="backslashreplace"
        )
    ]
    if sys.stderr.isatty():
        handlers.append(logging.StreamHandler())
    for handler in handlers:
        handler.setFormatter(MaskingFormatter())
    root = logging.getLogger()
    root.handlers = handlers
    root.setLevel(logging.INFO)
    logging.getLogger("procrastinate").setLevel(logging.WARNING)
    # asyncpg reports connections that were cut on purpose; what matters comes through our own errors
    logging.getLogger("asyncio").setLevel(logging.ERROR)
