"""Makes a golden repository on the oldest supported server."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.golden import make
from tests.servers import ServerPool

if __name__ == "__main__":
    pool = ServerPool()
    try:
        server = pool.get(14)
        assert server is not None, "PostgreSQL 14 is needed: python -m tests.fetch_postgres"
        make(Path(sys.argv[1]), server)
    finally:
        pool.close()
