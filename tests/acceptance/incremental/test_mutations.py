"""Each condition of an incremental turned off must be noticed by the random programs."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.acceptance.incremental.machine import LONG, mutations, run_programs
from tests.servers import TestServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("name", list(mutations()))
def test_without_a_condition_it_fails(server: TestServer, name: str) -> None:
    with mutations()[name](), pytest.raises(AssertionError, match="is not what the source holds"):
        run_programs(server, settings(LONG, max_examples=120), 20261123)
