"""Other tenants at work while one is restored: none of them meets an error, and none waits for the restore's end.

The figures are ``python -m tests.benchmarks.tenants``'s business; here the bounds are generous.
"""

from __future__ import annotations

from tests.benchmarks.tenants import measure, prepare
from tests.servers import TestServer


def test_other_tenants_go_on(pg: TestServer) -> None:
    name, backup = prepare(pg, 4000, 2)
    try:
        load, restores = measure(pg, name, backup, sessions=2, seconds=2.5, rows=4000)
    finally:
        pg.drop_database(name)
    assert restores >= 1
    assert load.errors == []
    assert len(load.seconds) > 20
    assert max(load.seconds) < 5
