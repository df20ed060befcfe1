"""Everything that a database holds comes back exactly as it was: backed up, restored, compared in two ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance import fidelity
from tests.integration.engine.restore.helpers import Repository, back_up, dropped, restore
from tests.servers import ServerPool, TestServer
from tui_backup.errors import TargetVersionError

LOADERS = {
    "utf8": fidelity.load,
    "latin1": fidelity.load_latin1,
    "sql_ascii": fidelity.load_sql_ascii,
}


@pytest.mark.parametrize("kind", LOADERS)
def test_comes_back_as_it_was(pg_any: TestServer, kind: str, tmp_path: Path) -> None:
    source, copy = f"fidelity_{kind}", f"fidelity_{kind}_restored"
    repository = Repository(tmp_path / "repository")
    with dropped(pg_any, source, copy):
        LOADERS[kind](pg_any, source)
        contents = back_up(pg_any, source, repository)
        before = fidelity.fingerprint(pg_any, source)
        result = restore(pg_any, contents, repository, copy)
        assert result.warnings == []
        assert result.excluded == []
        assert result.compare is not None
        assert result.compare.differences == []
        assert result.compare.definitions == "texts"
        assert result.rows_restored == contents.rows
        assert fidelity.differences(before, fidelity.fingerprint(pg_any, copy)) == []


def test_read_only_database(pg: TestServer, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    with dropped(pg, "fidelity_ro", "fidelity_ro_restored"):
        fidelity.load_latin1(pg, "fidelity_ro")
        fidelity.make_read_only(pg, "fidelity_ro")
        contents = back_up(pg, "fidelity_ro", repository)
        restore(pg, contents, repository, "fidelity_ro_restored")
        with pg.connect("fidelity_ro_restored") as conn:
            assert conn.execute("SHOW default_transaction_read_only").fetchone() == ("on",)


def _pair(pool: ServerPool, older: int, newer: int) -> tuple[TestServer, TestServer]:
    found = pool.get(older), pool.get(newer)
    if found[0] is None or found[1] is None:
        pytest.skip(f"PostgreSQL {older} and {newer} are needed: python -m tests.fetch_postgres")
    return found[0], found[1]


@pytest.mark.slow
@pytest.mark.parametrize(("older", "newer"), [(14, 16), (14, 18)])
def test_onto_a_newer_server(pg_pool: ServerPool, older: int, newer: int, tmp_path: Path) -> None:
    old, new = _pair(pg_pool, older, newer)
    if old.has_xml:
        new.needs("XML")
    repository = Repository(tmp_path / "repository")
    with dropped(old, "fidelity_up"), dropped(new, "fidelity_up", "fidelity_up_roles"):
        fidelity.load(old, "fidelity_up")
        # makes the roles there
        fidelity.load(new, "fidelity_up_roles")
        contents = back_up(old, "fidelity_up", repository)
        result = restore(new, contents, repository, "fidelity_up")
        assert result.compare is not None
        assert result.compare.differences == []
        assert result.compare.definitions == "inventory"
        before = fidelity.fingerprint(old, "fidelity_up")["tables"]
        assert fidelity.fingerprint(new, "fidelity_up")["tables"] == before


def test_onto_an_older_server_is_refused(pg_pool: ServerPool, tmp_path: Path) -> None:
    old, new = _pair(pg_pool, 16, 18)
    repository = Repository(tmp_path / "repository")
    with dropped(new, "fidelity_down"):
        fidelity.load_latin1(new, "fidelity_down")
        contents = back_up(new, "fidelity_down", repository)
        with pytest.raises(TargetVersionError, match="18"):
            restore(old, contents, repository, "fidelity_down")
        assert old.execute("SELECT 1 FROM pg_database WHERE datname = 'fidelity_down'") == []
