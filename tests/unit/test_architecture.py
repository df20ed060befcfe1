"""The decisions that hold the code together, as tests: layers, what a layer loads, error codes, folders."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tui_backup
from tui_backup import errors

PACKAGE = Path(tui_backup.__file__).parent
ROOT = PACKAGE.parent


def test_import_contracts_hold() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    if not program.exists():
        pytest.skip("import-linter is not installed (extra dev)")
    done = subprocess.run([program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("tui_backup.errors", {"psycopg", "textual", "asyncpg", "boto3", "procrastinate"}),
        ("tui_backup.model", {"psycopg", "textual", "asyncpg", "boto3", "procrastinate"}),
        ("tui_backup.cli", {"textual", "boto3", "asyncpg", "procrastinate"}),
        ("tui_backup.services.backups", {"textual", "boto3"}),
        ("tui_backup.engine.logical.backup", {"textual", "boto3", "procrastinate", "tui_backup.repository"}),
        ("tui_backup.engine.logical.restore", {"textual", "boto3", "procrastinate", "tui_backup.repository"}),
        ("tui_backup.repository.open", {"textual", "boto3", "psycopg", "tui_backup.engine"}),
        ("tui_backup.agent.main", {"textual"}),
    ],
)
def test_a_layer_loads_only_what_it_may(module: str, unwanted: set[str]) -> None:
    code = f"import {module}, sys; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not unwanted & set(done.stdout.split())


def _error_classes(base: type[errors.TuiBackupError] = errors.TuiBackupError) -> list[type[errors.TuiBackupError]]:
    found = [base]
    for child in base.__subclasses__():
        found += _error_classes(child)
    return found


def test_error_codes_are_unique_and_exit_states_are_known() -> None:
    leaves = [cls for cls in _error_classes() if cls.__module__ == "tui_backup.errors"]
    codes = [cls.code for cls in leaves]
    assert len(codes) == len(set(codes))
    assert {cls.exit_status for cls in leaves} == {1, 2, 3}
    assert all(cls.default_hint.endswith(".") for cls in leaves)


def test_nothing_but_the_agreed_folders_at_the_top() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    tops = {line.split("/")[0] for line in listed.stdout.splitlines()}
    assert tops <= {"tui_backup", "styles", "tests", "pyproject.toml", "README.md", "LICENSE", ".gitignore", ".ci"}


def test_no_exception_is_swallowed_silently() -> None:
    import ast

    bad: list[str] = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler) and all(isinstance(line, ast.Pass) for line in node.body):
                bad.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not bad
