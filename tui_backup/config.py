"""Configuration: one TOML file, typed, unknown keys refused; environment variables override it.

The file is ``$TUI_BACKUP_CONFIG``, else ``$XDG_CONFIG_HOME/tui-backup/config.toml``. Every setting has an environment
variable named after its place: ``TUI_BACKUP_CATALOG_DSN``, ``TUI_BACKUP_AGENT_WORKERS`` and so on. Nothing secret
belongs in the file: passwords come from libpq's own places (``.pgpass``, service file) or from the product's passfile.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tui_backup.errors import ConfigError

APP = "tui-backup"


class CatalogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the catalog is and who we are there."""

    embedded: bool = False
    """Use the PostgreSQL server that tui-backup starts itself."""
    dsn: str = ""
    """libpq connection string of the catalog for people: dashboard and command line."""
    agent_dsn: str = ""
    """libpq connection string of the agent's own login."""
    tenant: str = ""
    """Name or id of the tenant to work in, where the login is a member of several."""
    token_file: str = ""
    """File with a JWT, for a login that is a member of tui_backup_gateway."""
    jwt_secret_file: str = ""
    """File with the HS256 secret that tokens are signed with."""
    jwt_public_key_file: str = ""
    """File with the RS256 or ES256 public key (PEM) that tokens are signed with."""
    jwt_jwks: str = ""
    """In its place: a JSON web key set, as a file or a URL (https, or http to this machine)."""
    jwt_algorithm: str = "HS256"
    """The one accepted signature algorithm."""
    jwt_audience: str = ""
    """Audience that a token must name."""
    jwt_issuer: str = ""
    """Issuer that a token must name, when set."""

    @property
    def takes_tokens(self) -> bool:
        """Whether people come in with a token."""
        return bool(self.token_file or self.jwt_secret_file or self.jwt_public_key_file or self.jwt_jwks)


class AgentConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the agent works."""

    concurrency: int = 2
    """Jobs that run at once (different sources)."""
    workers: int = 0
    """Connections that read or load in one job; 0 = the number of cores, at most 4."""
    max_retries: int = 3
    """How often a job is tried again after a transient error."""
    lock_timeout_seconds: int = 30
    """How long a backup waits for a table that somebody else has locked."""
    compression_level: int = 1
    """zstd level, 1 to 19."""


class DashboardConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the dashboard looks and behaves."""

    ascii: bool = False
    """Plain ASCII instead of symbols; automatic where the locale is not UTF-8."""
    mouse: bool = True
    """Take mouse events from the terminal."""
    read_only: bool = False
    """Leave out every action that changes something."""
    keys: dict[str, str] = {}
    """Other keys: action id = comma-separated keys."""


class ToolsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where PostgreSQL's client tools are."""

    bin_dir: str = ""
    """Folder with pg_dump and pg_restore; found automatically when empty."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    state_dir: str = ""
    """Where logs, the embedded catalog and the passfile are kept; $XDG_STATE_HOME/tui-backup when empty."""
    data_dir: str = ""
    """Where the default repository is made; $XDG_DATA_HOME/tui-backup when empty."""
    catalog: CatalogConfig = CatalogConfig()
    agent: AgentConfig = AgentConfig()
    dashboard: DashboardConfig = DashboardConfig()
    tools: ToolsConfig = ToolsConfig()


class Config(msgspec.Struct, frozen=True):
    """Settings together with the folders they lead to."""

    settings: Settings
    file: Path
    state_dir: Path
    data_dir: Path

    @property
    def is_set_up(self) -> bool:
        """Whether a catalog is configured."""
        return self.settings.catalog.embedded or bool(self.settings.catalog.dsn)

    @property
    def passfile(self) -> Path:
        """The product's own libpq passfile (mode 0600): passwords that came in with a DSN."""
        return self.state_dir / "pgpass"

    @property
    def kept_token(self) -> Path:
        """The token (mode 0600) that `tui-backup login` keeps."""
        return self.state_dir / "token"

    @property
    def log_dir(self) -> Path:
        """Where the agent logs."""
        return self.state_dir / "log"

    @property
    def agent_log(self) -> Path:
        """The agent's log file."""
        return self.log_dir / "agent.log"


def _xdg(env: Mapping[str, str], variable: str, default: str) -> Path:
    value = env.get(variable, "")
    # The XDG rules say that a relative path is to be ignored.
    base = Path(value) if value.startswith("/") else Path(env.get("HOME") or Path.home()) / default
    return base / APP


