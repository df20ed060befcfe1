"""Fixtures for tests on a real catalog; imported by the conftest of each folder that needs them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.catalog.world import World, make_template
from tests.servers import TestServer

_TEMPLATES: dict[int, World] = {}


def _copy(server: TestServer) -> World:
    if id(server) not in _TEMPLATES:
        _TEMPLATES[id(server)] = make_template(server)
    template = _TEMPLATES[id(server)]
    name = server.create_database(template=template.database, owner="tui_backup_owner")
    return World(server, name, dict(template.tenants), dict(template.users))


@pytest.fixture
def world(pg: TestServer) -> Iterator[World]:
    """A catalog on the newest server."""
    made = _copy(pg)
    yield made
    pg.drop_database(made.database)


@pytest.fixture
def world_any(pg_any: TestServer) -> Iterator[World]:
    """A catalog on each version in turn."""
    made = _copy(pg_any)
    yield made
    pg_any.drop_database(made.database)
