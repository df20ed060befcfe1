"""The one place where failures of the catalog database become typed errors."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager

import psycopg
import psycopg_pool
from psycopg import errors as pg

from tui_backup.errors import (
    AlreadyExistsError,
    AuthenticationError,
    CatalogUnavailableError,
    CatalogVersionError,
    JobStateError,
    NotFoundError,
    PermissionRefusedError,
    SqlFailedError,
    TuiBackupError,
    ValidationError,
)

_LOGIN_REFUSED = re.compile(
    r"password authentication failed|authentication failed for|no password supplied|role .* does not exist"
    r"|not permitted to log in|no pg_hba\.conf entry|pg_hba\.conf rejects|permission denied for database",
    re.IGNORECASE,
)
_TAKEN = {
    "unique_source_name_per_tenant": "A source of this name exists already.",
    "unique_repository_name_per_tenant": "A repository of this name exists already.",
    "unique_schedule_name_per_tenant": "A schedule of this name exists already.",
    "unique_tenant_name": "A tenant of this name exists already.",
    "idx_backup_jobs_one_per_due_time": "This due time of the schedule has been started already.",
}
_NAME_RULE = "A name starts with a letter or digit and holds up to 63 letters, digits, dots, dashes, underscores."


@contextmanager
def catalog_errors() -> Generator[None]:
    """Turn driver errors raised inside into typed ones, the cause kept.

    Raises:
        TuiBackupError: the class that fits the driver's error.
    """
    try:
        yield
    except (psycopg.Error, psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed, OSError) as exc:
        raise catalog_error(exc) from exc


def catalog_error(exc: Exception) -> TuiBackupError:
    """The typed error for one driver error.

    Args:
        exc: an error of psycopg, of its pool, or of the operating system.
    """
    if isinstance(exc, psycopg.Error) and exc.sqlstate:
        return _from_sqlstate(exc)
    said = _one_line(exc)
    if isinstance(exc, psycopg.DataError):
        return ValidationError("value", f"{said}.")
    if _LOGIN_REFUSED.search(said):
        return AuthenticationError(f"The catalog refused the login: {said}.")
    if isinstance(exc, psycopg_pool.PoolTimeout):
        return CatalogUnavailableError("The catalog gave no connection within the time limit.")
    if isinstance(exc, psycopg.ProgrammingError):
        return ValidationError("dsn", "The catalog's connection string cannot be used.")
    return CatalogUnavailableError(f"The catalog cannot be reached: {said}.")


def _from_sqlstate(exc: psycopg.Error) -> TuiBackupError:
    said = exc.diag.message_primary or _one_line(exc)
    state = exc.sqlstate or ""
    if isinstance(exc, pg.InsufficientPrivilege):
        return PermissionRefusedError(_refusal(said))
    if state.startswith("28"):
        return AuthenticationError(f"The catalog does not know you: {said}.")
    if state.startswith("23"):
        return _from_constraint(exc, said)
    if state.startswith("22"):
        return ValidationError("value", f"The catalog refused a value: {said}.")
    if state in ("42P01", "3F000", "42883", "42703", "3D000"):
        return CatalogVersionError(
            f"The database holds no catalog that this program can use: {said}.",
            hint="Run `tui-backup init`, or `tui-backup upgrade` when a catalog is there.",
        )
    if state == "57014":
        return CatalogUnavailableError("The catalog took too long to answer.")
    if state[:2] in ("08", "53", "57", "40", "55") or state == "25006":
        return CatalogUnavailableError(f"The catalog cannot do this now: {said}.")
    return SqlFailedError(f"The catalog refused a statement: {said}.", details={"sqlstate": state})


def _from_constraint(exc: psycopg.Error, said: str) -> TuiBackupError:
    constraint = exc.diag.constraint_name or ""
    if isinstance(exc, pg.UniqueViolation):
        return AlreadyExistsError(_TAKEN.get(constraint, "It exists already."))
    # RESTRICT has a state of its own from PostgreSQL 18 on
    if isinstance(exc, (pg.ForeignKeyViolation, pg.RestrictViolation)):
        if said.startswith("update or delete"):
            user = _user_of(exc)
            return JobStateError(f"It is still in use by {user}.", hint=f"Remove those {user} first.")
        return NotFoundError(f"{said[:1].upper()}{said[1:]}." if said.startswith("no such") else "It does not exist.")
    table = exc.diag.table_name or ""
    field = exc.diag.column_name or constraint.removeprefix(f"{table}_").removesuffix("_check") or "value"
    if field.endswith("_name") and isinstance(exc, pg.CheckViolation):
        return ValidationError(field, _NAME_RULE)
    if isinstance(exc, pg.NotNullViolation):
        return ValidationError(field, f"{field} must not be empty.")
    return ValidationError(field, f"The value of {field} is not allowed.")


def _user_of(exc: psycopg.Error) -> str:
    """Which kind of rows still point here, in the product's words."""
    table = re.search(r'on table "(\w+)"$', exc.diag.message_primary or "")
    words = {
        "backup_jobs": "backups",
        "backup_schedules": "schedules",
        "backup_restore_logs": "restores",
        "backup_verifications": "verifications",
    }
    return words.get(table[1] if table else "", "other rows")


def _refusal(said: str) -> str:
    if said.startswith(("the role ", "not a tenant", "only an agent")):
        return f"Refused: {said}."
    if "row-level security" in said:
        return "Your role may not do this."
    return f"Your catalog login may not do this: {said}."


def _one_line(exc: Exception) -> str:
    return " ".join(str(exc).split()).rstrip(".") or type(exc).__name__
