"""JSON and nothing else on stdout; failures on stderr; nothing that a terminal would obey."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from tui_backup.cli.output import Output
from tui_backup.cli.text import Column
from tui_backup.errors import SourcePermissionError
from tui_backup.model import BackupJob, JobStatus, JobType, Progress

ID = UUID("6f1f7a3e-0000-4000-8000-000000000001")
UTF8 = {"LANG": "C.UTF-8"}


def _job(**changes: object) -> BackupJob:
    made = datetime(2026, 11, 22, 2, 14, tzinfo=UTC)
    return BackupJob(id=ID, job_type=JobType.FULL, status=JobStatus.RUNNING, tenant_id=ID, created_at=made, **changes)  # pyright: ignore[reportArgumentType]


def test_json_keys_are_the_catalogs_columns(capsys: pytest.CaptureFixture[str]) -> None:
    job = _job(backup_name="[/x]\x1b]0;\u202e\u0645", tags=("a",), progress=Progress(phase="data", bytes_done=5))
    Output(is_json=True, env=UTF8).data([job])
    printed = capsys.readouterr().out
    assert printed.isascii() and "\x1b" not in printed
    (read,) = json.loads(printed)
    # SPEC 1, backup_jobs
    spec = (
        "id job_type status started_at completed_at backup_size storage_path tenant_id created_at backup_name"
        " description duration_seconds compressed_size_bytes storage_bucket tables_count rows_count files_count"
        " error_message error_details retry_count metadata tags created_by updated_at updated_by"
    )
    assert set(spec.split()) <= set(read)
    assert read["id"] == str(ID)
    assert read["status"] == "running" and read["tags"] == ["a"]
    assert read["backup_name"] == job.backup_name
    assert read["started_at"] is None
    assert datetime.fromisoformat(read["created_at"]) == job.created_at
    assert read["progress"]["bytes_done"] == 5


def test_paths_are_strings_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass
    class Place:
        log: Path

    Output(is_json=True, env=UTF8).data(Place(Path("/var/log")))
    assert json.loads(capsys.readouterr().out) == {"log": "/var/log"}


def test_an_unknown_type_is_a_defect_and_not_silently_a_string() -> None:
    with pytest.raises(NotImplementedError):
        Output(is_json=True, env=UTF8).data({"x": object()})


@pytest.fixture
def refusal() -> SourcePermissionError:
    return SourcePermissionError(
        "Two tables\x1b[2J cannot be read.", details={"grants": ["GRANT SELECT ON a TO b;", "GRANT \u202eSELECT"]}
    )


def test_an_error_for_people(refusal: SourcePermissionError, capsys: pytest.CaptureFixture[str]) -> None:
    Output(env=UTF8).error(refusal)
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert lines[0].startswith("error: Two tables") and lines[-1] == f"hint: {refusal.hint}"
    assert "    GRANT SELECT ON a TO b;" in lines
    assert "\x1b" not in printed.err and "\u202e" not in printed.err


def test_an_error_for_scripts(refusal: SourcePermissionError, capsys: pytest.CaptureFixture[str]) -> None:
    Output(is_json=True, env=UTF8).error(refusal)
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert json.loads(printed.err) == refusal.to_json()


def test_notes_are_silent_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    Output(is_json=True, env=UTF8).note("Started an agent.")
    assert capsys.readouterr() == ("", "")
    Output(env=UTF8).note("Started an agent.")
    assert capsys.readouterr() == ("", "Started an agent.\n")


@pytest.mark.parametrize(("env", "shown"), [(UTF8, "✓ completed"), ({"LC_ALL": "C"}, "+ completed")])
def test_a_status_is_glyph_and_word(env: dict[str, str], shown: str) -> None:
    assert Output(env=env).status("completed").text == shown


def test_an_empty_table_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    Output(env=UTF8).table([Column("Id")], [], empty="No backups yet.")
    assert capsys.readouterr().out == "No backups yet.\n"


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_colours_on_a_terminal(env: dict[str, str], expected: bool, on_terminal: Callable[[str], object]) -> None:
    on_terminal("stdout")
    assert Output(env=env).colours is expected


def test_no_colours_elsewhere() -> None:
    assert Output(env={"TERM": "xterm"}).colours is False
