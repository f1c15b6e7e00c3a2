"""What doctor finds out about the upstreams together."""

from __future__ import annotations

import json

import pytest

from fairlead.cli.checks import Check
from fairlead.cli.checks.fleet import together
from fairlead.settings import Settings, load_settings

URL = "http://gpu:8000/v1"


def settings_of(*tables: dict[str, object], **environ: str) -> Settings:
    given = [{"shape": "openai", "base_url": URL} | table for table in tables]
    return load_settings(None, {"FAIRLEAD_UPSTREAMS": json.dumps(given)} | environ)


def look(*tables: dict[str, object]) -> list[Check]:
    return together(settings_of(*tables).upstreams, {})


def upstream(name: str, state: str = "active", **fields: object) -> dict[str, object]:
    return {"name": name, "state": state} | fields


def test_nothing_is_said_where_nothing_is_wrong() -> None:
    assert look(upstream("a"), upstream("b", models="qwen*")) == []
    assert together(load_settings(None, {}).upstreams, {}) == []


def test_a_draining_upstream_whose_models_another_serves() -> None:
    (check,) = look(
        upstream("a", "draining", models="qwen*"), upstream("b"), upstream("c", models="gpt-*")
    )
    assert (check.name, check.status) == ("upstream a", "warning")
    assert check.detail.endswith("its models go to b")
    assert '"active"' in check.fix


@pytest.mark.parametrize(
    ("other", "unserved"),
    [
        (upstream("b", "draining"), "* (openai API)"),
        (upstream("b", models="qwen*"), "* (openai API)"),
        (upstream("b", shape="anthropic", base_url="http://gpu:8000"), "* (openai API)"),
    ],
)
def test_models_that_only_draining_upstreams_serve(other: dict[str, object], unserved: str) -> None:
    (check,) = look(upstream("a", "draining"), other)
    assert (check.name, check.status) == ("models", "failed")
    assert f"no active upstream serves {unserved}" in check.detail


def test_a_simulated_upstream_speaks_both_apis() -> None:
    both = upstream("sim", "draining", shape="simulated", models="m", base_url="http://gpu:8000")
    assert [check.status for check in look(both, upstream("a"))] == ["failed"]
    second = upstream("b", shape="anthropic", base_url="http://gpu:8000")
    (check,) = look(both, upstream("a"), second)
    assert check.detail.endswith("its models go to a, b")


def test_each_model_that_nobody_serves_is_told_once() -> None:
    models = ["qwen*", "llama-3"]
    found = look(
        upstream("a", "draining", models=models),
        upstream("b", "draining", models="llama-3"),
        upstream("c", models="qwen*"),
    )
    assert [check.status for check in found] == ["failed"]
    assert "llama-3 (openai API)" in found[0].detail


def test_equal_keys() -> None:
    keys = {"KEY_A": "secret-1", "KEY_B": "secret-2", "KEY_C": "secret-1"}
    urls = ["http://gpu-1:8000/v1", "http://gpu-2:8000/v1"]
    settings = settings_of({"name": "a", "base_url": urls, "key_env": [*keys]}, **keys)
    (check,) = together(settings.upstreams, {})
    assert (check.name, check.status) == ("upstream a, key 3", "warning")
    assert "the same as key 1" in check.detail
    assert "secret" not in str(check)


def test_servers_of_one_list_with_different_models() -> None:
    urls = [f"http://gpu-{number}:8000/v1" for number in (1, 2, 3, 4)]
    upstreams = settings_of({"name": "a", "base_url": urls}, upstream("b")).upstreams
    listed = {"a.1": {"x", "y"}, "a.2": {"x"}, "a.3": set[str](), "b": {"z"}}
    (check,) = together(upstreams, listed)
    assert (check.name, check.status) == ("upstream a", "warning")
    assert check.detail.endswith("different models: a.2 lacks y; a.3 lacks x, y")
    assert together(upstreams, {name: {"x"} for name in ("a.1", "a.2", "a.4")}) == []


def test_long_lists_are_cut_short() -> None:
    urls = ["http://gpu-1:8000/v1", "http://gpu-2:8000/v1"]
    upstreams = settings_of({"name": "a", "base_url": urls}).upstreams
    (check,) = together(upstreams, {"a.1": {f"m{n}" for n in range(1000)}, "a.2": {"m0"}})
    assert check.detail.endswith("m1, m10, m100, m101, m102 …")
