"""Fixtures for tests on a real catalog; imported by the conftest of each folder that needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.integration.catalog.world import World, make_world
from tests.servers import TestServer

_Get = Callable[[TestServer], World]
# shared by the folders that import these fixtures, each of which has an instance of its own
_MADE: dict[int, World] = {}


@pytest.fixture(scope="session")
def worlds() -> Iterator[_Get]:
    """One catalog a server, kept for the session: a database of its own per test would cost half a second each."""

    def get(server: TestServer) -> World:
        if id(server) not in _MADE:
            _MADE[id(server)] = make_world(server)
        world = _MADE[id(server)]
        world.empty()
        return world

    yield get
    for world in _MADE.values():
        world.close()


@pytest.fixture
def world(pg: TestServer, worlds: _Get) -> World:
    """An empty catalog on the newest server."""
    return worlds(pg)


@pytest.fixture
def world_any(pg_any: TestServer, worlds: _Get) -> World:
    """An empty catalog on each version in turn."""
    return worlds(pg_any)
