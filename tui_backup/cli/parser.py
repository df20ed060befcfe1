"""The parser's building blocks: errors as typed errors, common options, argument types."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from tui_backup import __version__
from tui_backup.errors import ConfirmationRequiredError, UsageError

if TYPE_CHECKING:
    from tui_backup.cli.context import Context

Handler = Callable[["Context", argparse.Namespace], "Awaitable[int | None] | int | None"]

_UNKNOWN_CHOICE = re.compile(
    r"^argument COMMAND: invalid choice: (?P<given>.*) \(choose from (?P<known>.*)\)$", re.DOTALL
)
_UNITS_S = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_UNITS_BYTES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Parser(argparse.ArgumentParser):
    """argparse without abbreviations, which raises typed errors and never exits for one."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("allow_abbrev", False)
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **options)

    def print_help(self, file: Any = None) -> None:
        """Write the help; unlike argparse's own, a stream that cannot be written is an error."""
        (file or sys.stdout).write(self.format_help())

    def error(self, message: str) -> NoReturn:
        """Refuse wrong use."""
        hint = f"See `{self.prog} --help`."
        if unknown := _UNKNOWN_CHOICE.match(message):
            given = unknown["given"].strip("'\"")
            message = f"`{self.prog}` has no command '{given}'."
            known = [name.strip(" '") for name in unknown["known"].split(",")]
            if near := difflib.get_close_matches(given, known, n=2):
                hint = "Did you mean " + " or ".join(f"`{self.prog} {name}`" for name in near) + "?"
        elif not message.endswith("."):
            message = message[:1].upper() + message[1:] + "."
        raise UsageError(message, hint=hint)


class PrintVersion(argparse.Action):
    """Prints the version and ends."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print it."""
        sys.stdout.write(f"tui-backup {__version__}\n")
        parser.exit()


class Commands(Protocol):
    """What argparse's add_subparsers() gives."""

    def add_parser(self, name: str, **options: Any) -> Any:
        """Make the parser of one command."""
        ...


def add_command(
    commands: Commands, name: str, handler: Handler, sentence: str, *, is_printing: bool = True, **options: Any
) -> argparse.ArgumentParser:
    """Add one command.

    Args:
        commands: where it belongs.
        name: its word.
        handler: what runs; sync or async.
        sentence: the help line.
        is_printing: it prints something, so it takes --json.
        options: more for argparse, e.g. ``epilog``.
    """
    parser: argparse.ArgumentParser = commands.add_parser(name, help=sentence, description=sentence, **options)
    if is_printing:
        parser.add_argument("--json", action="store_true", help="print JSON on stdout and errors as JSON on stderr")
    parser.set_defaults(handler=handler)
    return parser


def add_group(commands: Commands, name: str, sentence: str) -> Commands:
    """Add a word that needs a second one, such as ``job list``."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=sentence, description=sentence)
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def add_job(parser: argparse.ArgumentParser) -> None:
    """The JOB argument."""
    parser.add_argument("job", metavar="JOB", help="id of the job, or its first characters (at least 4)")


def add_name(parser: argparse.ArgumentParser, sentence: str) -> None:
    """The NAME argument."""
    parser.add_argument("name", metavar="NAME", help=sentence)


def add_tables(parser: argparse.ArgumentParser, sentence: str) -> None:
    """The --table option."""
    parser.add_argument(
        "--table", dest="tables", metavar="TABLE", action="append", default=[], help=f"{sentence}; may be repeated"
    )


def add_confirm(parser: argparse.ArgumentParser, sentence: str) -> None:
    """The --confirm option."""
    parser.add_argument("--confirm", action="store_true", help=sentence)


def require_confirm(arguments: argparse.Namespace, what: str) -> None:
    """Refuse a deletion without the confirmation.

    Raises:
        ConfirmationRequiredError: --confirm was not given.
    """
    if not arguments.confirm:
        raise ConfirmationRequiredError(what, hint="Add --confirm if that is what you want.")


def count(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def count_or_none(text: str) -> int | None:
    """A whole number from 1, or ``none`` for no limit."""
    return None if text == "none" else count(text)


def seconds(text: str) -> int:
    """A time span such as ``90m``, ``24h`` or ``7d``, in seconds."""
    if not (match := re.fullmatch(r"([0-9]{1,9})([mhdw])", text)) or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time span such as 90m, 24h or 7d")
    return int(match[1]) * _UNITS_S[match[2]]


def size(text: str) -> int:
    """A size such as ``100MiB`` or ``2G``, in bytes (1 K = 1024)."""
    if not (match := re.fullmatch(r"([0-9]{1,15}) ?([KMGT]?)(?:iB|B)?", text, re.IGNORECASE)) or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 100MiB")
    return int(match[1]) * _UNITS_BYTES[match[2].upper()]


def folder(text: str) -> Path:
    """A path, the user's ``~`` resolved."""
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} names a user that does not exist") from exc


def read_dsn(text: str, prompt: str) -> str:
    """A connection string; ``-`` reads it from standard input, so that a password in it shows in no process list.

    Raises:
        UsageError: ``-`` was given and nothing came.
    """
    if text != "-":
        return text
    if sys.stdin.isatty():
        import getpass

        dsn = getpass.getpass(f"{prompt}: ")
    else:
        dsn = sys.stdin.readline()
    if not dsn.strip():
        raise UsageError("Nothing was read from standard input.", hint="Give one connection string on one line.")
    return dsn.strip()