def config_file(env: Mapping[str, str] | None = None) -> Path:
    """The file that load_config() reads, whether it exists or not."""
    env = os.environ if env is None else env
    if named := env.get("TUI_BACKUP_CONFIG"):
        return Path(named).expanduser().absolute()
    return _xdg(env, "XDG_CONFIG_HOME", ".config") / "config.toml"


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path} is not valid TOML: {exc}") from exc
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}") from exc


def _overrides(env: Mapping[str, str]) -> dict[str, Any]:
    """Settings named by environment variables, as strings (msgspec converts them)."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(Settings):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            for inner in msgspec.structs.fields(field.type):
                value = env.get(f"TUI_BACKUP_{field.name}_{inner.name}".upper())
                if value is not None and inner.type is not dict[str, str]:
                    found.setdefault(field.name, {})[inner.name] = value
        elif (value := env.get(f"TUI_BACKUP_{field.name}".upper())) is not None:
            found[field.name] = value
    return found


def load_config(env: Mapping[str, str] | None = None) -> Config:
    """Read the file and the environment.

    Raises:
        ConfigError: not TOML, an unknown key, a value of the wrong type or out of range.
    """
    env = os.environ if env is None else env
    path = config_file(env)
    tree = _read(path)
    try:
        # The file is checked strictly and by itself; only environment values are strings that may be converted.
        msgspec.convert(tree, Settings)
        for key, value in _overrides(env).items():
            if isinstance(value, dict):
                tree[key] = {**tree.get(key, {}), **value}
            else:
                tree[key] = value
        settings = msgspec.convert(tree, Settings, strict=False)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"{path}: {exc}") from exc
    _check_ranges(settings, path)
    return Config(
        settings=settings,
        file=path,
        state_dir=_folder(settings.state_dir, path) or _xdg(env, "XDG_STATE_HOME", ".local/state"),
        data_dir=_folder(settings.data_dir, path) or _xdg(env, "XDG_DATA_HOME", ".local/share"),
    )


def _folder(value: str, path: Path) -> Path | None:
    """A folder from the file; a relative one counts from the file."""
    return (path.parent / Path(value).expanduser()).absolute() if value else None


def _check_ranges(settings: Settings, path: Path) -> None:
    agent = settings.agent
    limits = (
        ("agent.concurrency", agent.concurrency, 1, 64),
        ("agent.workers", agent.workers, 0, 64),
        ("agent.max_retries", agent.max_retries, 0, 100),
        ("agent.lock_timeout_seconds", agent.lock_timeout_seconds, 1, 86400),
        ("agent.compression_level", agent.compression_level, 1, 19),
    )
    for name, value, low, high in limits:
        if not low <= value <= high:
            raise ConfigError(f"{path}: {name} is {value}, allowed is {low} to {high}")
    if settings.catalog.embedded and settings.catalog.dsn:
        raise ConfigError(f"{path}: catalog.embedded and catalog.dsn exclude each other")
    if settings.catalog.jwt_algorithm not in ("HS256", "RS256", "ES256"):
        raise ConfigError(f"{path}: catalog.jwt_algorithm must be HS256, RS256 or ES256")


def save_catalog(config: Config, *, embedded: bool, dsn: str = "", agent_dsn: str = "") -> None:
    """Write the catalog's place into the configuration file, leaving its other lines as they are.

    Raises:
        ConfigError: the file names another catalog already, or cannot be written.
    """
    tree = _read(config.file)
    wanted: dict[str, Any] = {"embedded": True} if embedded else {"dsn": dsn, "agent_dsn": agent_dsn}
    present = tree.get("catalog", {})
    if all(present.get(key) == value for key, value in wanted.items()):
        return
    if present.get("embedded") or present.get("dsn"):
        raise ConfigError(
            f"{config.file} names a catalog already.", hint="Remove its [catalog] settings first to use another one."
        )
    lines = [f"{key} = {_toml(value)}" for key, value in wanted.items() if value]
    text = config.file.read_text(encoding="utf-8") if config.file.exists() else ""
    if "catalog" in tree:
        text = text.replace("[catalog]", "[catalog]\n" + "\n".join(lines), 1)
    else:
        text = text.rstrip("\n") + ("\n\n" if text.strip() else "") + "[catalog]\n" + "\n".join(lines) + "\n"
    try:
        config.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = config.file.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.chmod(0o600)
        fresh.replace(config.file)
    except OSError as exc:
        raise ConfigError(f"{config.file} cannot be written: {exc.strerror}") from exc


def _toml(value: str | bool) -> str:
    # JSON's string escapes are valid in TOML's basic strings.
    return msgspec.json.encode(value).decode()
