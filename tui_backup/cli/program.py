"""Entry point: parse, run, report. Exit status 0 done, 1 the work failed, 2 wrong use, 3 refused, 130 interrupted."""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from tui_backup.cli.context import Context
from tui_backup.cli.output import Output
from tui_backup.errors import TuiBackupError, UsageError, WorkFailedError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Coroutine

INTERRUPTED = 130
BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after the program's name; the process's own when None.

    Returns:
        The exit status.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    _prepare_streams()
    output = Output(is_json="--json" in words)
    context = Context(output)
    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(_ToLogFile(context))
    try:
        status = _dispatch(words, context)
        # a full disk or a closed pipe shows only now, and is no success
        sys.stdout.flush()
    except TuiBackupError as exc:
        return _report(output, exc)
    except KeyboardInterrupt:
        sentence, hint = context.going_on or ("Interrupted.", "")
        output.interrupted(sentence, hint)
        return INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return BROKEN_PIPE
    except OSError as exc:
        return _report(output, _from_os_error(context, exc))
    except Exception as exc:  # noqa: BLE001 - the outermost boundary: written to the log and reported
        return _report(output, _unexpected(context, exc))
    return status


def _dispatch(words: list[str], context: Context) -> int:
    from tui_backup.cli.dashboard import dashboard_parser

    for word in words:
        if any("\ud800" <= char <= "\udfff" for char in word):
            raise UsageError(f"{word!a} is not valid UTF-8.", hint="Use names and paths in UTF-8.")
    parser = dashboard_parser(words)
    if parser is None:
        from tui_backup.cli.commands import build_parser

        parser = build_parser()
    try:
        arguments = parser.parse_args(words)
    except SystemExit as exc:  # --help and --version have printed
        return exc.code if isinstance(exc.code, int) else 0
    if arguments.ascii:
        context.use_ascii()
    return _run(context, arguments)


def _run(context: Context, arguments: Namespace) -> int:
    result = arguments.handler(context, arguments)
    if inspect.iscoroutine(result):
        import asyncio

        result = asyncio.run(cast("Coroutine[Any, Any, int | None]", result))
    return cast("int | None", result) or 0


def _prepare_streams() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _silence_stdout() -> None:
    """Keep the interpreter from flushing into the closed pipe at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(output: Output, error: TuiBackupError) -> int:
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError):
        output.error(error)
    return error.exit_status


def _from_os_error(context: Context, error: OSError) -> TuiBackupError:
    _silence_stdout()
    _write_log(context, error)
    named = f"{error.filename}: " if error.filename else ""
    return WorkFailedError(
        f"{named}{error.strerror or type(error).__name__}.", hint="Check the file, its rights and the free space."
    )


def _unexpected(context: Context, error: Exception) -> TuiBackupError:
    log = _write_log(context, error)
    where = f"Please report it with {log}." if log else "Please report it."
    return WorkFailedError(f"A defect of tui-backup: {type(error).__name__}.", hint=where)


def _write_log(context: Context, error: Exception) -> str | None:
    """Keep the traceback where only the user can read it; nothing of it goes to the terminal."""
    import traceback

    return _append_log(context, "".join(traceback.format_exception(error)))


def _append_log(context: Context, text: str) -> str | None:
    from tui_backup.agent.logs import mask_secrets

    try:
        folder = context.config.log_dir
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = folder / "command-line.log"
        log.touch(mode=0o600)
        with log.open("a", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(mask_secrets(text) + "\n")
    except (OSError, TuiBackupError):
        return None
    return str(log)


class _ToLogFile(logging.Handler):
    """Keeps warnings in the log: on stderr they would stand between the words, or the JSON, that belong there."""

    def __init__(self, context: Context) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self._context = context

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        _append_log(self._context, self.format(record))
