"""`source map`: how the rows of a source's tables are told to be a tenant's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui_backup.cli.parser import Commands, add_command, add_name
from tui_backup.cli.text import Cell, Column
from tui_backup.errors import UsageError

if TYPE_CHECKING:
    from argparse import Namespace

    from tui_backup.cli.context import Context
    from tui_backup.cli.output import Output
    from tui_backup.services.tenant_maps import MappedTable, SourceTenantMap

_EPILOG = """\
A table with the tenant column is told by it, and a table whose foreign keys
lead to such a one by them. Every other one has to be decided, or backups of a
tenant's rows fail:
  --set public.orders=column:org_id     its own column, of another name
  --set public.items=via:items_order_fk this foreign key (a comma for several)
  --set public.countries=shared:missing everybody's; a restore adds what is gone
  --set public.rates=shared:never       everybody's; never stored
  --set public.log=left-out             knowingly in no tenant's backup
With --rows-by policies the source's own row-level security picks the rows: it
is asked as ROLE, with the tenant's key in the parameter SETTING.
"""


def add_command_to(group: Commands) -> None:
    """Add `source map`."""
    sentence = "show or decide whose the rows of each table are; exit status 1 while a table is undecided"
    command = add_command(group, "map", map_source, sentence, epilog=_EPILOG)
    add_name(command, "name of the source")
    command.add_argument(
        "--set", dest="rules", metavar="TABLE=RULE", action="append", default=[], help="decide a table; see below"
    )
    command.add_argument(
        "--unset", metavar="TABLE", action="append", default=[], help="forget what was decided of a table"
    )
    command.add_argument("--tenant-column", metavar="COLUMN", help="the column that tells whose a row is")
    command.add_argument("--rows-by", choices=("column", "policies"), help="what picks a tenant's rows")
    command.add_argument("--role", metavar="ROLE", help="with policies: the role that they are asked as")
    command.add_argument("--setting", metavar="SETTING", help="with policies: the parameter with the tenant's key")


async def map_source(context: Context, arguments: Namespace) -> int:
    """Change the map where something is to be changed, and show it."""
    from tui_backup.services import tenant_maps

    changes = tenant_maps.TenantMapChanges(
        column=arguments.tenant_column,
        rows_by=arguments.rows_by,
        role=arguments.role,
        setting=arguments.setting,
        rules=_rules(arguments.rules),
        unset=arguments.unset,
    )
    async with context.session() as session:
        if changes == tenant_maps.TenantMapChanges(unset=[]):
            found = await tenant_maps.get_tenant_map(session, arguments.name)
        else:
            found = await tenant_maps.set_tenant_map(session, arguments.name, changes)
    if context.output.is_json:
        context.output.data(found)
    else:
        _show(context.output, found)
    return 1 if found.undecided else 0


def _rules(texts: list[str]) -> dict[str, str]:
    from tui_backup.services.tenant_maps import split_rule

    rules: dict[str, str] = {}
    for text in texts:
        table, rule = split_rule(text)
        if table in rules:
            raise UsageError(f"Table {table} is decided twice.")
        rules[table] = rule
    return rules


def _show(output: Output, found: SourceTenantMap) -> None:
    from tui_backup.services.utilities import clean_text

    rows_by = f"column {found.column}"
    if found.rows_by == "policies":
        rows_by = f"the source's policies, asked as {found.role} with {found.setting}"
    output.facts([("Source", clean_text(found.source_name)), ("Rows by", clean_text(rows_by))])
    output.table(
        [Column("Table", flexible=True), Column("Told by", flexible=True), Column("Set", hide=1)],
        [[clean_text(each.table), _told(output, each), clean_text(each.rule or "")] for each in found.tables],
        empty="The database has no tables of its own.",
    )
    for each in found.tables:
        if each.rows_of_nobody:
            output.line(f"Rows of {clean_text(f'{each.table} whose {each.rows_of_nobody}')} is NULL are nobody's.")
    output.lines([f"There is no table {clean_text(name)}, of which something is set." for name in found.unknown])
    if undecided := found.undecided:
        example = f"tui-backup source map {found.source_name} --set '{undecided[0].table}=left-out'"
        count = f"{len(undecided)} tables are" if len(undecided) > 1 else "1 table is"
        output.line(f"{count} undecided: backups of a tenant's rows fail until each is decided.")
        output.line(f"Decide: {clean_text(example)} (see --help)")


def _told(output: Output, table: MappedTable) -> str | Cell:
    from tui_backup.services.utilities import clean_text

    if table.how != "undecided":
        return clean_text(table.told)
    keys = f"; foreign keys: {', '.join(table.foreign_keys)}" if table.foreign_keys else ""
    return output.status("failed", clean_text(f"undecided: {table.told}{keys}"))
