"""Backups that an earlier version of the program wrote come back, on every server from their own version on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests import golden
from tests.acceptance import fidelity
from tests.integration.engine.restore.helpers import Repository, dropped, restore
from tests.servers import TestServer
from tui_backup.repository.check import verify_files
from tui_backup.repository.directory import DirectoryStore
from tui_backup.repository.manifests import list_manifests, read_manifest

FORMATS = sorted(path.name for path in golden.HERE.glob("format*"))


class _Golden(Repository):
    """A private copy: git keeps no modes, and nothing may be written into the original."""

    def __init__(self, name: str, folder: Path) -> None:
        copy = folder / "repository"
        shutil.copytree(golden.HERE / name / "repository", copy)
        for path in (copy, *copy.rglob("*")):
            path.chmod(0o700 if path.is_dir() else 0o600)
        self.store = DirectoryStore(copy)
        self.tenant = golden.TENANT


def test_there_is_one_of_the_first_format() -> None:
    assert "format1" in FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_is_listed_and_whole(name: str, tmp_path: Path) -> None:
    repository = _Golden(name, tmp_path)
    repository.store.check()
    assert [entry.job_id for entry in list_manifests(repository.store, golden.TENANT)] == [golden.JOB]
    manifest = read_manifest(repository.store, golden.TENANT, golden.JOB)
    report = verify_files(repository.store, manifest, deep=True)
    assert report.is_whole, report
    assert manifest.contents.rows > 0


@pytest.mark.parametrize("name", FORMATS)
def test_comes_back(name: str, pg_any: TestServer, tmp_path: Path) -> None:
    # the golden backup holds XML
    pg_any.needs("XML")
    expected = json.loads((golden.HERE / name / golden.EXPECTED).read_text())
    repository = _Golden(name, tmp_path)
    contents = read_manifest(repository.store, golden.TENANT, golden.JOB).contents
    with dropped(pg_any, "golden_copy", "golden_roles"):
        # makes the roles and the extension there
        fidelity.load(pg_any, "golden_roles")
        result = restore(pg_any, contents, repository, "golden_copy")
        assert result.compare is not None
        assert result.compare.differences == []
        tables = json.loads(json.dumps(fidelity.fingerprint(pg_any, "golden_copy")["tables"]))
        assert tables == expected["tables"]
