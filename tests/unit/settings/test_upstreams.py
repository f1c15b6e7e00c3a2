"""Which upstreams a node has."""

from __future__ import annotations

from fairlead.gateway.simulated.options import SimulatedOptions
from fairlead.settings import SimulatedSettings
from unit.settings.conftest import Load

UPSTREAM = '[[upstreams]]\nname = "a"\nshape = "openai"\nbase_url = "http://gpu:8000/v1/"\n'


def test_without_any_the_node_simulates_one(load: Load) -> None:
    (upstream,) = load().upstreams
    assert (upstream.name, upstream.shape, upstream.is_own) == ("simulated", "simulated", True)
    assert load("upstreams = []\n").upstreams == load().upstreams


def test_provider_variables_make_upstreams(load: Load) -> None:
    openai, anthropic = load(
        None, OPENAI_API_KEY="k1", ANTHROPIC_API_KEY="k2", ANTHROPIC_BASE_URL="http://proxy:1/"
    ).upstreams
    assert (openai.name, openai.base_url) == ("openai", "https://api.openai.com/v1")
    assert openai.reveal_keys() == ("k1",)
    assert (anthropic.name, anthropic.base_url) == ("anthropic", "http://proxy:1")
    assert anthropic.reveal_keys() == ("k2",)
    (alone,) = load(None, OPENAI_BASE_URL="http://gpu:8000/v1", OPENAI_API_KEY="").upstreams
    assert (alone.base_url, alone.keys) == ("http://gpu:8000/v1", ())


def test_configured_upstreams_stand_before_provider_variables(load: Load) -> None:
    (upstream,) = load(UPSTREAM, OPENAI_API_KEY="k").upstreams
    assert (upstream.name, upstream.keys) == ("a", ())
    assert (upstream.base_url, upstream.base_path) == ("http://gpu:8000/v1", "/v1")


def test_a_variable_replaces_all_upstreams_of_the_file(load: Load) -> None:
    given = '[{"name": "b", "shape": "simulated", "models": "x*"}]'
    (upstream,) = load(UPSTREAM, FAIRLEAD_UPSTREAMS=given).upstreams
    assert (upstream.name, upstream.models, upstream.is_own) == ("b", ("x*",), True)


def test_the_network_section_is_the_default(load: Load) -> None:
    network = '[network]\nproxy = "http://proxy:3128"\n'
    local = UPSTREAM.replace('"a"', '"b"').replace("gpu", "localhost")
    direct = UPSTREAM.replace('"a"', '"c"') + 'proxy = ""\n'
    first, second, third = load(network + UPSTREAM + local + direct).upstreams
    assert first.leg_options().proxy == "http://proxy:3128"
    assert second.leg_options().proxy is None
    assert third.leg_options().proxy is None


def test_leg_options_carry_every_limit(load: Load) -> None:
    limits = {
        "max_connections": 3,
        "max_waiting": 4,
        "connect_timeout": 5.5,
        "first_byte_timeout": 6.5,
        "idle_timeout": 7.5,
    }
    toml = UPSTREAM + "\n".join(f"{name} = {value}" for name, value in limits.items())
    options = load(toml).upstreams[0].leg_options()
    assert {name: getattr(options, name) for name in limits} == limits
    assert options.base_url == "http://gpu:8000/v1"
    assert load().upstreams[0].leg_options("http://127.0.0.1:5").base_url == "http://127.0.0.1:5"


def test_simulated_settings_are_the_simulated_upstreams_options() -> None:
    assert SimulatedOptions(**SimulatedSettings().model_dump()) == SimulatedOptions()


def test_persistence_is_off_only_where_nothing_is_cached(load: Load) -> None:
    assert load().cache.persists
    assert not load('[cache]\npolicy = "off"\n').cache.persists
    assert not load('[cache]\npersist = "off"\n').cache.persists
    assert load('[cache]\npolicy = "off"\n[cache.policies]\n"a" = "all"\n').cache.persists
