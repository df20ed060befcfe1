"""`completion`: shell completion made from the parser."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from tui_backup.cli.parser import Commands, add_command, folder

if TYPE_CHECKING:
    from tui_backup.cli.context import Context

_EPILOG = """\
bash: tui-backup completion bash > ~/.local/share/bash-completion/completions/tui-backup
zsh:  tui-backup completion zsh > a folder of $fpath, as _tui-backup
fish: tui-backup completion fish > ~/.config/fish/completions/tui-backup.fish
"""


def add_commands(commands: Commands) -> None:
    """Add `completion`."""
    parser = add_command(
        commands, "completion", print_completion, "print a shell's completion script", is_printing=False, epilog=_EPILOG
    )
    parser.add_argument("shell", choices=["bash", "zsh", "fish"], help="the shell to complete in")


def _mark_paths(parser: argparse.ArgumentParser) -> None:
    """Tell shtab which arguments are paths."""
    import shtab

    for action in parser._actions:  # pyright: ignore[reportPrivateUsage]
        if isinstance(action, argparse._SubParsersAction):  # pyright: ignore[reportPrivateUsage]
            commands = cast("Mapping[str, argparse.ArgumentParser]", cast("Any", action).choices)
            for command in commands.values():
                _mark_paths(command)
        elif action.type is folder:
            marked: Any = action
            marked.complete = shtab.DIRECTORY if action.metavar == "DIR" else shtab.FILE


def print_completion(context: Context, arguments: argparse.Namespace) -> None:
    """Print the script."""
    import shtab

    from tui_backup.cli.commands import build_parser

    parser = build_parser()
    _mark_paths(parser)
    context.output.line(shtab.complete(parser, arguments.shell).rstrip("\n"))
