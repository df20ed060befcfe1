"""Driver errors become typed ones in one place."""

from __future__ import annotations

import psycopg
import psycopg_pool
import pytest
from psycopg import errors as pg

from tui_backup import errors
from tui_backup.catalog.failures import catalog_error, catalog_errors


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (pg.InsufficientPrivilege("x"), errors.PermissionRefusedError),
        (pg.InvalidAuthorizationSpecification("x"), errors.AuthenticationError),
        (pg.InvalidPassword("x"), errors.AuthenticationError),
        (pg.UniqueViolation("x"), errors.AlreadyExistsError),
        (pg.ForeignKeyViolation("x"), errors.NotFoundError),
        (pg.CheckViolation("x"), errors.ValidationError),
        (pg.NotNullViolation("x"), errors.ValidationError),
        (pg.InvalidTextRepresentation("x"), errors.ValidationError),
        (pg.UndefinedTable("x"), errors.CatalogVersionError),
        (pg.InvalidSchemaName("x"), errors.CatalogVersionError),
        (pg.InvalidCatalogName("x"), errors.CatalogVersionError),
        (pg.QueryCanceled("x"), errors.CatalogUnavailableError),
        (pg.AdminShutdown("x"), errors.CatalogUnavailableError),
        (pg.TooManyConnections("x"), errors.CatalogUnavailableError),
        (pg.DiskFull("x"), errors.CatalogUnavailableError),
        (pg.SerializationFailure("x"), errors.CatalogUnavailableError),
        (pg.ReadOnlySqlTransaction("x"), errors.CatalogUnavailableError),
        (pg.DivisionByZero("x"), errors.ValidationError),
        (pg.InternalError_("x"), errors.SqlFailedError),
        (psycopg.OperationalError("server closed the connection unexpectedly"), errors.CatalogUnavailableError),
        (psycopg.OperationalError('FATAL:  role "x" does not exist'), errors.AuthenticationError),
        (psycopg.OperationalError("FATAL: no pg_hba.conf entry for host"), errors.AuthenticationError),
        (psycopg.InterfaceError("the connection is closed"), errors.CatalogUnavailableError),
        (psycopg.DataError("text fields cannot contain NUL"), errors.ValidationError),
        (psycopg.ProgrammingError('missing "=" after "secret"'), errors.ValidationError),
        (psycopg_pool.PoolTimeout("x"), errors.CatalogUnavailableError),
        (psycopg_pool.PoolClosed("x"), errors.CatalogUnavailableError),
        (OSError(111, "refused"), errors.CatalogUnavailableError),
    ],
)
def test_each_has_its_class(raised: Exception, expected: type[errors.TuiBackupError]) -> None:
    found = catalog_error(raised)
    assert type(found) is expected
    assert found.message.endswith(".") and found.hint
    assert "secret" not in found.message


def test_the_cause_is_kept_and_other_errors_pass() -> None:
    cause = pg.AdminShutdown("x")
    with pytest.raises(errors.CatalogUnavailableError) as caught, catalog_errors():
        raise cause
    assert caught.value.__cause__ is cause and caught.value.retryable
    for other in (ValueError("x"), errors.NotFoundError("x"), KeyboardInterrupt()):
        with pytest.raises(type(other)) as passed, catalog_errors():
            raise other
        assert passed.value is other
