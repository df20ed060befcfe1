"""Passwords leave a connection string and come back to libpq, and to nothing else."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tui_backup.catalog.passfile import passfile_for, remember, split_password
from tui_backup.errors import ValidationError

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGSERVICE", "PGHOSTADDR"):
        monkeypatch.delenv(name, raising=False)


@given(user=TEXT, password=TEXT, dbname=TEXT)
def test_the_password_leaves_the_string(user: str, password: str, dbname: str) -> None:
    dsn = make_conninfo("", host="h", user=user, password=password, dbname=dbname)
    rest, found = split_password(dsn)
    assert found == password
    assert conninfo_to_dict(rest) == {"host": "h", "user": user, "dbname": dbname}


def test_a_uri_is_split_too() -> None:
    rest, password = split_password("postgresql://me:p%40ss@db01:5433/shop?sslmode=require")
    assert password == "p@ss"
    assert conninfo_to_dict(rest) == {
        "host": "db01",
        "port": "5433",
        "user": "me",
        "dbname": "shop",
        "sslmode": "require",
    }
    assert split_password("host=h") == ("host=h", None)


@pytest.mark.parametrize(
    "dsn", ["host=h password=topsecret bad", "postgresql://u:topsecret@[h/", "sslpassword=topsecret", "x"]
)
def test_a_refused_string_is_not_repeated(dsn: str) -> None:
    with pytest.raises(ValidationError) as caught:
        split_password(dsn)
    assert "topsecret" not in str(caught.value.to_json())


def test_a_service_keeps_its_own_password() -> None:
    with pytest.raises(ValidationError, match="service"):
        split_password("service=prod password=x")


def test_the_file_is_private_and_used_only_where_it_fits(tmp_path: Path) -> None:
    path = tmp_path / "state" / "pgpass"
    conninfo = "host=db01 port=5433 user=me dbname=shop"
    assert passfile_for(path, conninfo) is None
    remember(path, conninfo, "secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.read_text() == "db01:5433:*:me:secret\n"
    assert passfile_for(path, "host=db01 port=5433 user=me dbname=other") == path
    for other in ("host=db02 port=5433 user=me", "host=db01 user=me", "host=db01 port=5433 user=you"):
        assert passfile_for(path, other) is None
    # the string names a place of its own
    for own in ("passfile=/mine", "password=x", "service=prod"):
        assert passfile_for(path, f"{conninfo} {own}") is None
    remember(path, conninfo, "changed")
    assert path.read_text() == "db01:5433:*:me:changed\n"


def test_several_hosts_and_the_default_socket(tmp_path: Path) -> None:
    path = tmp_path / "pgpass"
    remember(path, "host=a,b port=1,2 user=me", "x")
    assert path.read_text() == "a:1:*:me:x\nb:2:*:me:x\n"
    remember(path, "user=me dbname=d", "y")
    assert path.read_text().startswith("localhost:5432:*:me:y\n")
    with pytest.raises(ValidationError):
        remember(path, "host=a,b,c port=1,2 user=me", "x")


def test_special_characters_are_escaped_as_libpq_wants(tmp_path: Path) -> None:
    path = tmp_path / "pgpass"
    remember(path, make_conninfo("", host="::1", user="a\\b:c"), "p:w\\d")
    assert path.read_text() == "\\:\\:1:5432:*:a\\\\b\\:c:p\\:w\\\\d\n"
    assert passfile_for(path, make_conninfo("", host="::1", user="a\\b:c")) == path
    with pytest.raises(ValidationError):
        remember(path, "host=h user=u", "two\nlines")


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "pgpass"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: remember(path, f"host=h{n} user=u", f"p{n}"), range(40)))
    assert sorted(path.read_text().split()) == sorted(f"h{n}:5432:*:u:p{n}" for n in range(40))
