"""What is refused, and in which words."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import ConfigurationError
from fairlead.settings import InvalidConfigurationError, SettingError, load_settings
from fairlead.settings.values import size_text
from unit.settings.conftest import Load, Problems

UPSTREAM = '[[upstreams]]\nname = "a"\nshape = "openai"\nbase_url = "http://gpu:8000/v1"\n'


def test_all_problems_are_told_at_once(problems: Problems) -> None:
    told = problems(
        '[server]\nport = "81"\n[cache]\npolcy = "all"\n[cach]\nx = 1\n',
        FAIRLEAD_SERVER__WORKERS="0",
        FAIRLEAD_SERVR__PORT="1",
    )
    assert len(told) == 5
    text = "\n".join(told)
    assert 'server.port = "81"' in text
    assert "must be a whole number from 0 to 65535" in text
    assert "cache.polcy" in text
    assert "did you mean cache.policy?" in text
    assert "allowed: policy, policies, scope" in text
    assert "did you mean cache?" in text
    assert 'server.workers = "0" (FAIRLEAD_SERVER__WORKERS): must be a whole number' in text
    assert "did you mean FAIRLEAD_SERVER__PORT?" in text


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("[server]\nport = 70000", "from 0 to 65535"),
        ("[server]\nport = true", "server.port = true"),
        ("[server]\naccess_log = 1", "must be true or false"),
        ("[server]\nworkers = 1.5", "a whole number from 1 to 64"),
        ("[server]\nheader_timeout = 0", "seconds, above 0"),
        ("[server]\nheader_timeout = nan", "seconds, above 0"),
        ("[server]\nheader_timeout = inf", "seconds, above 0"),
        ('[server]\nmax_body_bytes = "many"', 'a size such as "32MiB"'),
        ("[server]\nmax_body_bytes = 0", 'a size such as "32MiB"'),
        ('[server]\nhost = "http://x"', "without a scheme or a port"),
        ('[server]\nhost = "0.0.0.0:80"', "without a scheme or a port"),
        ("server = 3", "server = 3"),
        ('[cache]\npolicy = "some"', '"deterministic", "all" or "off"'),
        ('[cache.policies]\n"qwen*" = "x"', 'cache.policies."qwen*" = "x"'),
        ('[cache.policies]\n"" = "all"', "a model pattern has"),
        ('[cache]\nurl = "memcached://x"', 'must be "sqlite", "redis://'),
        ('[storage]\nurl = "mysql://db/x"', 'must be "sqlite" or "postgresql://'),
        ('[storage]\nurl = "postgresql://db"', 'must be "sqlite" or "postgresql://'),
        ('[storage]\nurl = "sqlite"\nurl_file = "x"', "contradicts storage.url"),
        ('[capture]\nmode = "some"', '"full", "metadata" or "off"'),
        ('[capture]\nmask = ["a", "("]', "pattern 2 is no regular expression"),
        ('[capture]\nmask = ["a*"]', "pattern 1 matches the empty text"),
        ("[capture]\nmask = [3]", "capture.mask"),
        ("[retention]\nmax_age = 0", "retention.max_age"),
        ('[retention]\nmax_bytes_per_tenant = "many"', "must be a size such as"),
        ("[upstreams]\nname = 1", "[[upstreams]] in double brackets"),
        ("[[upstreams]]", "upstreams[0].name"),
        ('[[upstreams]]\nname = "a"\nshape = "openai"', "upstreams[0].base_url"),
        ('[[upstreams]]\nname = "A B"\nshape = "openai"', "lower-case letters"),
        (UPSTREAM + UPSTREAM, "upstreams[0] has this name already"),
        (UPSTREAM + "models = []", "at least one model"),
        (UPSTREAM + "models = [1]", "upstreams[0].models[0] = 1"),
        (UPSTREAM + "models = 1", "a list of patterns"),
        (UPSTREAM + 'key_file = "/none/such"', "cannot be read: No such file"),
        (UPSTREAM + 'ca_bundle = "/none/such"', "cannot be read: No such file"),
        (UPSTREAM + 'proxy = "socks5://x"', "proxy.example.com"),
        (UPSTREAM + 'credentials = "caller"\nkey_env = "X"', "would never be used"),
        (UPSTREAM.replace("http:", "ftp:"), "must be a URL such as"),
        (UPSTREAM.replace("/v1", "/v1?key=1"), "must not hold a query"),
        (UPSTREAM.replace("gpu:8000", "gpu:port"), "is not a URL"),
        (UPSTREAM.replace("openai", "anthropic"), "must not end in /v1"),
        (UPSTREAM.replace("gpu:8000", "localhost:8100"), "this node's own address"),
        ('[[upstreams]]\nname = "a"\nshape = "simulated"\nkey_env = "X"', "has no use here"),
        ('[simulated]\nscript = "none.json"', "there is no such file"),
        ("[simulated]\nerror_status = 404", "500, 503, 529 or 429"),
        ('[simulated]\nmodels = [""]', "a list of names"),
        ("[server]\nmax_buffered_bytes = 5", "at least server.max_body_bytes"),
        ("[server]\ninsecure = true", "decided at each start"),
        ("port = 8100", "did you mean server.port?"),
        ('[server]\nregion = ""', "1 to 64 characters"),
        ("[queue]\nlimit = 0", "from 1 to 100000"),
        ("[queue]\nlimit = 2.5", "a whole number from 1 to 100000"),
        ("[queue]\nmax_waiting = -1", "from 0 to 1000000"),
        ("[queue]\ntimeout = 0", "from 0.001 to 86400"),
        ('[queue]\npriority_header = "all"', '"any", "lower" or "off"'),
        ("[queue]\nmax_queued = 5", "unknown key"),
        ("[balancer]\nload_factor = 0.9", "from 1 to 10"),
        ("[balancer]\nload_factor = nan", "from 1 to 10"),
        ("[balancer]\nmax_retries = 6", "from 0 to 5"),
        ("[balancer]\nretry_budget = 10", "from 0 to 1"),
        ("[balancer]\nmax_sessions = 0", "from 1 to 10000000"),
        ("[balancer]\nprobe_interval = 0", "seconds, above 0"),
        ("[balancer]\nslow_start = inf", "seconds, above 0"),
        (UPSTREAM + 'state = "off"', '"active" or "draining"'),
        (UPSTREAM + 'adaptive = "yes"', "must be true or false"),
        (UPSTREAM + 'capabilities = ["gpu, big"]', "upstreams[0].capabilities[0]"),
        (UPSTREAM + 'capabilities = [""]', "a list of words"),
        (UPSTREAM + "limit = 0", "from 1 to 100000"),
        (UPSTREAM + "max_queued = -1", "from 0 to 1000000"),
        (UPSTREAM + "queue_timeout = 0", "from 0.001 to 86400"),
    ],
)
def test_wrong_values_are_refused_with_what_is_allowed(
    problems: Problems, toml: str, expected: str
) -> None:
    assert expected in "\n".join(problems(toml))


@given(st.recursive(st.none() | st.text() | st.integers() | st.booleans(), st.lists))
def test_no_value_breaks_the_reading_of_upstreams(value: object) -> None:
    keys = ("base_url", "health_path", "metrics_url", "limit", "adaptive", "state")
    for key in keys:
        table = {"name": "a", "shape": "openai", "base_url": "http://gpu/v1"} | {key: value}
        with contextlib.suppress(InvalidConfigurationError):  # refused or taken, but never a crash
            load_settings(None, {"FAIRLEAD_UPSTREAMS": json.dumps([table])})


def test_an_error_in_an_upstream_tells_its_source(problems: Problems) -> None:
    (told,) = problems(None, OPENAI_BASE_URL="gpu:8000")
    assert told.startswith('upstreams[0].base_url = "gpu:8000" (OPENAI_BASE_URL): must be a URL')


def test_upstreams_from_a_variable_must_be_json(problems: Problems) -> None:
    (told,) = problems(None, FAIRLEAD_UPSTREAMS='[{"name": "sk-secret')
    assert told.startswith("FAIRLEAD_UPSTREAMS: must be a JSON array")
    assert "sk-secret" not in told


def test_one_error_for_callers_that_know_no_more() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(None, {"FAIRLEAD_SERVER__PORT": "x"})
    assert isinstance(caught.value, InvalidConfigurationError)
    assert (caught.value.key, caught.value.value) == ("server.port", '"x"')


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_authentication(load: Load, host: str) -> None:
    load(None, {"server.host": host}).check_exposure()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "node.example.com", "1.2.3.4"])
def test_any_other_address_is_refused_unless_insecure(load: Load, host: str) -> None:
    settings = load(None, {"server.host": host})
    with pytest.raises(SettingError, match=r"without authentication.*--insecure"):
        settings.check_exposure()
    load(None, {"server.host": host, "server.insecure": True}).check_exposure()
    load(None, {"server.host": host}, FAIRLEAD_SERVER__INSECURE="true").check_exposure()


@given(st.integers(1, 1 << 40))
def test_sizes_in_words_are_read_back(size: int) -> None:
    settings = load_settings(None, {"FAIRLEAD_CACHE__PERSIST_MAX_BYTES": size_text(size)})
    assert settings.cache.persist_max_bytes == size


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=40))
def test_no_text_breaks_the_reading_of_variables(text: str) -> None:
    names = ["SERVER__HOST", "SERVER__PORT", "SERVER__MAX_BODY_BYTES", "CACHE__URL", "UPSTREAMS"]
    names += ["SERVER__REGION", "QUEUE__LIMIT", "QUEUE__PRIORITY_HEADER", "BALANCER__SLOW_START"]
    environ = {f"FAIRLEAD_{name}": text for name in names} | {"OPENAI_BASE_URL": text}
    with contextlib.suppress(InvalidConfigurationError):  # refused or taken, but never a crash
        load_settings(None, environ)
