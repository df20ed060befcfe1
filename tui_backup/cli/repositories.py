"""`repo add|list|check|policy|remove`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui_backup.cli.checks import show_checks, worst_status
from tui_backup.cli.parser import Commands, add_command, add_confirm, add_group, add_name, folder, require_confirm, size
from tui_backup.cli.text import Column

if TYPE_CHECKING:
    from argparse import Namespace

    from tui_backup.cli.context import Context

_LOCATION_HELP = """\
LOCATION is a directory, or for S3
s3://BUCKET/PREFIX?endpoint=https://HOST&region=R&style=path
Credentials are found by boto3's own rules (environment, ~/.aws, instance
role); they never stand in the location.
"""


def add_commands(commands: Commands) -> None:
    """Add `repo …`."""
    group = add_group(commands, "repo", "places where backups are stored")
    add = add_command(group, "add", add_repository, "register a repository", epilog=_LOCATION_HELP)
    add_name(add, "name of the new repository")
    add.add_argument("location", metavar="LOCATION", help="directory, or s3://bucket/prefix?endpoint=…")
    add.add_argument("--default", action="store_true", help="use it where no repository is named")
    add.add_argument("--max-object-size", type=size, metavar="SIZE", help="largest object stored (default: 100MiB)")
    add_command(group, "list", list_repositories, "list the repositories")
    check = add_command(group, "check", check_repository, "see whether the store can be used")
    check.add_argument("name", metavar="NAME", nargs="?", help="default: the default repository")
    policy = add_command(group, "policy", show_policy, "print what limits a credential to one tenant's files")
    policy.add_argument("tenant", metavar="TENANT", help="name or id of the tenant")
    policy.add_argument("--repo", metavar="NAME", help="the repository (default: the default one)")
    remove = add_command(group, "remove", remove_repository, "forget a repository that no backup is in; files stay")
    add_name(remove, "name of the repository")
    add_confirm(remove, "really forget it")


async def add_repository(context: Context, arguments: Namespace) -> None:
    """Register a repository."""
    from tui_backup.services import repositories
    from tui_backup.services.utilities import clean_text

    location: str = arguments.location
    if "://" not in location:
        location = str(folder(location))
    async with context.session() as session:
        added = await repositories.add_repository(
            session,
            arguments.name,
            location,
            make_default=arguments.default,
            max_object_bytes=arguments.max_object_size or repositories.MAX_OBJECT_BYTES,
        )
    if context.output.is_json:
        context.output.data(added)
    else:
        default = ", used where none is named" if added.is_default else ""
        name, where = clean_text(added.repository_name), clean_text(added.location)
        context.output.line(f"Repository {name} added: {where}{default}.")


async def list_repositories(context: Context, arguments: Namespace) -> None:
    """List the repositories."""
    from tui_backup.services import repositories
    from tui_backup.services.utilities import clean_text, format_bytes

    async with context.session() as session:
        found = await repositories.get_repositories(session)
    if context.output.is_json:
        context.output.data(found)
        return
    context.output.table(
        [Column("Name"), Column("Default"), Column("Location", flexible=True), Column("Object limit", right=True)],
        [
            [
                clean_text(repository.repository_name),
                "yes" if repository.is_default else "",
                clean_text(repository.location),
                format_bytes(repository.max_object_bytes),
            ]
            for repository in found
        ],
        empty="No repositories yet. Add one: tui-backup repo add NAME LOCATION --default",
    )


async def check_repository(context: Context, arguments: Namespace) -> int:
    """Look at a store; exit status 1 when it cannot be used."""
    from tui_backup.services import repositories
    from tui_backup.services.utilities import clean_text, format_bytes

    async with context.session() as session:
        name: str = arguments.name or (await repositories.get_repository(session)).repository_name
        looked = await repositories.check_repository(session, name)
    if context.output.is_json:
        context.output.data(looked)
        return worst_status(looked.problems)
    context.output.facts(
        [
            ("Repository", clean_text(looked.repository_name)),
            ("Location", clean_text(looked.location)),
            ("Free", format_bytes(looked.free_bytes) if looked.free_bytes is not None else "unknown"),
        ]
    )
    show_checks(context.output, looked.problems)
    if not looked.problems:
        context.output.line("It can be used.")
    return worst_status(looked.problems)


async def show_policy(context: Context, arguments: Namespace) -> None:
    """Print an IAM policy, or a folder and its modes."""
    from tui_backup.services import repositories
    from tui_backup.services.utilities import clean_text

    async with context.session() as session:
        found = await repositories.get_repository_policy(session, arguments.tenant, arguments.repo)
    if found.is_iam or context.output.is_json:
        # nothing but the document, so that it can go to a file or to another program
        context.output.data(found.policy)
        return
    context.output.facts(
        [
            ("Folder", clean_text(str(found.policy["folder"]))),
            ("Folders' mode", str(found.policy["folder_mode"])),
            ("Files' mode", str(found.policy["file_mode"])),
            ("Owner", str(found.policy["owner"])),
        ]
    )


async def remove_repository(context: Context, arguments: Namespace) -> None:
    """Forget a repository."""
    from tui_backup.services import repositories
    from tui_backup.services.utilities import clean_text

    require_confirm(arguments, f"Forgets the repository {arguments.name}; its files stay where they are.")
    async with context.session() as session:
        await repositories.remove_repository(session, arguments.name, confirm=True)
    if context.output.is_json:
        context.output.data({"repository_name": arguments.name, "removed": True})
    else:
        context.output.line(f"Repository {clean_text(arguments.name)} removed; its files stay.")
