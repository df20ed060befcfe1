"""The fidelity database: everything that must come back exactly as it was, and a way to compare two databases.

:func:`load` makes it from the SQL files beside this module, on every supported version. :func:`fingerprint` describes
a database by stock tools only (pg_dump, COPY, the catalog), so a comparison owes nothing to the product.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.acceptance.fidelity.fingerprints import Fingerprint, differences, fingerprint

if TYPE_CHECKING:
    from tests.servers import TestServer

__all__ = [
    "ROLES",
    "Fingerprint",
    "differences",
    "fingerprint",
    "install_extension",
    "load",
    "load_latin1",
    "load_sql_ascii",
    "make_read_only",
]

ROLES = ("fidelity_owner", "fidelity_reader", "fidelity_writer", 'fidelity "odd" role.%s\\')
SQL = Path(__file__).parent / "sql"
_PSQL_TIMEOUT_S = 180
_CONTROL = """\
comment = 'configuration tables for the fidelity database'
default_version = '1.0'
relocatable = false
schema = fidelity_conf
superuser = true
"""


def load(server: TestServer, dbname: str) -> None:
    """Create the UTF8 database and fill it; its locale is not the server's default."""
    has_extension = install_extension(server)
    provider = {"locale_provider": "libc"} if server.major >= 15 else {}
    server.create_database(dbname, encoding="UTF8", lc_collate="C", lc_ctype="C.UTF-8", **provider)
    variables = {"has_fidelity_conf": "on" if has_extension else "off"}
    _psql(server, dbname, sorted(SQL.glob("[0-9]*.sql")), variables)


def load_latin1(server: TestServer, dbname: str) -> None:
    """Create a small LATIN1 database."""
    server.create_database(dbname, encoding="LATIN1", **_c_locale(server))
    _psql(server, dbname, [SQL / "encodings" / "latin1.sql"])


def load_sql_ascii(server: TestServer, dbname: str) -> None:
    """Create a small SQL_ASCII database that holds bytes which are no UTF-8."""
    server.create_database(dbname, encoding="SQL_ASCII", **_c_locale(server))
    _psql(server, dbname, [SQL / "encodings" / "sql_ascii.sql"])


def make_read_only(server: TestServer, dbname: str) -> None:
    """Make new sessions of the database read-only, as some operators protect an archive."""
    with server.connect() as conn:
        name = '"' + dbname.replace('"', '""') + '"'
        conn.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())


def install_extension(server: TestServer) -> bool:
    """Put the extension with configuration tables where the server finds it.

    Returns:
        False where its folder cannot be written (a server installed by the system).
    """
    share = subprocess.run(
        [server.program("pg_config"), "--sharedir"], check=True, capture_output=True, text=True, timeout=30
    )
    folder = Path(share.stdout.strip()) / "extension"
    script = (SQL / "fidelity_conf--1.0.sql").read_text()
    for name, text in (("fidelity_conf--1.0.sql", script), ("fidelity_conf.control", _CONTROL)):
        target = folder / name
        if target.exists() and target.read_text() == text:
            continue
        if not os.access(folder, os.W_OK):
            return False
        partial = folder / f".{name}.{os.getpid()}"
        partial.write_text(text)
        partial.chmod(0o644)
        partial.rename(target)
    return True


def _c_locale(server: TestServer) -> dict[str, str]:
    provider = {"locale_provider": "libc"} if server.major >= 15 else {}
    return {"lc_collate": "C", "lc_ctype": "C", **provider}


def _psql(server: TestServer, dbname: str, files: list[Path], variables: dict[str, str] | None = None) -> None:
    command = [server.program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", os.devnull]
    for name, value in (variables or {}).items():
        command += ["-v", f"{name}={value}"]
    for file in files:
        command += ["-f", str(file)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    answer = subprocess.run(
        command,
        env={
            **environment,
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "PGUSER": server.superuser,
            "PGPASSWORD": server.password,
            "PGDATABASE": dbname,
            "PGCLIENTENCODING": "UTF8",
            "PGOPTIONS": "-c client_min_messages=warning -c standard_conforming_strings=on",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=_PSQL_TIMEOUT_S,
    )
    said = answer.stderr.decode(errors="replace")
    if answer.returncode != 0 or said.strip():
        raise AssertionError(f"psql on PostgreSQL {server.major} ended with {answer.returncode}:\n{said}")
