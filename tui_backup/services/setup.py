"""Set-up: embedded catalog, catalog on a server, upgrade, doctor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tui_backup.config import Config
from tui_backup.model import PlanCheck
from tui_backup.services.session import Notice


@dataclass(frozen=True, slots=True)
class InitResult:
    """What init made or found."""

    tenant: str
    admin_login: str
    agent_login: str
    repository: str
    migrations: Sequence[str]


async def init_embedded(config: Config, *, notice: Notice | None = None) -> InitResult:
    """Make (or mend) the embedded catalog; safe to run twice."""
    raise NotImplementedError


async def init_server(
    config: Config,
    dsn: str,
    *,
    agent_dsn: str = "",
    tenant: str = "main",
    admin_login: str = "",
    notice: Notice | None = None,
) -> InitResult:
    """Make (or upgrade) a catalog on a server; ``dsn`` is its owner's."""
    raise NotImplementedError


async def upgrade(config: Config, *, notice: Notice | None = None) -> list[str]:
    """Apply the migrations that the catalog lacks; names them."""
    raise NotImplementedError


async def doctor(config: Config) -> list[PlanCheck]:
    """Look at everything the product needs; never raises for what it finds."""
    raise NotImplementedError
