"""The stored schema archive: its table of contents, what of it to restore, and running PostgreSQL's tools on it.

pg_restore prints for every entry its catalog, the oid of what it describes and the entries it depends on. Names in that
listing are for people (newlines are taken out of them); what is restored is therefore chosen by oid.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from psycopg import conninfo

from tui_backup.engine.logical.frames import run_workers, write_file
from tui_backup.engine.tools import ClientTools, run_tool
from tui_backup.errors import DamagedError
from tui_backup.manifest import StoredFile
from tui_backup.model import BackupReader, StopFlag

PG_CLASS = 1259
_ENTRY = re.compile(r"^(\d+); (\d+) (\d+) (.*)$")
_DEPENDS = "depends on:"
_TABLES = ("TABLE ", "FOREIGN TABLE ")
_RELATIONS = (*_TABLES, "SEQUENCE ", "VIEW ", "MATERIALIZED VIEW ")
_TABLESPACE = re.compile(r"^-- Name: .*; Tablespace: (.*)$", re.MULTILINE)
# pg_restore 17 and newer sets a parameter that older servers do not know, and counts their refusal as a failure
_NEW_PARAMETER_MAJOR = 17
_NEW_PARAMETER_LINE = b"SET transaction_timeout = 0;"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the table of contents.

    Args:
        id: its number in the archive.
        catalog: oid of the catalog that what it describes was in, 0 for comments, grants and the like.
        oid: its oid there.
        label: kind, schema, name and owner, for people.
        depends: numbers of entries that must exist before it.
        section: ``pre-data``, ``post-data`` or ``none``.
    """

    id: int
    catalog: int
    oid: int
    label: str
    depends: tuple[int, ...] = ()
    section: str = "none"

    @property
    def is_table(self) -> bool:
        """Whether it creates something that can hold rows."""
        return self.catalog == PG_CLASS and self.label.startswith(_TABLES)

    @property
    def is_relation(self) -> bool:
        """Whether it creates a table, view or sequence."""
        return self.catalog == PG_CLASS and self.label.startswith(_RELATIONS)

    @property
    def is_acl(self) -> bool:
        """Whether it gives grants on an object."""
        return self.label.startswith("ACL ")


@dataclass(frozen=True, slots=True)
class Selection:
    """Entries to restore. ``excluded`` names what stays away with the tables that were not chosen; ``empty`` tables
    that come as definitions only, because a chosen one needs them."""

    ids: frozenset[int]
    excluded: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()


def parse_listing(text: str) -> list[Entry]:
    """Read what ``pg_restore --list --verbose`` prints."""
    entries: list[Entry] = []
    for line in text.splitlines():
        if match := _ENTRY.match(line):
            entries.append(Entry(int(match[1]), int(match[2]), int(match[3]), match[4]))
        elif line.startswith(";") and _DEPENDS in line and entries:
            depends = tuple(int(word) for word in line.partition(_DEPENDS)[2].split())
            last = entries[-1]
            entries[-1] = Entry(last.id, last.catalog, last.oid, last.label, depends)
    return entries


def select_entries(entries: Sequence[Entry], chosen: Collection[int] | None) -> Selection:
    """Choose the entries for some tables, or all of them.

    A table that is not chosen stays away, and with it everything that cannot be without it: its indexes, views on it,
    foreign keys towards it. What a chosen table needs in order to be created (a parent, a sequence) comes along.

    Args:
        entries: those that belong to a section.
        chosen: oids of the chosen tables in the source; None for all.
    """
    if chosen is None:
        return Selection(frozenset(entry.id for entry in entries))
    by_id = {entry.id: entry for entry in entries}
    start = [entry.id for entry in entries if entry.is_table and entry.oid in chosen]
    needed = _closure(start, {entry.id: entry.depends for entry in entries})
    roots = [entry.id for entry in entries if entry.is_table and entry.id not in needed]
    dependants: dict[int, list[int]] = {}
    for entry in entries:
        for other in entry.depends:
            dependants.setdefault(other, []).append(entry.id)
    excluded = _closure(roots, dependants)
    gone = [by_id[number].label for number in sorted(excluded & by_id.keys())]
    kept = [entry for entry in entries if entry.id not in excluded]
    empty = [entry.label for entry in kept if entry.is_table and entry.oid not in chosen]
    return Selection(frozenset(entry.id for entry in kept), tuple(gone), tuple(empty))


def _closure(start: Iterable[int], edges: Mapping[int, Iterable[int]]) -> set[int]:
    found: set[int] = set()
    waiting = list(start)
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            waiting += edges.get(number, ())
    return found


