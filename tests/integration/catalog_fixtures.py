"""Fixtures for tests on a real catalog; imported by the conftest of each folder that needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.integration.catalog.world import World, make_world
from tests.servers import TestServer

_Get = Callable[[TestServer], World]


@pytest.fixture(scope="session")
def worlds() -> Iterator[_Get]:
    """One catalog a server, kept for the session: a database of its own per test would cost half a second each."""
    made: dict[int, World] = {}

    def get(server: TestServer) -> World:
        if id(server) not in made:
            made[id(server)] = make_world(server)
        world = made[id(server)]
        world.empty()
        return world

    yield get
    for world in made.values():
        world.close()
        world.server.drop_database(world.database)


@pytest.fixture
def world(pg: TestServer, worlds: _Get) -> World:
    """An empty catalog on the newest server."""
    return worlds(pg)


@pytest.fixture
def world_any(pg_any: TestServer, worlds: _Get) -> World:
    """An empty catalog on each version in turn."""
    return worlds(pg_any)
