"""Which file is read, and what overrides what."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from fairlead.settings import load_settings
from unit.settings.conftest import Load, Problems


def test_flags_override_variables_which_override_the_file(load: Load) -> None:
    toml = '[server]\nport = 1\nworkers = 1\nhost = "localhost"\n'
    variables = {"FAIRLEAD_SERVER__PORT": "2", "FAIRLEAD_SERVER__WORKERS": "2"}
    settings = load(toml, {"server.port": 3, "server.host": None}, **variables)
    server = settings.server
    assert (server.port, server.workers, server.host) == (3, 2, "localhost")
    origins = {given.key: Path(given.origin).name for given in settings.describe()}
    assert origins["server.port"] == "--port"
    assert origins["server.workers"] == "FAIRLEAD_SERVER__WORKERS"
    assert origins["server.host"] == "given.toml"


def test_the_working_directory_is_searched_before_the_user_directory(home: Path) -> None:
    environ = {"HOME": str(home)}
    user = home / ".config" / "fairlead" / "fairlead.toml"
    user.parent.mkdir(parents=True)
    user.write_text("[server]\nport = 2\n")
    assert load_settings(None, environ).server.port == 2
    Path("fairlead.toml").write_text("[server]\nport = 1\n")
    assert load_settings(None, environ).server.port == 1


def test_xdg_config_home_moves_the_user_directory(home: Path) -> None:
    elsewhere = home / "xdg"
    (elsewhere / "fairlead").mkdir(parents=True)
    (elsewhere / "fairlead" / "fairlead.toml").write_text("[server]\nport = 7\n")
    settings = load_settings(None, {"HOME": str(home), "XDG_CONFIG_HOME": str(elsewhere)})
    assert settings.server.port == 7
    assert settings.file == elsewhere / "fairlead" / "fairlead.toml"


def test_a_named_file_must_exist(home: Path) -> None:
    with pytest.raises(Exception, match=r"--config = .*none\.toml.*no such file"):
        load_settings(home / "none.toml", {})


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("SERVER__PORT", "81", 81),
        ("SERVER__ACCESS_LOG", "no", False),
        ("SERVER__SHUTDOWN_TIMEOUT", "2.5", 2.5),
        ("SERVER__MAX_BODY_BYTES", "3MiB", 3 * 1024 * 1024),
        ("SERVER__HOST", "[::1]", "::1"),
        ("CACHE__POLICY", "all", "all"),
        ("CACHE__POLICIES", '{"qwen*": "off"}', {"qwen*": "off"}),
        ("SIMULATED__MODELS", '["a", "b"]', ("a", "b")),
        ("SIMULATED__MODELS", "a", ("a",)),
        ("SIMULATED__ERROR_STATUS", "429", 429),
        ("SERVER__REGION", "eu", "eu"),
        ("QUEUE__LIMIT", "50", 50),
        ("QUEUE__TIMEOUT", "0.5", 0.5),
        ("QUEUE__PRIORITY_HEADER", "lower", "lower"),
        ("BALANCER__MAX_RETRIES", "0", 0),
        ("BALANCER__LOAD_FACTOR", "1.5", 1.5),
    ],
)
def test_a_variable_is_read_as_its_setting_is_typed(
    load: Load, variable: str, text: str, expected: object
) -> None:
    settings = load(None, **{f"FAIRLEAD_{variable}": text})
    section, _, name = variable.lower().partition("__")
    assert getattr(getattr(settings, section), name) == expected


def test_paths_are_relative_to_what_names_them(load: Load, home: Path) -> None:
    in_file = load('[server]\ndata_dir = "data"\n')
    assert in_file.server.data_dir == home.parent / "data"
    by_flag = load('[server]\ndata_dir = "data"\n', {"server.data_dir": Path("here")})
    assert by_flag.server.data_dir == home.parent / "work" / "here"
    assert load().server.data_dir == home / ".local" / "share" / "fairlead"


def test_settings_survive_pickling(load: Load) -> None:
    settings = load(
        '[cache.policies]\n"a*" = "off"\n',
        OPENAI_API_KEY="sk-something",
        FAIRLEAD_CACHE__URL="redis://:pass@localhost/0",
    )
    copy = pickle.loads(pickle.dumps(settings))  # noqa: S301 - what was pickled a moment ago
    assert copy == settings
    assert copy.upstreams[0].reveal_keys() == ("sk-something",)
    assert copy.cache.url.get_secret_value() == "redis://:pass@localhost/0"


def test_a_syntax_error_names_file_and_line_but_not_the_value(problems: Problems) -> None:
    (told,) = problems('[server]\nport = 1\nkey = "sk-abcdef\n')
    assert "given.toml, line 3" in told
    assert "not valid TOML" in told
    assert "abcdef" not in told


def test_a_file_that_is_no_text(home: Path, problems: Problems) -> None:
    Path("fairlead.toml").write_bytes(b"\xff\xfe")
    (told,) = problems()
    assert "fairlead.toml: is not UTF-8 text" in told


def test_variables_of_kubernetes_are_no_mistake(load: Load, problems: Problems) -> None:
    load(
        None,
        FAIRLEAD_SERVICE_HOST="10.0.0.1",
        FAIRLEAD_SERVICE_PORT="8100",
        FAIRLEAD_SERVICE_PORT_HTTP="8100",
        FAIRLEAD_PORT="tcp://10.0.0.1:8100",
        FAIRLEAD_PORT_8100_TCP_ADDR="10.0.0.1",
    )
    (told,) = problems(None, FAIRLEAD_PORT="8100")
    assert "FAIRLEAD_PORT: unknown variable" in told
