"""Choosing the account of the server."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

import pytest

from tui_backup.embedded import account
from tui_backup.embedded.account import account_by_uid, can_reach, popen_options, service_account
from tui_backup.errors import EmbeddedServerError

if TYPE_CHECKING:
    from pathlib import Path


def test_an_ordinary_user_runs_it_as_himself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid or 12345)
    assert service_account() is None
    assert popen_options(None) == {}


def test_somebody_elses_data_folder_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(EmbeddedServerError, match="belongs to another user"):
        service_account(tmp_path)


def test_root_without_any_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(account, "_CANDIDATES", ("no-such-account",))
    with pytest.raises(EmbeddedServerError, match="no account") as caught:
        service_account()
    assert "useradd" in caught.value.hint


def test_root_takes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(account, "_CANDIDATES", ("no-such-account", "nobody"))
    found = service_account()
    assert found is not None
    assert found.uid == pwd.getpwnam("nobody").pw_uid
    assert popen_options(found) == {"user": found.uid, "group": found.gid, "extra_groups": []}


def test_a_uid_without_a_name() -> None:
    with pytest.raises(EmbeddedServerError, match="uid 3999999999"):
        account_by_uid(3_999_999_999)


def test_reach_of_our_own(tmp_path: Path) -> None:
    assert can_reach(None, tmp_path)
    assert not can_reach(None, tmp_path / "absent")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask for another account")
def test_reach_of_another_account(tmp_path: Path) -> None:
    nobody = account_by_uid(pwd.getpwnam("nobody").pw_uid)
    assert can_reach(nobody, tmp_path.parents[-2])
    tmp_path.chmod(0o700)
    assert not can_reach(nobody, tmp_path)
