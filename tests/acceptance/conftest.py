"""Fixtures of the acceptance tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.bench import Bench
from tests.fetch_postgres import find
from tests.servers import TestServer


@pytest.fixture(scope="session")
def whole_bench(pg: TestServer) -> Iterator[Bench]:
    """An installation and a server of its own, of the version that ``pg`` has found (or has skipped for)."""
    binaries = find(pg.major)
    assert binaries is not None
    server = TestServer(binaries)
    try:
        server.start()
        made = Bench(server)
        try:
            yield made
        finally:
            made.close()
    finally:
        server.close()


@pytest.fixture
def bench(whole_bench: Bench) -> Iterator[Bench]:
    """The installation; after the test nothing may be stuck, lost, left over or disclosed."""
    yield whole_bench
    whole_bench.assert_settled()
