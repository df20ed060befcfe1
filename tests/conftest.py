"""Fixtures that every test may use: real PostgreSQL servers of all supported versions."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fetch_postgres import MAJORS, find
from tests.servers import ServerPool, TestServer

if importlib.util.find_spec("tests.s3_servers") is not None:
    pytest_plugins = ["tests.s3_servers"]

OLDEST, NEWEST = MAJORS[0], MAJORS[-1]

# where it is set, each of the hundreds of programs that the tests start compiles the product anew: half of the time
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def _missing(major: int) -> None:
    message = f"PostgreSQL {major} is not on this machine: python -m tests.fetch_postgres {major}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def pg_pool() -> Iterator[ServerPool]:
    """All servers of this session, started on first use."""
    pool = ServerPool()
    try:
        yield pool
    finally:
        pool.close()


def _running(pool: ServerPool, major: int) -> TestServer:
    server = pool.get(major)
    if server is None:
        _missing(major)
    assert server is not None
    return server


@pytest.fixture(scope="session")
def pg(pg_pool: ServerPool) -> TestServer:
    """A server of the newest version."""
    return _running(pg_pool, NEWEST)


def _version(major: int) -> Any:
    # those between the oldest and the newest take half of the time and seldom tell anything new: CI runs them
    marks = () if major in (OLDEST, NEWEST) else pytest.mark.slow
    return pytest.param(major, id=f"pg{major}", marks=marks)


@pytest.fixture(scope="session", params=[_version(major) for major in MAJORS])
def pg_any(request: pytest.FixtureRequest, pg_pool: ServerPool) -> TestServer:
    """A server of each version in turn."""
    return _running(pg_pool, request.param)


@pytest.fixture
def pg_new() -> Iterator[Callable[..., TestServer]]:
    """Makes servers for one test alone, to be crashed or configured: ``pg_new(major=18, fresh=False, settings={})``."""
    made: list[TestServer] = []

    def make(major: int = NEWEST, **options: Any) -> TestServer:
        binaries = find(major)
        if binaries is None:
            _missing(major)
        assert binaries is not None
        made.append(TestServer(binaries, **options))
        made[-1].start()
        return made[-1]

    try:
        yield make
    finally:
        for server in made:
            server.close()


@pytest.fixture
def database(pg: TestServer) -> Iterator[str]:
    """An empty database on the newest server, dropped after the test."""
    name = pg.create_database()
    yield name
    pg.drop_database(name)
