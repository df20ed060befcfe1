"""The fidelity database itself: it loads everywhere, and its fingerprint tells equal from different."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.acceptance import fidelity

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.servers import TestServer

LOADERS = {"utf8": fidelity.load, "latin1": fidelity.load_latin1, "sql_ascii": fidelity.load_sql_ascii}


def by_stock_tools(server: TestServer, source: str, target: str, file: Path, encoding: str) -> None:
    """Dump and restore with pg_dump and pg_restore as a reader of PostgreSQL's manual would."""
    dump = [server.program("pg_dump"), "-Fc", "-E", encoding, "-f", str(file), "-d", server.dsn(source)]
    subprocess.run(dump, check=True, timeout=120)
    restore = [server.program("pg_restore"), "--exit-on-error", "-d", server.dsn(target), str(file)]
    subprocess.run(restore, check=True, timeout=120)


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS.keys())
def test_loads_and_stock_tools_bring_it_back(
    pg_any: TestServer, load: Callable[[TestServer, str], None], tmp_path: Path
) -> None:
    source, target = f"fidelity source {pg_any.major}", f"fidelity target {pg_any.major}"
    try:
        load(pg_any, source)
        before = fidelity.fingerprint(pg_any, source)
        encoding, collate, ctype = before["database"][:3]
        provider = {"locale_provider": "libc"} if pg_any.major >= 15 else {}
        pg_any.create_database(target, encoding=encoding, lc_collate=collate, lc_ctype=ctype, **provider)
        by_stock_tools(pg_any, source, target, tmp_path / "dump", encoding)
        after = fidelity.fingerprint(pg_any, target)
        # these belong to the database, which pg_restore did not make
        after["database"] = before["database"]
        assert fidelity.differences(before, after) == []
        assert before["tables"]
    finally:
        pg_any.drop_database(source)
        pg_any.drop_database(target)
