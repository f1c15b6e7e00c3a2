"""What doctor finds out about upstreams, clocks and the port."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from fairlead.cli.checks import Check, findings
from fairlead.cli.checks.network import AT_A_TIME, Examination
from fairlead.errors import UpstreamUnreachableError
from fairlead.gateway.legs import make_leg
from fairlead.gateway.legs.base import LegOptions, LegReply, LegRequest, LegStatistics
from fairlead.settings import Settings, load_settings
from fairlead.testing.clock import ManualClock
from unit.cli.conftest import Upstream

MODELS = json.dumps({"object": "list", "data": [{"id": "qwen-3"}, {"id": "llama-3"}]})
KEYS = {"KEY_A": "first-key", "KEY_B": "second-key"}


def settings_of(upstream: Upstream, **fields: object) -> Settings:
    base = f"http://127.0.0.1:{upstream.port}"
    table = {"name": "gpu", "shape": "openai", "base_url": f"{base}/v1"} | fields
    if table["shape"] != "openai" and "base_url" not in fields:
        table["base_url"] = base
    return load_settings(None, {"FAIRLEAD_UPSTREAMS": json.dumps([table])} | KEYS)


async def look(settings: Settings, clock: ManualClock | None = None) -> list[Check]:
    examination = Examination(make_leg, clock or ManualClock())
    found = await examination.upstream(settings.upstreams[0])
    return [*found, examination.clocks()]


async def test_an_upstream_that_answers(upstream: Upstream) -> None:
    upstream.answer(200, MODELS)
    check, _ = await look(settings_of(upstream, key_env="KEY_A"))
    assert (check.status, check.fix) == ("ok", "")
    assert "2 models" in check.detail
    assert upstream.heads[0].startswith("GET /v1/models HTTP/1.1")
    assert "authorization: Bearer first-key" in upstream.heads[0]


async def test_the_anthropic_shape_is_asked_in_its_own_way(upstream: Upstream) -> None:
    upstream.answer(200, MODELS)
    check, _ = await look(settings_of(upstream, shape="anthropic", key_env="KEY_A"))
    assert check.status == "ok"
    assert upstream.heads[0].startswith("GET /v1/models HTTP/1.1")
    assert "x-api-key: first-key" in upstream.heads[0]
    assert "anthropic-version:" in upstream.heads[0]


async def test_each_key_is_tried_and_none_is_shown(upstream: Upstream) -> None:
    upstream.answer(401, "{}")
    first, second, _ = await look(settings_of(upstream, key_env=["KEY_A", "KEY_B"]))
    assert [first.name, second.name] == ["upstream gpu, key 1", "upstream gpu, key 2"]
    assert first.status == second.status == "failed"
    assert "the key is refused" in second.detail
    assert "KEY_B" in second.fix
    assert not any(key in str((first, second)) for key in KEYS.values())


async def test_a_server_that_is_away_is_one_line_whatever_its_keys(upstream: Upstream) -> None:
    upstream.raw = b""
    settings = settings_of(upstream, key_env=["KEY_A", "KEY_B"], health_path="/health")
    check, _ = await look(settings)
    assert (check.name, check.status) == ("upstream gpu", "failed")
    assert len(upstream.heads) == 1


async def test_servers_of_a_list_are_told_apart(upstream: Upstream) -> None:
    upstream.answer(200, MODELS)
    upstream.answer(403, at="/two/v1/models")
    base = f"http://127.0.0.1:{upstream.port}"
    settings = settings_of(
        upstream, base_url=[f"{base}/one/v1", f"{base}/two/v1"], key_env=["KEY_A", "KEY_B"]
    )
    examination = Examination(make_leg, ManualClock())
    found = [check for one in settings.upstreams for check in await examination.upstream(one)]
    assert [(check.name, check.status) for check in found] == [
        ("upstream gpu.1, key 1", "ok"),
        ("upstream gpu.1, key 2", "ok"),
        ("upstream gpu.2, key 1", "failed"),
        ("upstream gpu.2, key 2", "failed"),
    ]
    assert examination.listed == {"gpu.1": {"qwen-3", "llama-3"}}


@pytest.mark.parametrize(
    ("status", "expected", "hint"),
    [
        (200, "ok", ""),
        (204, "ok", ""),
        (302, "failed", "does not use it"),
        (404, "failed", "not below base_url's path"),
        (401, "failed", "needs no key"),
        (503, "failed", "own log"),
    ],
)
async def test_health(upstream: Upstream, status: int, expected: str, hint: str) -> None:
    upstream.answer(200, MODELS)
    upstream.answer(status, at="/health")
    settings = settings_of(upstream, health_path="/health", key_env="KEY_A")
    _, check, _ = await look(settings)
    assert (check.name, check.status) == ("upstream gpu, health", expected)
    assert f"127.0.0.1:{upstream.port}/health answers {status}" in check.detail
    assert hint in check.fix
    assert "first-key" not in upstream.heads[1]


@pytest.mark.parametrize(
    ("status", "body", "expected", "told"),
    [
        (200, "# HELP x\nvllm:num_requests_running 3\n", "ok", "vLLM"),
        (200, "sglang:num_running_reqs 3\n", "ok", "SGLang"),
        (200, "process_cpu_seconds_total 3\n# vllm:no\n", "warning", "not with metrics of vLLM"),
        (200, "", "warning", "not with metrics of vLLM"),
        (404, "vllm:a 1", "warning", "--enable-metrics"),
    ],
)
async def test_metrics(
    upstream: Upstream, status: int, body: str, expected: str, told: str
) -> None:
    upstream.answer(200, MODELS)
    upstream.answer(status, body, at="/metrics")
    settings = settings_of(upstream, metrics_url="/metrics", key_env="KEY_A")
    _, check, _ = await look(settings)
    assert (check.name, check.status) == ("upstream gpu, metrics", expected)
    assert told in check.detail + check.fix
    assert "first-key" not in upstream.heads[1]


async def test_health_and_metrics_that_cannot_be_asked(upstream: Upstream) -> None:
    upstream.answer(200, MODELS)
    upstream.routes["/health"] = b""
    settings = settings_of(
        upstream, health_path="/health", metrics_url="http://no-such-host.invalid/metrics"
    )
    _, health, metrics, _ = await look(settings)
    assert (health.status, metrics.status) == ("failed", "failed")
    assert "health_path" in health.fix
    assert "check the host of metrics_url" in metrics.fix


async def test_a_key_that_fails_later_is_told_by_itself(upstream: Upstream) -> None:
    upstream.answer(200, MODELS)
    upstream.routes["second-key"] = b""
    first, second, _ = await look(settings_of(upstream, key_env=["KEY_A", "KEY_B"]))
    assert (first.status, second.status) == ("ok", "failed")
    assert second.name == "upstream gpu, key 2"


class Crowd:
    """Legs to servers that are all away; each waits until as many are asked as may be."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.full = asyncio.Event()

    def leg(self, options: LegOptions) -> AwayLeg:
        return AwayLeg(self, options.name)


