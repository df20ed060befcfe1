"""Every command has help and refuses wrong use; values are read as promised."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tui_backup.cli import main
from tui_backup.cli.commands import build_parser
from tui_backup.cli.parser import count, count_or_none, folder, read_dsn, seconds, size
from tui_backup.cli.schedules import PRESETS
from tui_backup.errors import UsageError

# what issue 3, section 7, names, and what the brief adds
COMMANDS = {
    "init", "upgrade", "doctor", "demo", "backup", "verify", "restore", "stats", "completion",
    "agent run", "agent start", "agent stop", "agent status", "agent unit",
    "source add", "source list", "source test", "source tables", "source map", "source remove",
    "repo add", "repo list", "repo check", "repo policy", "repo remove", "login", "logout",
    "job list", "job show", "job cancel", "job delete", "job download",
    "schedule add", "schedule list", "schedule show", "schedule edit", "schedule enable", "schedule disable",
    "schedule delete",
    "restore-log list", "restore-log show", "restore-log undo", "restore-log finish", "restore-log cancel",
}  # fmt: skip
SILENT = {"demo", "completion", "agent run", "agent unit"}
"""Commands that print no data, so they take no --json."""


def _leaves(parser: argparse.ArgumentParser, path: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield path, parser
    for group in groups:
        for name, inner in group.choices.items():
            yield from _leaves(inner, f"{path} {name}".strip())


def test_the_commands_are_the_ones_promised() -> None:
    assert {path for path, _ in _leaves(build_parser())} == COMMANDS


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_names_every_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--help"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith(f"usage: tui-backup {command}")
    parser = dict(_leaves(build_parser()))[command]
    assert parser.description and parser.description in printed.out
    for action in parser._actions:
        assert action.help, f"{command}: {action.dest} has no help"
        assert not action.option_strings or action.option_strings[0] in printed.out


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_an_unknown_option_is_wrong_use(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--no-such-option"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ") and "hint: " in printed.err


@pytest.mark.parametrize("command", sorted(COMMANDS - SILENT))
def test_wrong_use_with_json_is_one_json_object(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--json", "--no-such-option"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    error = json.loads(printed.err)
    assert error["error"] == "usage" and error["message"] and error["hint"]


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["job"],
        ["job", "show"],
        ["job", "list", "--status", "done"],
        ["job", "list", "--limit", "0"],
        ["job", "list", "--lim", "3"],
        ["job", "download", "abcd"],
        ["source", "add", "shop"],
        ["source", "add", "shop", "--dsn", "dbname=shop", "--rpo", "soon"],
        ["repo", "add", "local"],
        ["repo", "add", "local", "/tmp/x", "--max-object-size", "big"],
        ["backup"],
        ["backup", "shop", "--type", "snapshot"],
        ["verify", "abcd"],
        ["schedule", "add", "nightly", "--source", "shop"],
        ["schedule", "add", "nightly", "--source", "shop", "--preset", "daily", "--cron", "0 2 * * *"],
        ["schedule", "add", "nightly", "--source", "shop", "--preset", "hourly"],
        ["schedule", "edit", "nightly", "--retention-days", "-1"],
        ["restore", "abcd"],
        ["restore", "abcd", "--in-place", "--into-database", "x"],
        ["restore", "abcd", "--into-schema", "look"],
        ["restore", "abcd", "--in-place", "--swap"],
        ["restore-log", "undo"],
        ["completion", "tcsh"],
        ["job", "show", "\udcff"],
    ],
)
def test_wrong_use_exits_2_with_a_hint(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ") and "hint: " in printed.err


def test_a_misspelt_command_is_answered_with_the_near_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["job", "lst"]) == 2
    assert "`tui-backup job list`" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from tui_backup import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"tui-backup {__version__}\n"


def test_the_presets_are_those_of_the_service() -> None:
    from tui_backup.services.schedules import PRESETS as READY

    assert tuple(preset.id for preset in READY) == PRESETS


@pytest.mark.parametrize(("text", "expected"), [("90m", 5400), ("24h", 86400), ("7d", 604800), ("2w", 1209600)])
def test_seconds(text: str, expected: int) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("100MiB", 100 << 20), ("2G", 2 << 30), ("512", 512), ("1 kb", 1024)])
def test_size(text: str, expected: int) -> None:
    assert size(text) == expected


@pytest.mark.parametrize("text", ["", "0h", "1", "h", "-1h", "1.5h", "٣h"])
def test_seconds_refuses(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        seconds(text)


@pytest.mark.parametrize("text", ["", "0", "0MiB", "-1", "1PiB", "1e3"])
def test_size_refuses(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        size(text)


def test_counts() -> None:
    assert (count("7"), count_or_none("7"), count_or_none("none")) == (7, 7, None)
    for text in ("0", "-1", "x", "²"):
        with pytest.raises(argparse.ArgumentTypeError):
            count(text)


def test_folder_resolves_home_and_refuses_unknown_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder("~/x") == tmp_path / "x"
    with pytest.raises(argparse.ArgumentTypeError):
        folder("~no-such-user-here/x")


def test_a_connection_string_can_come_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("dbname=shop password=x\n"))
    assert read_dsn("-", "Connection string") == "dbname=shop password=x"
    assert read_dsn("dbname=shop", "Connection string") == "dbname=shop"
    with pytest.raises(UsageError):
        read_dsn("-", "Connection string")


def _completion(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_commands(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    script = _completion(shell, capsys)
    for word in ("restore-log", "schedule", "into-database", "every-6-hours"):
        assert word in script


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tui-backup resto", {"restore", "restore-log"}),
        ("tui-backup job sh", {"show"}),
        ("tui-backup restore --into-", {"--into-database", "--into-schema"}),
        ("tui-backup schedule add --preset every-", {"every-6-hours", "every-12-hours"}),
    ],
)
def test_completion_completes_in_bash(
    line: str, expected: set[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(_completion("bash", capsys))
    words = line.split(" ")
    asked = f"""
source {script}
COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}
function_name=$(complete -p tui-backup | sed 's/.*-F \\([^ ]*\\).*/\\1/')
"$function_name" tui-backup "{words[-1]}" "{words[-2]}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, timeout=30, check=True)
    assert set(done.stdout.split()) == expected
