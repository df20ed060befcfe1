"""Fixtures: a catalog with two tenants."""

from __future__ import annotations

from tests.integration.catalog_fixtures import world, world_any, worlds

__all__ = ["world", "world_any", "worlds"]
