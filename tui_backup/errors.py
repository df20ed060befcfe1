"""Every failure that a user can cause or meet, as one tree.

Each class carries a stable ``code`` (scripts match on it, codes are never reused), the ``exit_status`` of the
command line, whether a retry can help (``retryable``) and a ``hint`` that says what to do next.

    TuiBackupError
    ├── UsageError            exit 2: wrong use, bad input
    ├── RefusedError          exit 3: rights or safety
    └── WorkFailedError       exit 1: the work was tried and failed
"""

from __future__ import annotations

from typing import Any, ClassVar


class TuiBackupError(Exception):
    """Base of all typed failures.

    Args:
        message: what went wrong, one sentence, no secrets.
        hint: what the user should do next; the class's own hint when left out.
        details: facts for scripts, JSON-serialisable, no secrets.
    """

    code: ClassVar[str] = "error"
    exit_status: ClassVar[int] = 1
    retryable: ClassVar[bool] = False
    default_hint: ClassVar[str] = "See the log for what happened before this."

    def __init__(self, message: str, *, hint: str | None = None, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint if hint is not None else self.default_hint
        self.details: dict[str, Any] = details or {}

    def to_json(self) -> dict[str, Any]:
        """The error as the ``--json`` object: code, message, hint and, where there are any, details."""
        body: dict[str, Any] = {"error": self.code, "message": self.message, "hint": self.hint}
        if self.details:
            body["details"] = self.details
        return body


# -- wrong use: exit 2 --------------------------------------------------------------------------------------------


class UsageError(TuiBackupError):
    """The request itself is wrong."""

    code = "usage"
    exit_status = 2
    default_hint = "Run the command with --help."


class ConfigError(UsageError):
    """The configuration file or an environment variable cannot be used."""

    code = "config_invalid"
    default_hint = "Mend the named setting in the configuration file."


class NotSetUpError(UsageError):
    """Nothing is set up yet on this machine."""

    code = "not_set_up"
    default_hint = "Run `tui-backup init`."


class ValidationError(UsageError):
    """A field holds a value that cannot be used."""

    code = "invalid_value"
    default_hint = "Correct the value and try again."

    def __init__(
        self, field: str, message: str, *, hint: str | None = None, details: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message, hint=hint, details={"field": field, **(details or {})})
        self.field = field


class NotFoundError(UsageError):
    """The named object does not exist, or belongs to another tenant (the two are not told apart)."""

    code = "not_found"
    default_hint = "List what there is with the command's `list` form."


class AlreadyExistsError(UsageError):
    """The name is taken."""

    code = "already_exists"
    default_hint = "Choose another name."


class JobStateError(UsageError):
    """The job is not in a state that allows this."""

    code = "wrong_state"
    default_hint = "Look at its state with `tui-backup job show`."


# -- refused: exit 3 ----------------------------------------------------------------------------------------------


class RefusedError(TuiBackupError):
    """Not done, on purpose: rights or safety."""

    code = "refused"
    exit_status = 3


class PermissionRefusedError(RefusedError):
    """The caller's role does not allow this."""

    code = "not_permitted"
    default_hint = "Ask an admin of your tenant, or log in with another role."


class AuthenticationError(RefusedError):
    """The caller could not be identified: no membership, or a token that does not hold."""

    code = "not_authenticated"
    default_hint = "Log in with a PostgreSQL role that is a member of a tenant, or renew the token."


class ConfirmationRequiredError(RefusedError):
    """A restore or a deletion without the explicit confirmation."""

    code = "confirmation_required"
    default_hint = "Add --confirm after reading the plan."


class SourcePermissionError(RefusedError):
    """The backup's login may not read everything; the details list the tables and the grants to give."""

    code = "source_not_readable"
    default_hint = "Give the listed grants, or back up chosen tables with --table."


class TenantMapError(RefusedError):
    """Nothing says whose the rows of a table are."""

    code = "tenant_map_undecided"
    default_hint = "See `tui-backup source map SOURCE`, and decide each table with --set TABLE=…."


class TenantRowError(RefusedError):
    """A row that is not, or not only, the tenant's stands where only the tenant's may be."""

    code = "not_the_tenants_row"
    default_hint = "Find the row in the source and mend it, or name the deciding key with `source map SOURCE --set`."


class TargetNotEmptyError(RefusedError):
    """The restore's target already exists."""

    code = "target_exists"
    default_hint = "Choose another name, or restore with --swap."


class TargetInUseError(RefusedError):
    """Sessions are connected to the target."""

    code = "target_in_use"


class TargetSpaceError(RefusedError):
    """The target or the repository has not enough room."""

    code = "no_space_for_restore"
    default_hint = "Free space or choose another target."


class TargetVersionError(RefusedError):
    """The target server is older than the backup's server."""

    code = "target_version"
    default_hint = "Restore onto the same or a newer major version of PostgreSQL."


class TargetMismatchError(RefusedError):
    """The live table's shape, rights or references do not allow this restore."""

    code = "target_mismatch"
    default_hint = "Restore into a new database or a side schema instead."


class OtherTenantError(RefusedError):
    """The backup is another tenant's, or holds rows that are not the tenant's: it may have been manipulated."""

    code = "other_tenant"
    default_hint = "Nothing was changed. Find out who could write to the repository; restore from another backup."


class RowsInUseError(RefusedError):
    """Rows that stay refer to rows that would be deleted; the details list table, constraint and count."""

    code = "rows_in_use"
    default_hint = "Delete or move the rows that the details list first; `--dry-run` shows them too."


class KeyTakenError(RefusedError):
    """A key of the backup belongs to somebody else's row by now; the details list them."""

    code = "key_taken"
    default_hint = "Look at the backup's rows beside the live ones with --into-schema, and move what is in the way."


class StorePublicError(RefusedError):
    """The repository can be read by others."""

    code = "repository_public"
    default_hint = "Make it private (directory: chmod 700; bucket: block public access)."


class CatalogVersionError(RefusedError):
    """Program and catalog are of different versions."""

    code = "catalog_version"
    default_hint = "Run `tui-backup upgrade` with the newest program, or install the program the catalog needs."


class RepositoryVersionError(RefusedError):
    """The repository, or a manifest in it, was written by a newer program."""

    code = "repository_version"
    default_hint = "Install the newest tui-backup on this machine."


# -- the work failed: exit 1 --------------------------------------------------------------------------------------


class WorkFailedError(TuiBackupError):
    """The work was tried and did not succeed."""

    code = "failed"


class CancelledError(WorkFailedError):
    """A user cancelled the work."""

    code = "cancelled"
    default_hint = "Start it again when you want it."


class FencedError(WorkFailedError):
    """Another agent has taken this run over; this one must write nothing more."""

    code = "fenced"
    default_hint = "Nothing to do: the other run goes on."


class AgentLostError(WorkFailedError):
    """The agent that ran the work is gone."""

    code = "agent_lost"
    retryable = True
    default_hint = "Start an agent (`tui-backup agent start`) and run the job again."


class CatalogUnavailableError(WorkFailedError):
    """The catalog database does not answer."""

    code = "catalog_unavailable"
    retryable = True
    default_hint = "Is the catalog's server up? `tui-backup doctor` tells."


class ConnectionFailedError(WorkFailedError):
    """A source or target server does not answer or ended the connection."""

    code = "connection_failed"
    retryable = True
    default_hint = "Is the server up and reachable? `tui-backup source test NAME` tells."


class LoginFailedError(WorkFailedError):
    """The server refused the login: password, role, database or pg_hba."""

    code = "login_failed"
    default_hint = "Check user, password (.pgpass) and database name; `tui-backup source test NAME` tries them."


class TlsRequiredError(WorkFailedError):
    """TLS is demanded, but cannot be had with these client tools or settings."""

    code = "tls_required"
    default_hint = "Install the distribution's postgresql-client (its tools have TLS) and set sslmode=require."


class ServerTooOldError(WorkFailedError):
    """The server's major version is not supported."""

    code = "server_version"
    default_hint = "PostgreSQL 14 or newer is needed."


class ClientToolsError(WorkFailedError):
    """pg_dump, pg_restore or another client tool is missing, too old, or failed."""

    code = "client_tools"
    default_hint = "Install the client tools of the server's major version or newer."


class LockTimeoutError(WorkFailedError):
    """A table stayed locked by somebody else for longer than the limit."""

    code = "lock_timeout"
    retryable = True
    default_hint = "Run the backup when no DDL is running, or end the session that holds the lock."


class SourceChangedError(WorkFailedError):
    """A table was dropped or altered while it was being read."""

    code = "source_changed"
    retryable = True
    default_hint = "Run the backup again when the schema change is over."


class SqlFailedError(WorkFailedError):
    """The server refused a statement."""

    code = "sql_failed"


class StoreError(WorkFailedError):
    """The repository's store refused or failed."""

    code = "repository_failed"


class StoreUnavailableError(StoreError):
    """The store does not answer, is missing, or was removed in the middle."""

    code = "repository_unavailable"
    retryable = True
    default_hint = "Is the folder mounted, or the endpoint up? `tui-backup repo check` tells."


class StoreDeniedError(StoreError):
    """The store refuses: credentials, rights, read-only."""

    code = "repository_denied"
    default_hint = "Check the folder's owner and mode, or the bucket's credentials and policy."


class StoreFullError(StoreError):
    """No room left in the repository."""

    code = "repository_full"
    default_hint = "Free space in the repository, delete old backups, or add a bigger repository."


class ObjectMissingError(StoreError):
    """An object that must be there is not."""

    code = "object_missing"
    default_hint = "Run `tui-backup verify JOB --files` to see which backups are touched."


class ObjectTooLargeError(StoreError):
    """An object is larger than the repository's limit."""

    code = "object_too_large"
    default_hint = "Raise max_object_bytes of the repository."


class DamagedError(WorkFailedError):
    """Something stored is not what was written: truncated, flipped, swapped or of an unknown format."""

    code = "damaged"
    default_hint = "Run `tui-backup verify JOB --files`, and restore from another backup."


class TargetBusyError(WorkFailedError):
    """The rows that a restore was about to change were changed by others, again and again."""

    code = "target_busy"
    retryable = True
    default_hint = "Nothing was changed. Stop what writes to the tenant's rows, and start the restore again."


class NotIdenticalError(WorkFailedError):
    """The restored copy differs from the backup's content."""

    code = "not_identical"
    default_hint = "Keep the old database. The details name the tables that differ."


class EmbeddedServerError(WorkFailedError):
    """The embedded PostgreSQL cannot be started."""

    code = "embedded_server"
    default_hint = "See the server log named above, or use a server of your own: `tui-backup init --catalog DSN`."
