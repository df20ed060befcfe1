"""Fixtures of the agent's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.agent.installation import Installation
from tests.servers import TestServer


@pytest.fixture
def installation(pg: TestServer, tmp_path: Path) -> Iterator[Installation]:
    """A catalog, a source and a repository; agents are started by the test."""
    made = Installation(pg, tmp_path)
    try:
        yield made
    finally:
        made.close()
