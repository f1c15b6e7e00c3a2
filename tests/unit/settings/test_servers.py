"""One table of upstreams as the servers behind it, and what the balancer is told of them."""

from __future__ import annotations

import pickle

import msgspec
import pytest

from fairlead.settings import Settings
from fairlead.traffic.base import BalancerOptions, Server
from unit.settings.conftest import Load, Problems


def table(urls: str, *lines: str, name: str = "gpu", shape: str = "openai") -> str:
    head = f'[[upstreams]]\nname = "{name}"\nshape = "{shape}"\nbase_url = {urls}\n'
    return head + "".join(f"{line}\n" for line in lines)


TWO = '["http://gpu-1:8000/v1/", "http://gpu-2:8000/v1"]'


def names(settings: Settings) -> list[str]:
    return [upstream.name for upstream in settings.upstreams]


def test_a_list_of_urls_is_several_servers(load: Load) -> None:
    settings = load(table(TWO, 'key_env = ["A", "B"]', "limit = 7"), A="a", B="b")
    first, second = settings.upstreams
    assert (first.name, first.base_url) == ("gpu.1", "http://gpu-1:8000/v1")
    assert (second.name, second.base_url) == ("gpu.2", "http://gpu-2:8000/v1")
    for upstream in settings.upstreams:
        assert (upstream.group, upstream.limit) == ("gpu", 7)
        assert upstream.reveal_keys() == ("a", "b")
        assert upstream.leg_options().name == upstream.name
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301 - pickled a moment ago


@pytest.mark.parametrize("urls", ['"http://gpu:1/v1"', '["http://gpu:1/v1"]'])
def test_one_server_keeps_the_name_of_its_table(load: Load, urls: str) -> None:
    (upstream,) = load(table(urls)).upstreams
    assert (upstream.name, upstream.group, upstream.base_url) == ("gpu", "gpu", "http://gpu:1/v1")


def test_the_nodes_own_upstream_is_one_server(load: Load) -> None:
    (upstream,) = load().upstreams
    assert (upstream.name, upstream.group) == ("simulated", "simulated")
    assert upstream.is_own


def test_settings_given_are_described_with_every_server(load: Load) -> None:
    given = {
        item.key: item.value for item in load(table(TWO), FAIRLEAD_QUEUE__LIMIT="9").describe()
    }
    assert given == {"queue.limit": "9", "upstreams": '["gpu.1", "gpu.2"]'}


def test_each_server_is_reached_in_its_own_way(load: Load) -> None:
    urls = '["http://localhost:8000/v1", "http://gpu-2:8000/v1"]'
    network = '[network]\nproxy = "http://proxy:3128"\n'
    local, remote = load(network + table(urls, 'metrics_url = "/metrics"')).upstreams
    assert local.leg_options().proxy is None
    assert remote.leg_options().proxy == "http://proxy:3128"
    for upstream in (local, remote):
        options = upstream.metrics_leg_options()
        assert options is not None
        assert options.base_url == upstream.metrics_url
        assert options.proxy == upstream.leg_options().proxy


@pytest.mark.parametrize(
    ("urls", "told"),
    [
        ("[]", "must name at least one server"),
        ("5", "an http:// or https:// URL, or a list of them"),
        ('""', "must be a URL such as"),
        ('[""]', "server 1 must be a URL such as"),
        ("[1]", "server 1 must be a URL such as"),
        ('["http://a/v1", ["http://b/v1"]]', "server 2 must be a URL such as"),
        ('["http://a/v1", "b:80"]', "server 2 must be a URL such as"),
        ('["http://a/v1", "http://b/v1?x=1"]', "server 2 must not hold a query"),
        ('["http://a/v1", "http://b/v1", "http://A:80/v1/"]', "server 3 is server 1 again"),
        ('["http://a:port/v1"]', "server 1 is not a URL"),
    ],
)
def test_lists_that_are_refused(problems: Problems, urls: str, told: str) -> None:
    (only,) = problems(table(urls))
    assert only.startswith("upstreams[0].base_url")
    assert told in only


def test_a_password_in_a_list_is_not_shown(problems: Problems) -> None:
    (told,) = problems(table('["http://a/v1", "http://me:hidden@b/v1"]'))
    assert "server 2 must not hold a user or a password" in told
    assert "hidden" not in told


def test_rules_for_one_url_hold_for_each(problems: Problems) -> None:
    (told,) = problems(table('["http://a", "http://b/v1"]', shape="anthropic"))
    assert told.startswith('upstreams[0].base_url[1] = "http://b/v1"')
    (told,) = problems(table('["http://a/v1", "http://localhost:8100/v1"]'))
    assert told.startswith("upstreams[0].base_url[1]")
    assert "this node's own address" in told


@pytest.mark.parametrize(
    ("first", "second", "taken"),
    [
        (table(TWO), table('"http://x/v1"', name="gpu.2"), "this name"),
        (table('"http://x/v1"', name="gpu.2"), table(TWO), "the name gpu.2"),
        (table(TWO), table(TWO.replace("gpu", "x")), "this name"),
    ],
)
def test_names_differ_when_lists_are_numbered(
    problems: Problems, first: str, second: str, taken: str
) -> None:
    (told,) = problems(first + second)
    assert told.startswith("upstreams[1].name")
    assert f"upstreams[0] has {taken} already" in told
    assert "NAME.1, NAME.2" in told


