"""Tenants in real databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.servers import TestServer


@pytest.fixture(scope="module")
def module_database(pg: TestServer) -> Iterator[str]:
    """One empty database for all tests of a module; each leaves it as it was."""
    name = pg.create_database()
    yield name
    pg.drop_database(name)


@pytest.fixture
def conn(pg: TestServer, module_database: str) -> Iterator[psycopg.Connection[Any]]:
    """A session of the superuser whose work is rolled back."""
    with pg.connect(module_database) as connection, connection.transaction(force_rollback=True):
        yield connection
