"""`source add|list|test|tables|map|remove`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tui_backup.cli import source_map
from tui_backup.cli.checks import show_checks, worst_status
from tui_backup.cli.output import plain
from tui_backup.cli.parser import (
    Commands,
    add_command,
    add_confirm,
    add_group,
    add_name,
    read_dsn,
    require_confirm,
    seconds,
)
from tui_backup.cli.text import Column, local_time

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Coroutine

    from tui_backup.cli.context import Context

_DSN_HELP = """\
The connection string is libpq's: 'host=db01 dbname=shop user=backup',
'postgresql://backup@db01/shop' or 'service=shop'; PG* variables and .pgpass
count too. A password in it is moved to a file that only you can read.
`--dsn -` reads the string from standard input: it shows in no process list.
"""


def add_commands(commands: Commands) -> None:
    """Add `source …`."""
    group = add_group(commands, "source", "databases to back up")
    add = add_command(group, "add", add_source, "register a database", epilog=_DSN_HELP)
    add_name(add, "name of the new source")
    add.add_argument("--dsn", required=True, help="libpq connection string, or - for standard input")
    add.add_argument(
        "--rpo", type=seconds, default=86400, metavar="SPAN", help="greatest age of the last good backup (default: 24h)"
    )
    add.add_argument(
        "--tenant-column", metavar="COLUMN", help="the column that tells whose a row is (default: tenant_id)"
    )
    add_command(group, "list", list_sources, "list the sources")
    test = add_command(group, "test", test_source, "connect and see whether a backup would work")
    add_name(test, "name of the source")
    tables = add_command(group, "tables", list_tables, "list the tables, as --table takes them")
    add_name(tables, "name of the source")
    source_map.add_command_to(group)
    remove = add_command(group, "remove", remove_source, "forget a source that nothing refers to")
    add_name(remove, "name of the source")
    add_confirm(remove, "really forget it")


def add_source(context: Context, arguments: Namespace) -> Coroutine[Any, Any, None]:
    """Register a source."""
    # read before the event loop runs: within it, Ctrl-C would not end the read
    return _add_source(context, arguments, read_dsn(arguments.dsn, "Connection string"))


async def _add_source(context: Context, arguments: Namespace, dsn: str) -> None:
    from tui_backup.services import sources
    from tui_backup.services.utilities import clean_text

    async with context.session() as session:
        source = await sources.add_source(
            session, arguments.name, dsn, rpo_seconds=arguments.rpo, tenant_column=arguments.tenant_column
        )
    if context.output.is_json:
        context.output.data(source)
        return
    name = clean_text(source.source_name)
    context.output.line(f"Source {name} added: {clean_text(source.conninfo)}")
    context.output.line(f"Try it: tui-backup source test {name}")


async def list_sources(context: Context, arguments: Namespace) -> None:
    """List the sources."""
    from tui_backup.services import sources
    from tui_backup.services.utilities import clean_text, format_age

    async with context.session() as session:
        found = await sources.get_sources(session)
    if context.output.is_json:
        context.output.data(found)
        return
    context.output.table(
        [Column("Name"), Column("Connection", flexible=True), Column("RPO", right=True), Column("Added")],
        [
            [
                clean_text(source.source_name),
                clean_text(source.conninfo),
                format_age(source.rpo_seconds),
                local_time(source.created_at),
            ]
            for source in found
        ],
        empty="No sources yet. Add one: tui-backup source add NAME --dsn DSN",
    )


async def test_source(context: Context, arguments: Namespace) -> int:
    """Try a source; exit status 1 when a backup would not work."""
    from tui_backup.services import sources
    from tui_backup.services.utilities import clean_text, format_bytes

    async with context.session() as session:
        tried = await sources.test_source(session, arguments.name)
    status = worst_status(tried.problems)
    if context.output.is_json:
        context.output.data({"source_name": arguments.name, **plain(tried)})
        return status
    context.output.facts(
        [
            ("Server", f"PostgreSQL {clean_text(tried.server_version)}{' (standby)' if tried.is_standby else ''}"),
            ("Database", f"{clean_text(tried.database)}, as {clean_text(tried.user)}"),
            ("Size", f"{format_bytes(tried.size_bytes)} in {tried.tables} tables"),
            ("TLS", "yes" if tried.tls else "no"),
            ("Client tools", clean_text(tried.tools)),
        ]
    )
    show_checks(context.output, tried.problems)
    if tried.grants:
        context.output.line("Grants to give:")
        context.output.lines([f"  {clean_text(grant)}" for grant in tried.grants])
    if not tried.problems:
        context.output.line(f"A backup would work: tui-backup backup {clean_text(arguments.name)} --wait")
    return status


async def list_tables(context: Context, arguments: Namespace) -> None:
    """List a source's tables."""
    from tui_backup.services import sources
    from tui_backup.services.utilities import clean_text, format_bytes

    async with context.session() as session:
        tables = await sources.list_source_tables(session, arguments.name)
    if context.output.is_json:
        context.output.data(tables)
        return
    context.output.table(
        [Column("Table", flexible=True), Column("Rows, about", right=True), Column("Size", right=True)],
        [
            [clean_text(found.quoted_name), _rows(found.rows_estimate, found.bytes), format_bytes(found.bytes)]
            for found in tables
        ],
        empty="The database has no tables of its own.",
    )


def _rows(estimate: int, size_bytes: int) -> str:
    """The server's own estimate; it has none before the first ANALYZE."""
    return f"{estimate:,}" if estimate > 0 or size_bytes == 0 else "unknown"


async def remove_source(context: Context, arguments: Namespace) -> None:
    """Forget a source."""
    from tui_backup.services import sources
    from tui_backup.services.utilities import clean_text

    require_confirm(arguments, f"Forgets the source {arguments.name}; its database is not touched.")
    async with context.session() as session:
        await sources.remove_source(session, arguments.name, confirm=True)
    if context.output.is_json:
        context.output.data({"source_name": arguments.name, "removed": True})
    else:
        context.output.line(f"Source {clean_text(arguments.name)} removed.")
