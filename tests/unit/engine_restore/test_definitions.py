"""Two schema dumps, entry by entry."""

from __future__ import annotations

from tui_backup.engine.logical.compare_definitions import diff_definitions, split_dump

HEAD = "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\nSET client_encoding = 'UTF8';\n\n"
TABLE = (
    "--\n-- Name: t; Type: TABLE; Schema: s; Owner: me\n--\n\n"
    "CREATE TABLE s.t (\n    a integer,\n    b text\n)\n{more};\n\n\n"
)
VIEW = "--\n-- Name: v; Type: VIEW; Schema: s; Owner: me\n--\n\nCREATE VIEW s.v AS SELECT 1;\n\n\n"
STATE = "SET default_tablespace = '';\n\nSET default_table_access_method = heap;\n\n"
TAIL = "--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict {token}\n\n"


def _dump(*entries: str, mark: str = "abc") -> str:
    return HEAD + "".join(entries) + TAIL.format(token=mark)


def test_order_state_and_tokens_do_not_matter() -> None:
    table = TABLE.format(more="")
    one = split_dump(_dump(STATE, table, VIEW))
    other = split_dump(_dump(VIEW, STATE, table, mark="xyz"))
    assert sorted(one, key=str) == sorted(other, key=str)
    assert [item.label for item in one] == ["TABLE s.t", "VIEW s.v"]
    assert diff_definitions(one, other, texts=True) == diff_definitions([], [], texts=True)


def test_missing_changed_and_unexpected() -> None:
    one = split_dump(_dump(TABLE.format(more=""), VIEW))
    other = split_dump(_dump(TABLE.format(more="WITH (fillfactor='50')"), VIEW.replace("v;", "w;")))
    result = diff_definitions(one, other, texts=True)
    assert result.changed == ("TABLE s.t",)
    assert result.missing == ("VIEW s.v",)
    assert result.unexpected == ("VIEW s.w",)
    names_only = diff_definitions(one, other, texts=False)
    assert names_only.changed == ()
    assert names_only.missing == ("VIEW s.v",)


def test_another_owner_is_a_change() -> None:
    one, other = split_dump(_dump(VIEW)), split_dump(_dump(VIEW.replace("Owner: me", "Owner: you")))
    assert diff_definitions(one, other, texts=True).changed == ("VIEW s.v",)


def test_columns_of_an_inheriting_table_may_stand_in_another_order() -> None:
    table = TABLE.format(more="INHERITS (s.p)")
    moved = table.replace("    a integer,\n    b text\n", "    b text,\n    a integer\n")
    result = diff_definitions(split_dump(_dump(table)), split_dump(_dump(moved)), texts=True)
    assert result.reordered == ("TABLE s.t",)
    assert result.changed == ()
    plain = TABLE.format(more="")
    moved = plain.replace("    a integer,\n    b text\n", "    b text,\n    a integer\n")
    assert diff_definitions(split_dump(_dump(plain)), split_dump(_dump(moved)), texts=True).changed == ("TABLE s.t",)
