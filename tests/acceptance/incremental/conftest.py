"""A server of its own: the programs crash it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.incremental.machine import SETTINGS
from tests.servers import TestServer


@pytest.fixture
def server(pg_new: Callable[..., TestServer]) -> TestServer:
    return pg_new(settings=SETTINGS)
