"""Names: what is quoted is read back, by us and by a real server."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.servers import TestServer
from tui_backup.engine.logical.names import choose, literal, parse, qualified, quote, shown
from tui_backup.errors import ValidationError

identifiers = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=15)


@given(identifiers, identifiers)
def test_a_quoted_name_is_read_back(schema: str, table: str) -> None:
    assert parse(qualified(schema, table)) == (schema, table)
    assert parse(quote(table)) == (None, table)


@given(identifiers, identifiers)
def test_a_shown_name_is_read_back(schema: str, table: str) -> None:
    assert parse(shown((schema, table))) == (schema, table)


@given(identifiers, identifiers, st.lists(st.tuples(identifiers, identifiers), max_size=5))
def test_a_name_from_a_list_is_found(schema: str, table: str, others: list[tuple[str, str]]) -> None:
    available = list(dict.fromkeys([(schema, table), *others]))
    assert choose([qualified(schema, table)], available) == [(schema, table)]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("orders", (None, "orders")),
        ("Orders", (None, "orders")),
        ('"Orders"', (None, "Orders")),
        (' public . "a.b" ', ("public", "a.b")),
        ("ÄB.x$1", ("Äb", "x$1")),
        ('"a""b".c', ('a"b', "c")),
    ],
)
def test_names_by_sqls_rules(written: str, meant: tuple[str | None, str]) -> None:
    assert parse(written) == meant


@pytest.mark.parametrize("written", ["", " ", ".", "a.", ".a", "a.b.c", '"a', 'a"b"', "1a", "a b", '""', "a;b", "a--"])
def test_what_is_no_name(written: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parse(written)
    assert caught.value.details["field"] == "tables"


def test_choosing() -> None:
    available = [("public", "orders"), ("public", "My Table"), ("a", "x"), ("b", "x"), ("b", "only")]
    assert choose(["orders", "public.orders", "only"], available) == [("public", "orders"), ("b", "only")]
    assert choose(["public.My Table"], available) == [("public", "My Table")]
    with pytest.raises(ValidationError, match=r"ambiguous: a\.x, b\.x"):
        choose(["x"], available)
    with pytest.raises(ValidationError) as caught:
        choose(["oders"], available)
    assert caught.value.details["near"] == ["public.orders"]


@settings(max_examples=50, deadline=None)
@given(st.lists(identifiers, min_size=1, max_size=20))
def test_a_server_reads_quoted_names_and_literals_as_meant(pg: TestServer, names: list[str]) -> None:
    columns = ", ".join(f"{literal(name)} AS {quote(name)}" for name in names)
    with pg.connect() as conn:
        conn.execute("SET client_min_messages = error")
        cursor = conn.execute(f"SELECT {columns}".encode())
        assert cursor.description is not None
        assert cursor.fetchone() == tuple(names)
        # the server cuts identifiers to 63 bytes, at a character
        shortened = [name.encode()[:63].decode("utf-8", "ignore") for name in names]
        assert [column.name for column in cursor.description] == shortened
