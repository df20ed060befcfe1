"""Finding PostgreSQL's programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tui_backup.embedded import binaries
from tui_backup.embedded.binaries import Binaries, copy_for, find_binaries, inspect
from tui_backup.errors import EmbeddedServerError

if TYPE_CHECKING:
    from pathlib import Path


def programs(folder: Path, version: str, status: int = 0) -> Path:
    """A folder of programs that print a version."""
    folder.mkdir(parents=True)
    for name in ("initdb", "postgres"):
        (folder / name).write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\nexit {status}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("printed", "version", "major"),
    [
        ("18.6", "18.6", 18),
        ("15.18 (Debian 15.18-0+deb12u1)", "15.18", 15),
        ("19beta2", "19beta2", 19),
        ("18devel", "18devel", 18),
    ],
)
def test_versions_as_they_are_printed(tmp_path: Path, printed: str, version: str, major: int) -> None:
    found = inspect(programs(tmp_path / "bin", printed))
    assert (found.version, found.major) == (version, major)


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="no program initdb"):
        inspect(tmp_path)
    with pytest.raises(EmbeddedServerError, match="does not run"):
        inspect(programs(tmp_path / "broken", "18.6", status=127))
    with pytest.raises(EmbeddedServerError, match="prints no version"):
        inspect(programs(tmp_path / "odd", "of some kind"))


def test_the_newest_system_server_is_taken_without_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("13.9", "16.1", "17.2"):
        programs(tmp_path / version / "bin", version)
    monkeypatch.setattr(binaries, "_SYSTEM_PATTERNS", (f"{tmp_path}/*/bin",))
    monkeypatch.setattr(binaries, "wheel_binaries", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_binaries().version == "17.2"
    assert find_binaries(16).version == "16.1"
    with pytest.raises(EmbeddedServerError, match=r"made by PostgreSQL 13, but only .* 17.2, 16.1") as caught:
        find_binaries(13)
    assert "postgresql-13" in caught.value.hint


def test_nothing_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_SYSTEM_PATTERNS", ())
    monkeypatch.setattr(binaries, "wheel_binaries", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmbeddedServerError, match="no PostgreSQL server programs") as caught:
        find_binaries()
    assert "tui-backup[embedded]" in caught.value.hint
    assert "init --catalog" in caught.value.hint


def test_the_systems_programs_are_not_copied(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="cannot run the programs") as caught:
        copy_for(Binaries(tmp_path / "bin", "17.2"), tmp_path)
    assert "chmod o+x" in caught.value.hint


def test_a_copy_cut_off_is_made_again(tmp_path: Path) -> None:
    tree = tmp_path / "wheel"
    found = inspect(programs(tree / "pginstall" / "bin", "18.6"), tree=tree)
    (tmp_path / "wheel.libs").mkdir()
    (tmp_path / "wheel.libs" / "libpq.so").write_text("")
    home = tmp_path / "home"
    home.mkdir()
    first = copy_for(found, home)
    assert first.program("postgres").exists()
    assert (first.bin_dir / "../../../wheel.libs/libpq.so").resolve().exists()
    copy = home / first.bin_dir.relative_to(home).parts[0]
    copy.rename(copy.with_name(copy.name + ".new"))
    (copy.with_name(copy.name + ".new") / "leftover").write_text("")
    again = copy_for(found, home)
    assert again == first
    assert not (copy / "leftover").exists()
