"""Holding a restored database's definitions against the stored schema archive, both as pg_dump writes them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from tui_backup.engine.connection import child_environment
from tui_backup.engine.logical.archive import Archive
from tui_backup.engine.logical.target import Target
from tui_backup.engine.tools import run_tool

_HEADER = re.compile(
    r"^--\n-- Name: (?P<name>.*); Type: (?P<type>[A-Z ]+); Schema: (?P<schema>.*); Owner: (?P<owner>.*?)"
    r"(?:; Tablespace: (?P<tablespace>.*))?\n--\n",
    re.MULTILINE,
)
# They stand between entries wherever the order of entries makes them necessary, and belong to none.
_STATE = re.compile(r"^SET default_(?:tablespace|table_access_method) = .*;\n+", re.MULTILINE)
_END = "\n--\n-- PostgreSQL database dump complete\n--\n"


@dataclass(frozen=True, slots=True)
class Definition:
    """One entry of a dump. ``text`` is its SQL."""

    type: str
    schema: str
    name: str
    owner: str
    text: str

    @property
    def label(self) -> str:
        """The entry for people."""
        return f"{self.type} {self.schema + '.' if self.schema != '-' else ''}{self.name}"


@dataclass(frozen=True, slots=True)
class DefinitionsResult:
    """How two dumps compare.

    Args:
        missing: entries of the backup that the restored database does not have.
        unexpected: entries that only the restored database has.
        changed: entries that both have, with another text.
        reordered: tables with the same columns in another order. A table that joined its parent after it was made gets
            the parent's columns first; pg_dump cannot keep that, and rows are loaded by column names.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    reordered: tuple[str, ...] = ()


def split_dump(text: str) -> list[Definition]:
    """Cut the SQL text of a schema dump into its entries, without what depends on their order."""
    text = text.rpartition(_END)[0] or text
    headers = list(_HEADER.finditer(text))
    ends = [header.start() for header in headers[1:]] + [len(text)]
    return [
        Definition(
            type=header["type"],
            schema=header["schema"],
            name=header["name"],
            owner=f"{header['owner']}/{header['tablespace'] or ''}",
            text=_STATE.sub("", text[header.end() : end]).strip(),
        )
        for header, end in zip(headers, ends, strict=True)
    ]


def compare_definitions(
    archive: Archive,
    ids: Collection[int],
    target: Target,
    database: str,
    *,
    encoding: str,
    texts: bool,
) -> DefinitionsResult:
    """Compare the archive's entries with a dump of the restored database.

    Args:
        archive: the stored one.
        ids: entries that were restored.
        target: the server.
        database: the restored database.
        encoding: the databases' encoding.
        texts: compare the SQL too; only right when both were written by the same pg_dump from the same major version.
    """
    stored = split_dump(archive.text(ids))
    with target.session(database, what="reading the restored definitions") as conn:
        env = child_environment(conn)
    env["PGAPPNAME"] = target.application_name
    parts: list[bytes] = []
    # the database may set another client encoding for its sessions, in which some names cannot be written
    argv = [archive.tools.path("pg_dump"), "--schema-only", f"--encoding={encoding}", *archive.options]
    run_tool(argv, env, stop=archive.stop, stdout_to=parts.append)
    restored = split_dump(b"".join(parts).decode("utf-8", "surrogateescape"))
    return diff_definitions(stored, restored, texts=texts)


def diff_definitions(stored: list[Definition], restored: list[Definition], *, texts: bool) -> DefinitionsResult:
    """Compare two dumps' entries; without ``texts`` only their kinds and names."""
    if not texts:
        stored, restored = list(map(_inventory, stored)), list(map(_inventory, restored))
    expected, found = Counter(stored), Counter(restored)
    missing, unexpected = list((expected - found).elements()), list((found - expected).elements())
    reordered = Counter(map(_reordered, missing)) & Counter(map(_reordered, unexpected))
    missing = _without(missing, reordered)
    unexpected = _without(unexpected, reordered)
    changed = Counter(item.label for item in missing) & Counter(item.label for item in unexpected)
    return DefinitionsResult(
        missing=tuple(sorted(item.label for item in missing if item.label not in changed)),
        unexpected=tuple(sorted(item.label for item in unexpected if item.label not in changed)),
        changed=tuple(sorted(changed)),
        reordered=tuple(sorted(item.label for item in reordered)),
    )


def _without(items: list[Definition], taken: Counter[Definition]) -> list[Definition]:
    return [item for item in items if _reordered(item) not in taken]


def _reordered(item: Definition) -> Definition:
    """The entry as it is whatever the order of its columns."""
    if item.type != "TABLE" or "\nINHERITS (" not in item.text:
        return item
    lines = sorted(line.rstrip(",") for line in item.text.splitlines())
    return Definition(item.type, item.schema, item.name, item.owner, "\n".join(lines))


def _inventory(item: Definition) -> Definition:
    return Definition(item.type, item.schema, item.name, "", "")