@dataclass(slots=True)
class Archive:
    """A schema archive in a private temporary folder, gone at the end of the ``with``.

    Args:
        stored: where its content lies.
        reader: reads it.
        tools: pg_restore that can read it.
        stop: ends a running tool.
        no_owner: leave owners and grants out.
        no_tablespaces: put everything into the database's default tablespace.
    """

    stored: StoredFile
    reader: BackupReader
    tools: ClientTools
    stop: StopFlag
    no_owner: bool = False
    no_tablespaces: bool = False
    entries: list[Entry] = field(default_factory=list[Entry])
    _folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Archive:
        # TemporaryDirectory makes folders of mode 0700
        self._folder = tempfile.TemporaryDirectory(prefix="tui-backup-restore-")
        try:
            write_file(self.stored, self.reader, self.path)
            self.entries = self._read_contents()
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._folder is not None  # noqa: S101 - set on entry
        self._folder.cleanup()

    @property
    def path(self) -> Path:
        """The archive file."""
        return self.folder / "schema.dump"

    @property
    def folder(self) -> Path:
        """A private folder for files that belong to this restore."""
        if self._folder is None:
            raise ValueError("the archive is not open")
        return Path(self._folder.name)

    @property
    def options(self) -> list[str]:
        """What is left out, as options that pg_dump and pg_restore share."""
        owners = ["--no-owner", "--no-privileges"] if self.no_owner else []
        return [*owners, *(["--no-tablespaces"] if self.no_tablespaces else [])]

    def script(self, ids: Collection[int], take: Callable[[bytes], None]) -> None:
        """Write the entries as SQL text in the form that psql reads."""
        self._restore(["--file=-", *self.options], {}, ids, take)

    def text(self, ids: Collection[int]) -> str:
        """The entries' SQL as one string."""
        parts: list[bytes] = []
        self.script(ids, parts.append)
        return b"".join(parts).decode("utf-8", "surrogateescape")

    def tablespaces(self) -> set[str]:
        """Names of tablespaces that the definitions put something into."""
        return set(_TABLESPACE.findall(self.text({entry.id for entry in self.entries})))

    def restore(
        self,
        ids: Collection[int],
        env: Mapping[str, str],
        *,
        server_major: int,
        jobs: int = 1,
    ) -> None:
        """Apply entries to a database; the first error fails the whole.

        Args:
            ids: the entries.
            env: environment of the tools, naming server and database.
            server_major: the target's major version.
            jobs: statements at a time.

        Raises:
            ClientToolsError: an error of the server or of the tool, with its last lines.
        """
        if not ids:
            return
        if self.tools.major >= _NEW_PARAMETER_MAJOR > server_major:
            self._restore_by_psql(ids, env, jobs)
            return
        database = conninfo.make_conninfo("", dbname=env["PGDATABASE"])
        self._restore(
            [f"--dbname={database}", "--exit-on-error", f"--jobs={jobs}", *self.options], env, ids, lambda _: None
        )

    def _restore(
        self,
        options: Sequence[str],
        env: Mapping[str, str],
        ids: Collection[int],
        take: Callable[[bytes], None] | Path,
    ) -> None:
        """Run pg_restore on the chosen entries."""
        number, name = tempfile.mkstemp(prefix="list-", dir=self.folder)
        with os.fdopen(number, "w") as stream:
            # a listed entry is restored whatever its section, in the archive's own order
            stream.writelines(f"{entry.id};\n" for entry in self.entries if entry.id in ids)
        argv = [self.tools.path("pg_restore"), f"--use-list={name}", *options, str(self.path)]
        run_tool(argv, {"LC_ALL": "C", **env}, stop=self.stop, stdout_to=take)

    def _restore_by_psql(self, ids: Collection[int], env: Mapping[str, str], jobs: int) -> None:
        """Apply the entries as scripts, without the one statement that an older server refuses."""
        first, rest = self._independent(ids) if jobs > 1 else (set[int](), set(ids))
        shares = [sorted(first)[number::jobs] for number in range(jobs)]

        def run(share: Collection[int], _: StopFlag) -> None:
            self._psql(share, env)

        run_workers([share for share in shares if share], run, workers=jobs, stop=self.stop)
        self._psql(rest, env)

    def _independent(self, ids: Collection[int]) -> tuple[set[int], set[int]]:
        """Indexes and key constraints that wait for nothing else of the set, and the rest."""
        first = {
            entry.id
            for entry in self.entries
            if entry.id in ids
            and entry.label.startswith(("INDEX ", "CONSTRAINT "))
            and not any(other in ids for other in entry.depends)
        }
        return first, set(ids) - first

    def _psql(self, ids: Collection[int], env: Mapping[str, str]) -> None:
        if not ids:
            return
        number, name = tempfile.mkstemp(prefix="script-", suffix=".sql", dir=self.folder)
        os.close(number)
        self._restore(["--file=-", *self.options], {}, ids, Path(name))
        lines = Path(name).read_bytes().splitlines(keepends=True)
        for position, line in enumerate(lines):
            if line.startswith(b"-- Name: "):
                break
            if line.rstrip() == _NEW_PARAMETER_LINE:
                lines[position] = b""
        Path(name).write_bytes(b"".join(lines))
        argv = [self.tools.path("psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={name}"]
        run_tool(argv, env, stop=self.stop, stdout_to=lambda _: None)

    def _read_contents(self) -> list[Entry]:
        entries = parse_listing(self._list("--verbose"))
        sections = {
            entry.id: section
            for section in ("pre-data", "post-data")
            for entry in parse_listing(self._list(f"--section={section}"))
        }
        found = [Entry(e.id, e.catalog, e.oid, e.label, e.depends, sections[e.id]) for e in entries if e.id in sections]
        if not found and entries and any(entry.is_relation for entry in entries):
            raise DamagedError("The stored schema archive lists no entries to restore.")
        return found

    def _list(self, option: str) -> str:
        argv = [self.tools.path("pg_restore"), "--list", option, str(self.path)]
        result = run_tool(argv, {"LC_ALL": "C"}, stop=self.stop, timeout_s=120)
        return result.stdout.decode("utf-8", "surrogateescape")
