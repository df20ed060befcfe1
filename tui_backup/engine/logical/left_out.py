"""What a backup knowingly does not hold, in words for the manifest and the screens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tui_backup import manifest
from tui_backup.engine.logical.names import shown
from tui_backup.engine.logical.relations import FOREIGN, SEQUENCE, TABLE, Relation


def of_whole_database(relations: Iterable[Relation], *, is_standby: bool) -> list[manifest.LeftOut]:
    """Rows that live elsewhere, come back by themselves, or cannot be read here."""
    found: list[manifest.LeftOut] = []
    for rel in relations:
        name = shown(rel.key)
        if rel.kind == FOREIGN and rel.is_ours:
            reason = f"its rows live on the foreign server {rel.foreign_server}; the definition is kept"
            found.append(manifest.LeftOut(what=f"rows of foreign table {name}", reason=reason))
        elif rel.kind in (TABLE, SEQUENCE) and not rel.is_ours:
            kind = "table" if rel.kind == TABLE else "sequence"
            reason = f"extension {rel.extension} makes it anew and did not mark it as configuration"
            found.append(manifest.LeftOut(what=f"contents of {kind} {name}", reason=reason))
        elif is_standby and rel.persistence == "u" and rel.kind in (TABLE, SEQUENCE):
            kind = "table" if rel.kind == TABLE else "sequence"
            reason = "a standby has no contents of unlogged relations; the definition is kept"
            found.append(manifest.LeftOut(what=f"contents of unlogged {kind} {name}", reason=reason))
    return found


def of_chosen_tables(excluded: Sequence[Relation]) -> list[manifest.LeftOut]:
    """What a backup of chosen tables leaves out besides other tables' rows."""
    reason = "only chosen tables are backed up"
    return [
        manifest.LeftOut(what="large objects and materialised views' contents", reason=reason),
        *of_unreadable(excluded),
    ]


def of_unreadable(excluded: Iterable[Relation]) -> list[manifest.LeftOut]:
    """Tables whose very definition cannot be read."""
    return [
        manifest.LeftOut(what=f"definition of table {shown(rel.key)}", reason="the login may not read it")
        for rel in excluded
    ]


def of_tools(warnings: Sequence[str], globals_refused: str | None) -> list[manifest.LeftOut]:
    """What pg_dump and pg_dumpall said they did not save."""
    found = [manifest.LeftOut(what="pg_dump's warning", reason=line) for line in warnings]
    if globals_refused is None:
        reason = "never stored; set them after a restore on a server that lacks the roles"
        found.append(manifest.LeftOut(what="passwords of roles", reason=reason))
    else:
        found.append(manifest.LeftOut(what="roles and tablespaces", reason=globals_refused))
    return found
