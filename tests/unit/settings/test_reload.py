"""Which changes of the configuration a running node cannot take over."""

from __future__ import annotations

import pytest

from fairlead.settings import changed_beyond_reload
from unit.settings.conftest import Load

UPSTREAM = '[[upstreams]]\nname = "a"\nshape = "openai"\nbase_url = "http://gpu:8000/v1"\n'
OWN = '[[upstreams]]\nname = "own"\nshape = "simulated"\n'


def test_nothing_has_changed(load: Load) -> None:
    assert changed_beyond_reload(load(UPSTREAM), load(UPSTREAM)) == []
    assert changed_beyond_reload(load(), load("[server]\nport = 8100\n")) == []


@pytest.mark.parametrize(
    ("toml", "changed"),
    [
        ("[server]\nport = 1\nregion = 'eu'\n", ["server.port", "server.region"]),
        ("[cache]\nurl = 'redis://cache/0'\n", ["cache.url"]),
        ("[cache.policies]\n'a*' = 'off'\n", ["cache.policies"]),
        ("[queue]\npriority_header = 'off'\n", ["queue.priority_header"]),
        ("[balancer]\nslow_start = 5\n", ["balancer.slow_start"]),
        ("[queue]\nlimit = 5\nmax_waiting = 5\ntimeout = 5\n", []),
        ("[network]\nproxy = 'http://proxy:1'\n", []),
        ("[simulated]\nseed = 3\n", []),
        (OWN, []),
    ],
)
def test_changes_beyond_upstreams_are_named(load: Load, toml: str, changed: list[str]) -> None:
    old, new = load(UPSTREAM), load(toml + UPSTREAM)
    assert changed_beyond_reload(old, new) == changed
    assert changed_beyond_reload(new, old) == changed


def test_what_only_defaults_have_changed_reaches_the_upstreams(load: Load) -> None:
    old = load(UPSTREAM)
    new = load("[queue]\nlimit = 5\n[network]\nproxy = 'http://proxy:1'\n" + UPSTREAM)
    assert old.upstreams != new.upstreams


def test_upstreams_may_change_altogether(load: Load) -> None:
    assert changed_beyond_reload(load(UPSTREAM), load(UPSTREAM + "state = 'draining'\n")) == []
    assert changed_beyond_reload(load(UPSTREAM), load(OWN)) == []


def test_a_simulated_upstream_goes_on_as_it_was_started(load: Load) -> None:
    simulated = "[simulated]\nseed = 3\n"
    assert changed_beyond_reload(load(OWN), load(simulated + OWN)) == ["simulated.seed"]
    other = OWN.replace('"own"', '"other"')
    assert changed_beyond_reload(load(OWN), load(simulated + other)) == []