class AwayLeg:
    def __init__(self, crowd: Crowd, name: str) -> None:
        self.crowd, self.name = crowd, name

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def statistics(self) -> LegStatistics:
        raise NotImplementedError

    async def send(self, request: LegRequest) -> LegReply:
        crowd = self.crowd
        crowd.now += 1
        crowd.most = max(crowd.most, crowd.now)
        if crowd.now == AT_A_TIME:
            crowd.full.set()
        try:
            await crowd.full.wait()
            await asyncio.sleep(0)
            raise UpstreamUnreachableError(self.name)
        finally:
            crowd.now -= 1


async def test_many_servers_are_asked_at_once_and_told_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    urls = [f"http://gpu-{number}:8000/v1" for number in range(20)]
    table = {"name": "gpu", "shape": "openai", "base_url": urls}
    settings = load_settings(None, {"FAIRLEAD_UPSTREAMS": json.dumps([table])}, {"server.port": 0})
    crowd = Crowd()
    monkeypatch.setattr(findings, "make_leg", crowd.leg)
    found = await findings._over_network(settings)
    names = [check.name for check in found if check.name.startswith("upstream")]
    assert names == [f"upstream gpu.{number}" for number in range(1, 21)]
    assert crowd.most == AT_A_TIME


@pytest.mark.parametrize(
    ("status", "body", "fields", "expected", "hint"),
    [
        (401, "", {}, "failed", "key_env"),
        (401, "", {"credentials": "caller"}, "ok", ""),
        (403, "", {"key_env": "KEY_A"}, "failed", "renew it: KEY_A"),
        (404, "", {}, "warning", "base_url"),
        (429, "", {}, "warning", "later"),
        (500, "", {}, "failed", "log"),
        (200, "<html>", {}, "failed", "base_url"),
        (200, '{"data": 3}', {}, "failed", "base_url"),
        (200, MODELS, {"models": "gpt-*"}, "warning", "qwen-3, llama-3"),
    ],
)
async def test_answers_and_what_to_do_about_them(
    upstream: Upstream,
    status: int,
    body: str,
    fields: dict[str, object],
    expected: str,
    hint: str,
) -> None:
    upstream.answer(status, body)
    check, _ = await look(settings_of(upstream, **fields))
    assert check.status == expected
    assert hint in check.fix
    assert bool(check.fix) == (expected != "ok")


