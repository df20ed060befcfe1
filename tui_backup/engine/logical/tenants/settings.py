"""What is said about a source's tenants: the tenant column, and the tables that are exceptions.

Stored as JSON in ``sources.tenant_map``; everything in it is a name to be looked up in the live catalog, never SQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from tui_backup.errors import ValidationError

DEFAULT_COLUMN = "tenant_id"

_HINT = "A table takes one of column:NAME, via:FOREIGN_KEY[,FOREIGN_KEY], shared:missing, shared:never and left-out."


class TableRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How one table's rows are told; exactly one is set.

    Args:
        column: its own tenant column.
        via: the foreign key (or several, of which a row uses one) that leads to the owner.
        shared: rows of nobody: put back where they are ``missing``, or ``never`` stored.
        left_out: knowingly not in any tenant's backup.
    """

    column: str | None = None
    via: str | list[str] | None = None
    shared: Literal["missing", "never"] | None = None
    left_out: bool = False

    @property
    def keys(self) -> list[str]:
        """The foreign keys of ``via``."""
        return [self.via] if isinstance(self.via, str) else list(self.via or ())

    @property
    def words(self) -> str:
        """As it is written on the command line."""
        if self.column is not None:
            return f"column:{self.column}"
        if self.via is not None:
            return f"via:{','.join(self.keys)}"
        return f"shared:{self.shared}" if self.shared else "left-out"


class TenantMapSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A source's settings.

    Args:
        column: the tenant column's name.
        rows_by: ``column``, or ``policies``: the source's own row-level security picks the rows.
        role: whom the policies are asked as.
        setting: the parameter that the policies read the tenant's key from.
        tables: exceptions by table, written as SQL writes a name.
    """

    column: str = DEFAULT_COLUMN
    rows_by: Literal["column", "policies"] = "column"
    role: str | None = None
    setting: str | None = None
    tables: dict[str, TableRule] = {}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TenantMapSettings:
        """Read and check the stored form.

        Raises:
            ValidationError: it says something that cannot be.
        """
        try:
            settings = msgspec.convert(value, cls)
        except msgspec.ValidationError as exc:
            raise ValidationError("tenant_map", f"The tenant map is wrong: {exc}.", hint=_HINT) from exc
        settings.check()
        return settings

    def to_json(self) -> dict[str, Any]:
        """The stored form: only what differs from the defaults."""
        return msgspec.to_builtins(self)

    def check(self) -> None:
        """Raise ValidationError for what no source could mean."""
        if not self.column:
            raise ValidationError("tenant_column", "The tenant column's name is empty.")
        if self.rows_by == "policies" and not (self.role and self.setting):
            raise ValidationError(
                "rows_by",
                "Rows are picked by policies only with a role and a setting.",
                hint="Name both: --rows-by policies --role ROLE --setting app.tenant_id",
            )
        for table, rule in self.tables.items():
            _check_rule(table, rule)


def _check_rule(table: str, rule: TableRule) -> None:
    said = [rule.column is not None, rule.via is not None, rule.shared is not None, rule.left_out]
    if sum(said) != 1 or rule.column == "" or (rule.via is not None and not all(rule.keys or [""])):
        raise ValidationError("tables", f"The rule of table {table!r} must say exactly one thing.", hint=_HINT)


def parse_rule(text: str) -> TableRule:
    """Read a rule as the command line writes it.

    Raises:
        ValidationError: it is none.
    """
    word, _, value = text.partition(":")
    match word.strip(), value.strip():
        case "column", name if name:
            return TableRule(column=name)
        case "via", names if names:
            keys = [name.strip() for name in names.split(",")]
            return TableRule(via=keys[0] if len(keys) == 1 else keys)
        case "shared", "missing":
            return TableRule(shared="missing")
        case "shared", "never":
            return TableRule(shared="never")
        case "left-out", "":
            return TableRule(left_out=True)
        case _:
            raise ValidationError("tables", f"{text!r} does not say how a table's rows are told.", hint=_HINT)
