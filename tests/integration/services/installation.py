"""A configuration that points at a test's catalog, as one member."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from tests.integration.catalog.world import World
from tui_backup.catalog.passfile import remember, split_password
from tui_backup.config import CatalogConfig, Config, Settings


def configure(world: World, tmp_path: Path, login: str, **catalog: Any) -> Config:
    """As ``login``, whose password lies in the product's passfile."""
    dsn, password = split_password(world.dsn(login))
    config = Config(
        settings=Settings(catalog=CatalogConfig(dsn=dsn, **catalog)),
        file=tmp_path / "config.toml",
        state_dir=tmp_path / "state",
        data_dir=tmp_path / "data",
    )
    remember(config.passfile, dsn, password or "")
    return config


def changed(config: Config, **catalog: Any) -> Config:
    """The configuration with other catalog settings."""
    settings = msgspec.structs.replace(
        config.settings, catalog=msgspec.structs.replace(config.settings.catalog, **catalog)
    )
    return msgspec.structs.replace(config, settings=settings)