async def test_an_upstream_that_is_away(upstream: Upstream) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        settings = settings_of(upstream, base_url=f"http://127.0.0.1:{probe.getsockname()[1]}/v1")
    check, _ = await look(settings)
    assert check.status == "failed"
    assert "check that it runs" in check.fix


async def test_a_name_that_does_not_resolve(upstream: Upstream) -> None:
    check, _ = await look(settings_of(upstream, base_url="http://no-such-host.invalid/v1"))
    assert check.status == "failed"
    assert "does not resolve" in check.fix


async def test_tls_towards_a_server_without_it(upstream: Upstream) -> None:
    upstream.raw, upstream.hasty = b"HTTP/1.1 400 Bad\r\n\r\n", True
    check, _ = await look(settings_of(upstream, base_url=f"https://127.0.0.1:{upstream.port}/v1"))
    assert check.status == "failed"
    assert "does not speak TLS" in check.fix


@pytest.mark.parametrize("raw", [b"", b"\0\0\0garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-"])
async def test_a_server_that_does_not_speak_http(upstream: Upstream, raw: bytes) -> None:
    upstream.raw = raw
    if raw.endswith(b"content-"):
        upstream.raw += b"length: nonsense\r\n\r\n"
    check, _ = await look(settings_of(upstream))
    assert check.status == "failed"
    assert "base_url" in check.fix


async def test_the_nodes_own_upstream_is_not_asked() -> None:
    check, clock = await look(load_settings(None, {}))
    assert check.status == clock.status == "ok"
    assert "simulated" in check.detail


@pytest.mark.parametrize(("seconds", "status"), [(3, "ok"), (60, "warning")])
async def test_a_clock_that_is_off(upstream: Upstream, seconds: int, status: str) -> None:
    upstream.answer(200, MODELS, date="Tue, 14 Nov 2023 22:13:20 GMT")  # 1700000000
    _, clock = await look(settings_of(upstream), ManualClock(1_700_000_000.0 + seconds))
    assert clock.status == status
    if status == "warning":
        assert "60 s ahead of" in clock.detail


async def test_a_date_that_cannot_be_read(upstream: Upstream) -> None:
    upstream.answer(200, MODELS, date="yesterday")
    _, clock = await look(settings_of(upstream))
    assert "not compared" in clock.detail


async def port_check(port: int, host: str = "127.0.0.1") -> Check:
    settings = load_settings(None, {}, {"server.port": port, "server.host": host})
    return await Examination(make_leg, ManualClock()).port(settings)


async def test_the_port(upstream: Upstream) -> None:
    assert (await port_check(0)).status == "ok"
    upstream.answer(200, "hello")
    check = await port_check(upstream.port)
    assert check.status == "failed"
    assert "another program" in check.detail
    upstream.answer(200, '{"status": "ok", "version": "9.9"}')
    check = await port_check(upstream.port)
    assert check.status == "ok"
    assert "Fairlead node 9.9" in check.detail


async def test_an_address_of_another_machine() -> None:
    check = await port_check(8100, "192.0.2.1")
    assert check.status == "failed"
    assert "server.host" in check.fix
