"""The configuration file and the environment."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tui_backup.config import config_file, load_config, save_catalog
from tui_backup.errors import ConfigError


def environment(tmp_path: Path, text: str | None = None, **more: str) -> dict[str, str]:
    """An environment whose configuration file holds the text."""
    path = tmp_path / "config.toml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    return {"HOME": str(tmp_path), "TUI_BACKUP_CONFIG": str(path), **more}


def test_without_a_file_everything_is_under_the_xdg_folders() -> None:
    config = load_config({"HOME": "/home/me"})
    assert config.file == Path("/home/me/.config/tui-backup/config.toml")
    assert config.state_dir == Path("/home/me/.local/state/tui-backup")
    assert config.data_dir == Path("/home/me/.local/share/tui-backup")
    assert not config.is_set_up
    assert (config.passfile, config.agent_log) == (config.state_dir / "pgpass", config.state_dir / "log/agent.log")
    # the XDG rules: a relative path is to be ignored
    env = {"HOME": "/home/me", "XDG_STATE_HOME": "/s", "XDG_DATA_HOME": "rel", "XDG_CONFIG_HOME": "/c"}
    config = load_config(env)
    assert config.state_dir == Path("/s/tui-backup") and config.file == Path("/c/tui-backup/config.toml")
    assert config.data_dir == Path("/home/me/.local/share/tui-backup")
    assert config_file(env) == config.file


def test_the_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    text = 'state_dir = "s"\n[catalog]\ndsn = "host=h"\n[agent]\nworkers = 3\n[dashboard.keys]\nquit = "ctrl+q"\n'
    env = environment(
        tmp_path, text, TUI_BACKUP_AGENT_WORKERS="5", TUI_BACKUP_DASHBOARD_ASCII="true", TUI_BACKUP_DATA_DIR="/d"
    )
    config = load_config(env)
    settings = config.settings
    assert settings.catalog.dsn == "host=h" and config.is_set_up
    assert (settings.agent.workers, settings.dashboard.ascii) == (5, True)
    assert settings.dashboard.keys == {"quit": "ctrl+q"}
    assert (config.state_dir, config.data_dir) == (tmp_path / "s", Path("/d"))


@pytest.mark.parametrize(
    "text",
    [
        "nonsense = 1",
        "[catalog]\nnonsense = 1",
        "[nonsense]",
        "[agent]\nworkers = 'many'",
        "[agent]\nworkers = '3'",
        "[agent]\nworkers = -1",
        "[agent]\nconcurrency = 0",
        "[agent]\ncompression_level = 20",
        "[agent]\nlock_timeout_seconds = 0",
        "[catalog]\nembedded = true\ndsn = 'host=h'",
        "[catalog]\njwt_algorithm = 'none'",
        "state_dir = 1",
        "not toml",
        "[catalog",
    ],
)
def test_what_cannot_be_is_refused_by_name_of_the_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(environment(tmp_path, text))
    assert str(tmp_path / "config.toml") in caught.value.message and caught.value.exit_status == 2


def test_a_wrong_variable_is_refused_too(tmp_path: Path) -> None:
    for name, value in (("TUI_BACKUP_AGENT_WORKERS", "many"), ("TUI_BACKUP_DASHBOARD_MOUSE", "perhaps")):
        with pytest.raises(ConfigError):
            load_config(environment(tmp_path, **{name: value}))


def test_a_file_that_is_no_text_or_no_file(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(environment(tmp_path))
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config({"HOME": "/", "TUI_BACKUP_CONFIG": str(tmp_path)})


def test_the_catalog_is_written_and_the_rest_stays(tmp_path: Path) -> None:
    text = '# mine\nstate_dir = "s"\n\n[agent]\nworkers = 3 # three\n'
    env = environment(tmp_path, text)
    save_catalog(load_config(env), embedded=False, dsn="host='a b' user=\"q\"\\x", agent_dsn="user=agent")
    written = (tmp_path / "config.toml").read_text()
    assert written.startswith(text.rstrip())
    config = load_config(env)
    assert config.settings.catalog.dsn == "host='a b' user=\"q\"\\x"
    assert config.settings.catalog.agent_dsn == "user=agent" and config.settings.agent.workers == 3
    assert stat.S_IMODE((tmp_path / "config.toml").stat().st_mode) == 0o600
    # the same again is nothing; another one is refused
    save_catalog(config, embedded=False, dsn=config.settings.catalog.dsn, agent_dsn="user=agent")
    assert (tmp_path / "config.toml").read_text() == written
    for other in ({"embedded": True}, {"embedded": False, "dsn": "host=c"}):
        with pytest.raises(ConfigError, match="already"):
            save_catalog(config, **other)  # type: ignore[arg-type]


def test_a_catalog_table_that_is_there_is_completed(tmp_path: Path) -> None:
    env = environment(tmp_path, "[catalog]\ntenant = 'acme'\n[agent]\nworkers = 2\n")
    save_catalog(load_config(env), embedded=True)
    config = load_config(env)
    assert config.settings.catalog.embedded and config.settings.catalog.tenant == "acme"
    assert config.settings.agent.workers == 2


def test_a_new_file_is_made_private(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "TUI_BACKUP_CONFIG": str(tmp_path / "a" / "b.toml")}
    save_catalog(load_config(env), embedded=True)
    assert load_config(env).is_set_up
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    env = {"HOME": str(tmp_path), "TUI_BACKUP_CONFIG": str(tmp_path / "file" / "c.toml")}
    with pytest.raises(ConfigError):
        save_catalog(load_config(env), embedded=True)
