"""`completion`: shell completion made from the parser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui_backup.cli.parser import Commands, add_command

if TYPE_CHECKING:
    from argparse import Namespace

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
    parser.add_argument("shell", choices=["bash", "zsh", "fish"])


def print_completion(context: Context, arguments: Namespace) -> None:
    """Print the script."""
    import shtab

    from tui_backup.cli.commands import build_parser

    context.output.line(shtab.complete(build_parser(), arguments.shell).rstrip("\n"))
