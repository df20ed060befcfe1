"""``python -m tests.snapshots.picture``: draws the README's picture of the dashboard.

A screenshot of the real screens on the tests' in-memory backend, at 100x28, with the clock standing still.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path

from tests.unit.screens.conftest import make_app, until
from tests.unit.screens.fakes import FakeBackend

PICTURE = Path(__file__).parent / "dashboard.svg"


async def draw() -> str:
    """The picture as SVG text."""
    with tempfile.TemporaryDirectory() as folder:
        app = make_app(FakeBackend(Path(folder)))
        async with app.run_test(size=(100, 28)) as pilot:
            await until(pilot, lambda: app.board.loaded)
            return app.export_screenshot(title="tui-backup")


def main() -> None:
    """Write the file."""
    os.environ["TZ"] = "UTC"
    time.tzset()
    PICTURE.write_text(asyncio.run(draw()) + "\n", encoding="utf-8")
    print(PICTURE)


if __name__ == "__main__":
    main()
