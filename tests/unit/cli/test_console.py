"""The banner of a node, and how errors are told."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from fairlead.cli.console import banner, example, print_error, upstream_lines
from fairlead.errors import ConfigurationError, StorageError
from fairlead.settings import InvalidConfigurationError, Settings, load_settings

URL = "http://127.0.0.1:8100"


def settings_of(tmp_path: Path, *upstreams: dict[str, object], **environ: str) -> Settings:
    variables = {"FAIRLEAD_SERVER__DATA_DIR": str(tmp_path)} | environ
    if upstreams:
        variables["FAIRLEAD_UPSTREAMS"] = json.dumps(upstreams)
    return load_settings(None, variables)


def openai(**fields: object) -> dict[str, object]:
    return {"name": "gpu", "shape": "openai", "base_url": "http://gpu:8000/v1"} | fields


def test_the_banner_says_where_what_and_how(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, openai(key_env=["A", "B"]), A="key-one", B="key-two")
    text = "\n".join(banner(settings, URL, upstream_lines(settings)))
    for part in (URL, "gpu: openai at http://gpu:8000/v1; models *; 2 keys", str(tmp_path), "curl"):
        assert part in text
    assert "key-one" not in text
    assert "WARNING" not in text


def test_a_simulated_upstream_is_said_plainly(tmp_path: Path) -> None:
    (line,) = upstream_lines(settings_of(tmp_path))
    assert "SIMULATED" in line
    assert "made up" in line


def test_an_open_node_warns(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path, FAIRLEAD_SERVER__HOST="0.0.0.0", FAIRLEAD_SERVER__INSECURE="true"
    )
    lines = banner(settings, "http://0.0.0.0:8100", upstream_lines(settings))
    assert any("no authentication" in line for line in lines)
    assert lines[-1].startswith("curl http://127.0.0.1:8100/")


def test_callers_keys_are_named_as_such(tmp_path: Path) -> None:
    (line,) = upstream_lines(settings_of(tmp_path, openai(credentials="caller")))
    assert line.endswith("the caller's keys")


@pytest.mark.parametrize(
    ("fields", "path", "model"),
    [
        ({}, "/v1/chat/completions", "gpt-4o-mini"),
        ({"models": ["qwen*", "llama-3"]}, "/v1/chat/completions", "llama-3"),
        ({"shape": "simulated", "base_url": "http://gpu"}, "/v1/chat/completions", "simulated"),
        ({"shape": "anthropic", "base_url": "http://gpu"}, "/v1/messages", "claude-haiku-4-5"),
    ],
)
def test_the_example_asks_for_a_model_that_is_served(
    tmp_path: Path, fields: dict[str, object], path: str, model: str
) -> None:
    words = shlex.split(example(settings_of(tmp_path, openai(**fields)), URL))
    assert words[:2] == ["curl", URL + path]
    assert json.loads(words[-1])["model"] == model
    assert ("anthropic-version: 2023-06-01" in words) == (path == "/v1/messages")


def test_the_example_prefers_chat(tmp_path: Path) -> None:
    claude = openai(name="claude", shape="anthropic", base_url="http://claude")
    assert "/v1/chat/completions" in example(settings_of(tmp_path, claude, openai()), URL)


@pytest.mark.parametrize("fields", [{"models": ["qwen*"]}, {"credentials": "caller"}])
def test_without_a_known_model_the_example_lists_them(
    tmp_path: Path, fields: dict[str, object]
) -> None:
    assert example(settings_of(tmp_path, openai(**fields)), URL) == f"curl {URL}/v1/models"


def test_an_ipv6_address_works_as_printed(tmp_path: Path) -> None:
    words = shlex.split(example(settings_of(tmp_path), "http://[::]:8100"))
    assert words[1] == "http://[::1]:8100/v1/chat/completions"


def test_every_problem_gets_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        load_settings(None, {"FAIRLEAD_SERVER__PORT": "x", "FAIRLEAD_CACHE__TTL": "y"})
    print_error(caught.value)
    told = capsys.readouterr()
    assert told.out == ""
    assert "(2 problems)" in told.err
    assert '  server.port = "x" (FAIRLEAD_SERVER__PORT)\n      must be a whole' in told.err


def test_other_errors_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(StorageError("disk [full] at /x"))
    assert capsys.readouterr().err == "fairlead: disk [full] at /x\n"
    print_error(ConfigurationError("server.port", 8100, "is in use"))
    assert "server.port = 8100\n      is in use\n" in capsys.readouterr().err
