"""Names as people write them and as SQL needs them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from tui_backup.errors import ValidationError

QualifiedName = tuple[str, str]

_PART = re.compile(r'\s*(?:"((?:[^"]|"")+)"|([^\W\d][\w$]*))\s*')
_ASCII_UPPER = re.compile("[A-Z]+")


def quote(name: str) -> str:
    """Quote an identifier, always, so that no keyword list is needed."""
    return '"' + name.replace('"', '""') + '"'


def qualified(schema: str, name: str) -> str:
    """``"schema"."name"`` for use in a statement."""
    return f"{quote(schema)}.{quote(name)}"


def literal(text: str) -> str:
    """Quote a string; a backslash needs the E form, which is right whatever standard_conforming_strings says."""
    doubled = text.replace("'", "''")
    if "\\" in doubled:
        return "E'" + doubled.replace("\\", "\\\\") + "'"
    return f"'{doubled}'"


def shown(name: QualifiedName) -> str:
    """The name for people: quoted only where SQL would need it or where it could be misread."""
    return ".".join(part if re.fullmatch("[a-z_][a-z0-9_$]*", part) else quote(part) for part in name)


def parse(text: str) -> tuple[str | None, str]:
    """Split a name written by SQL's rules into schema and table; letters outside quotes are folded.

    Raises:
        ValidationError: it is no name, or has more than two parts.
    """
    parts: list[str] = []
    position = 0
    while True:
        match = _PART.match(text, position)
        if match is None:
            break
        quoted, plain = match.groups()
        parts.append(quoted.replace('""', '"') if quoted is not None else _fold(plain))
        position = match.end()
        if position == len(text) and len(parts) <= 2:
            return (parts[0], parts[1]) if len(parts) == 2 else (None, parts[0])
        if position == len(text) or text[position] != ".":
            break
        position += 1
    raise ValidationError(
        "tables",
        f"{text!r} is not a table name.",
        hint='Write table or schema.table; quote names as SQL does: "My Schema"."Orders".',
    )


def _fold(plain: str) -> str:
    # the server folds ASCII letters only
    return _ASCII_UPPER.sub(lambda match: match[0].lower(), plain)


def choose(requested: Sequence[str], available: Iterable[QualifiedName]) -> list[QualifiedName]:
    """Find the requested tables among those there are.

    A text that is exactly a table's plain ``schema.table`` is taken as it is, so that a name copied from a list works
    without SQL's quotes; otherwise SQL's rules hold.

    Raises:
        ValidationError: unknown (names the nearest ones), ambiguous, or no name at all.
    """
    names = list(available)
    plain = {f"{schema}.{name}": (schema, name) for schema, name in names}
    chosen: dict[QualifiedName, None] = {}
    for text in requested:
        found = [plain[text]] if text in plain else _matching(text, names)
        if len(found) > 1:
            raise ValidationError(
                "tables",
                f"{text!r} is ambiguous: {', '.join(shown(name) for name in found)}.",
                hint="Write schema.table.",
            )
        if not found:
            raise _unknown(text, names)
        chosen[found[0]] = None
    return list(chosen)


def _matching(text: str, names: Sequence[QualifiedName]) -> list[QualifiedName]:
    schema, table = parse(text)
    return [name for name in names if name[1] == table and schema in (None, name[0])]


def _unknown(text: str, names: Sequence[QualifiedName]) -> ValidationError:
    written = {shown(name): shown(name) for name in names}
    written |= {name[1]: shown(name) for name in names}
    near = difflib.get_close_matches(text, written, n=5, cutoff=0.5)
    nearest = list(dict.fromkeys(written[match] for match in near))
    return ValidationError(
        "tables",
        f"There is no table {text!r} in the database.",
        hint=f"Near: {', '.join(nearest)}." if nearest else "Names are case-sensitive when quoted.",
        details={"near": nearest},
    )
