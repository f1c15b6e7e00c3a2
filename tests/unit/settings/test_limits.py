"""How many requests an upstream gets at a time: defaults, bounds, and what contradicts."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fairlead.settings import InvalidConfigurationError, UpstreamSettings, load_settings
from fairlead.traffic.admission import QueueOptions
from unit.settings.conftest import Load, Problems

LOCAL = '[[upstreams]]\nname = "a"\nshape = "openai"\nbase_url = "http://gpu:8000/v1"\n'
PUBLIC = LOCAL.replace("http://gpu:8000", "https://api.example.com")


def one(load: Load, toml: str | None = None, **environ: str) -> UpstreamSettings:
    (upstream,) = load(toml, **environ).upstreams
    return upstream


def limits(upstream: UpstreamSettings) -> tuple[int, int, int]:
    return upstream.min_limit, upstream.limit, upstream.max_limit


def test_the_queue_section_is_the_default(load: Load) -> None:
    queue = "[queue]\nlimit = 60\nmax_waiting = 7\ntimeout = 2.5\n"
    assert one(load, queue + LOCAL).admission_options(1) == QueueOptions(
        limit=60, min_limit=4, max_limit=120, adaptive=True, max_waiting=7, timeout=2.5
    )
    own = "limit = 50\nmin_limit = 8\nmax_limit = 90\nmax_queued = 0\nqueue_timeout = 9\n"
    assert one(load, queue + LOCAL + own).admission_options(1) == QueueOptions(
        limit=50, min_limit=8, max_limit=90, adaptive=True, max_waiting=0, timeout=9.0
    )


def test_without_anything_said(load: Load) -> None:
    assert one(load).admission_options(1) == QueueOptions(adaptive=True, max_limit=200)
    assert one(load, PUBLIC).admission_options(1) == QueueOptions(max_limit=200)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("max_connections = 10", (4, 10, 10)),
        ("max_connections = 1", (1, 1, 1)),
        ("max_limit = 40", (4, 40, 40)),
        ("min_limit = 150", (150, 150, 200)),
        ("limit = 2", (2, 2, 4)),
        ("limit = 150", (4, 150, 200)),
        ("limit = 5000\nmax_connections = 6000", (4, 5000, 6000)),
    ],
)
def test_a_default_gives_way_to_what_the_table_says(
    load: Load, table: str, expected: tuple[int, int, int]
) -> None:
    assert limits(one(load, LOCAL + table)) == expected
    # ... even where the default itself was given.
    assert limits(one(load, LOCAL + table, FAIRLEAD_QUEUE__LIMIT="100")) == expected


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        ("limit = 201", "limit = 201", "max_connections (200)"),
        ("limit = 30\nmax_connections = 20", "limit = 30", "max_connections (20)"),
        ("limit = 30\nmax_limit = 20", "limit = 30", "max_limit (20)"),
        ("limit = 30\nmin_limit = 31", "min_limit = 31", "limit (30)"),
        ("min_limit = 31\nmax_limit = 30", "min_limit = 31", "max_limit (30)"),
        ("max_limit = 300", "max_limit = 300", "max_connections (200)"),
        ("min_limit = 300", "min_limit = 300", "max_connections (200)"),
    ],
)
def test_limits_that_contradict_are_refused(
    problems: Problems, table: str, low: str, high: str
) -> None:
    (told,) = problems(LOCAL + table)
    assert f"upstreams[0].{low}" in told
    assert f"must be at most upstreams[0].{high}" in told
    assert "raise" in told


def test_a_limit_for_all_that_the_connections_do_not_allow(problems: Problems, load: Load) -> None:
    queue = "[queue]\nlimit = 500\n"
    (told,) = problems(queue + LOCAL)
    assert told.startswith("queue.limit = 500 (")
    assert "upstreams[0].max_connections is 200" in told
    assert limits(one(load, queue + LOCAL + "max_connections = 600")) == (4, 500, 600)
    assert limits(one(load, queue + LOCAL + "max_connections = 50")) == (4, 50, 50)
    assert limits(one(load, queue + LOCAL + "limit = 50")) == (4, 50, 100)


@pytest.mark.parametrize(
    ("toml", "adaptive"),
    [
        (LOCAL, True),
        (PUBLIC, False),
        (LOCAL + "adaptive = false", False),
        (PUBLIC + "adaptive = true", True),
        ('[[upstreams]]\nname = "a"\nshape = "simulated"\n', True),
    ],
)
def test_the_limit_adapts_for_servers_of_ones_own(load: Load, toml: str, adaptive: bool) -> None:
    assert one(load, toml).admission_options(1).adaptive is adaptive


def test_each_server_of_a_list_is_judged_by_its_own_address(load: Load) -> None:
    toml = LOCAL.replace('"http://gpu:8000/v1"', '["http://gpu:1/v1", "https://x.example.com/v1"]')
    first, second = load(toml + "min_limit = 5").upstreams
    assert (first.adaptive, second.adaptive) == (True, False)


@pytest.mark.parametrize("name", ["min_limit", "max_limit"])
def test_bounds_of_a_limit_that_does_not_adapt_are_refused(problems: Problems, name: str) -> None:
    (told,) = problems(PUBLIC + f"{name} = 100")
    assert f"upstreams[0].{name} = 100" in told
    assert "unless adaptive = true" in told
    (told,) = problems(LOCAL + f"adaptive = false\n{name} = 100")
    assert "would never be used: adaptive = false" in told


def test_workers_share_limits_and_places(load: Load) -> None:
    upstream = one(load, LOCAL + "limit = 10\nmax_limit = 21\nmin_limit = 3\nmax_queued = 5\n")
    options = upstream.admission_options(4)
    assert (options.min_limit, options.limit, options.max_limit) == (1, 3, 6)
    assert options.max_waiting == 2
    assert upstream.server_record(4).capacity == 3
    few = one(load, LOCAL + "limit = 1\nmax_queued = 0\n").admission_options(64)
    assert (few.limit, few.max_waiting) == (1, 0)


NUMBER = st.one_of(st.none(), st.integers(1, 400))
FIELDS = st.fixed_dictionaries(
    dict.fromkeys(("limit", "min_limit", "max_limit", "max_connections"), NUMBER)
)


@given(FIELDS, NUMBER, st.integers(1, 64))
def test_whatever_is_accepted_works(
    fields: dict[str, int | None], default: int | None, workers: int
) -> None:
    given = {name: value for name, value in fields.items() if value is not None}
    table = {"name": "a", "shape": "openai", "base_url": "http://gpu/v1"} | given
    environ = {"FAIRLEAD_UPSTREAMS": json.dumps([table])}
    if default is not None:
        environ["FAIRLEAD_QUEUE__LIMIT"] = str(default)
    try:
        (upstream,) = load_settings(None, environ).upstreams
    except InvalidConfigurationError:
        assume(False)
    assert {name: getattr(upstream, name) for name in given} == given
    low, limit, high = limits(upstream)
    assert 1 <= low <= limit <= high <= upstream.max_connections
    upstream.admission_options(workers)  # refuses what cannot work
