"""Which upstreams serve a model."""

from __future__ import annotations

import pytest

from fairlead.errors import RequestError
from fairlead.gateway.base import Upstream
from fairlead.gateway.routing import Routes
from support.gateway import ScriptedLeg, make_upstream


def upstream(name: str, shape: str, *models: str) -> Upstream:
    return make_upstream(ScriptedLeg(), name=name, shape=shape, models=models)


GPU_1 = upstream("gpu-1", "openai", "qwen*", "gpt-*")
GPU_2 = upstream("gpu-2", "openai", "qwen-large")
CLAUDE = upstream("claude", "anthropic", "claude-*")
SIM = upstream("sim", "simulated", "sim-*")
ROUTES = Routes([GPU_1, GPU_2, CLAUDE, SIM])


@pytest.mark.parametrize(
    ("family", "model", "expected"),
    [
        ("openai", "qwen-small", (GPU_1,)),
        ("openai", "qwen-large", (GPU_1, GPU_2)),
        ("openai", "gpt-x", (GPU_1,)),
        ("anthropic", "claude-x", (CLAUDE,)),
        ("openai", "sim-1", (SIM,)),
        ("anthropic", "sim-1", (SIM,)),
    ],
)
def test_by_family_and_pattern_in_configured_order(
    family: str, model: str, expected: tuple[Upstream, ...]
) -> None:
    for _ in range(2):
        assert ROUTES.serving(family, model) == expected


@pytest.mark.parametrize("model", ["claude-x", "QWEN-large", "xqwen", "qwen", "nothing"])
def test_an_unknown_model_is_told_the_known_ones(model: str) -> None:
    if model == "qwen":
        assert ROUTES.serving("openai", model)
        return
    with pytest.raises(RequestError) as caught:
        ROUTES.serving("openai", model)

    error = caught.value
    assert (error.status, error.param, error.code) == (404, "model", "model_not_found")
    assert f"{model!r}" in str(error)
    assert "qwen*, gpt-*, qwen-large, sim-*" in str(error)
    assert "claude-*" not in str(error)


def test_a_long_unknown_name_is_shortened() -> None:
    with pytest.raises(RequestError) as caught:
        ROUTES.serving("openai", "x" * 1_000_000)

    assert len(str(caught.value)) < 400


def test_a_family_that_nobody_speaks_says_what_to_do() -> None:
    routes = Routes([GPU_1])

    assert routes.speaking("openai") == (GPU_1,)
    with pytest.raises(RequestError, match="configure one") as caught:
        routes.speaking("anthropic")
    assert caught.value.status == 404
    with pytest.raises(RequestError, match="configure one"):
        routes.serving("anthropic", "m")


def test_what_is_remembered_of_names_that_callers_choose_is_bounded() -> None:
    routes = Routes([upstream("any", "openai", "*")])
    for number in range(3000):
        routes.serving("openai", f"{number}" * 5000)

    held = sum(len(model) for (_, model), _ in routes._known.items())
    assert len(routes._known) <= 1024
    assert held < 4 * 1024 * 1024


def test_a_pattern_that_changes_case_or_holds_brackets_is_taken_literally_by_fnmatch() -> None:
    routes = Routes([upstream("odd", "openai", "m[12]", "exact")])

    assert routes.serving("openai", "m1")
    assert routes.serving("openai", "exact")
    with pytest.raises(RequestError):
        routes.serving("openai", "Exact")
