"""Fixtures: a catalog with two tenants, and open sessions of its members."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.integration.catalog.world import World, login_of
from tests.integration.catalog_fixtures import world, world_any, worlds
from tests.integration.services.installation import configure
from tui_backup.services.session import Session, open_session

__all__ = ["world", "world_any", "worlds"]

OpenAs = Callable[[str], Awaitable[Session]]


@pytest.fixture
async def open_as(world: World, tmp_path: Path) -> AsyncIterator[OpenAs]:
    """Opens sessions by login."""
    opened: list[Session] = []

    async def make(login: str) -> Session:
        opened.append(await open_session(configure(world, tmp_path, login)))
        return opened[-1]

    yield make
    for session in opened:
        await session.close()


@pytest.fixture
async def admin(open_as: OpenAs) -> Session:
    """A session of the first tenant's admin."""
    return await open_as(login_of("acme", "admin"))