def test_a_number_alone_is_no_clash(load: Load) -> None:
    single = table('"http://x/v1"', name="gpu.3")
    assert names(load(table(TWO) + single)) == ["gpu.1", "gpu.2", "gpu.3"]


def test_secrets_are_read_once_for_a_list(problems: Problems) -> None:
    (told,) = problems(table(TWO, 'key_env = "NONE"'))
    assert "NONE is not set" in told


# ---- health and metrics


def test_health_starts_at_the_servers_root(load: Load) -> None:
    first, second = load(table(TWO, 'health_path = "/health"')).upstreams
    assert first.health_url == "http://gpu-1:8000/health"
    assert second.health_url == "http://gpu-2:8000/health"
    assert load(table('"http://a/v1"')).upstreams[0].health_url is None


def test_metrics_of_each_server_or_of_one_elsewhere(load: Load) -> None:
    first, second = load(table(TWO, 'metrics_url = "/metrics"')).upstreams
    assert first.metrics_url == "http://gpu-1:8000/metrics"
    assert second.metrics_url == "http://gpu-2:8000/metrics"
    elsewhere = 'metrics_url = "http://localhost:9100/metrics/"'
    proxied = '[network]\nproxy = "http://proxy:3128"\n' + table('"http://a/v1"', elsewhere)
    (upstream,) = load(proxied).upstreams
    options = upstream.metrics_leg_options()
    assert options is not None
    assert (options.base_url, options.proxy) == ("http://localhost:9100/metrics/", None)
    assert load(table('"http://a/v1"')).upstreams[0].metrics_leg_options() is None


@pytest.mark.parametrize("name", ["health_path", "metrics_url"])
@pytest.mark.parametrize(
    ("value", "told"),
    [
        ('"health"', "such as"),
        ('""', "such as"),
        ('"//evil.example.com/x"', "such as"),
        ('"/a b"', "white space"),
        ('"/a\\r\\nx-injected: 1"', "white space"),
        ('"/é"', "white space"),
        ('"/a?token=1"', "a query"),
        ('"/a#b"', "a fragment"),
        ("5", "such as"),
    ],
)
def test_paths_that_are_refused(problems: Problems, name: str, value: str, told: str) -> None:
    (only,) = problems(table('"http://a/v1"', f"{name} = {value}"))
    assert only.startswith(f"upstreams[0].{name} = ")
    assert told in only


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("ftp://a/metrics", 'a path such as "/metrics"'),
        ("http://", "must be a URL such as"),
        ("http://me:hidden@a/metrics", "a user or a password"),
        ("http://a/metrics?key=hidden", "a query"),
        ("http://a:port/", "is not a URL"),
    ],
)
def test_metrics_urls_that_are_refused(problems: Problems, value: str, told: str) -> None:
    (only,) = problems(table('"http://a/v1"', f'metrics_url = "{value}"'))
    assert told in only
    assert "hidden" not in only


def test_one_metrics_address_for_several_servers_is_refused(problems: Problems) -> None:
    (told,) = problems(table(TWO, 'metrics_url = "http://gpu-1:8000/stats"'))
    assert 'one address for 2 servers: give the path alone ("/stats")' in told


@pytest.mark.parametrize("line", ['health_path = "/health"', 'metrics_url = "/metrics"'])
def test_the_nodes_own_upstream_has_nothing_to_ask(problems: Problems, line: str) -> None:
    (told,) = problems(f'[[upstreams]]\nname = "a"\nshape = "simulated"\n{line}\n')
    assert "has no use here" in told


# ---- what the balancer is told


def test_records_for_the_balancer(load: Load) -> None:
    lines = ('region = "eu"', 'capabilities = ["gpu", "vision"]', 'state = "draining"', "limit = 8")
    urls = '"http://gpu:1/v1"'
    (keyed,) = load(table(urls, *lines, 'key_env = ["A", "B"]'), A="a", B="b").upstreams
    record = keyed.server_record(1)
    assert len(set(record.account_ids)) == 2
    assert not {"a", "b"} & set(record.account_ids), "never the key itself"
    assert msgspec.structs.replace(record, account_ids=()) == Server(
        name="gpu",
        capacity=8,
        accounts=2,
        region="eu",
        capabilities=frozenset({"gpu", "vision"}),
        state="draining",
        rests_softly=True,
    )
    (bare,) = load(table(urls)).upstreams
    assert bare.server_record(1) == Server(name="gpu", capacity=100, rests_softly=True)
    (passing,) = load(table(urls, 'credentials = "caller"')).upstreams
    assert passing.server_record(1).accounts == 1


def test_options_for_the_balancer(load: Load) -> None:
    assert load().balancer_options() == BalancerOptions()
    given = {
        "session_ttl": 60.0,
        "max_sessions": 5,
        "load_factor": 2.0,
        "max_retries": 0,
        "retry_budget": 0.5,
        "ejection_time": 7.0,
        "slow_start": 3.0,
    }
    lines = "".join(f"{name} = {value}\n" for name, value in given.items())
    toml = f'[server]\nregion = "eu"\n[balancer]\n{lines}probe_interval = 20\n'
    assert load(toml).balancer_options() == BalancerOptions(
        region="eu", max_ejection_time=70.0, report_ttl=30.0, **given
    )
