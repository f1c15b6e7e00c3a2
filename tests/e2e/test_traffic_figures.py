"""What `/metrics` and `/api/upstreams` say of queues, servers and retries, beside what was done."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fairlead.monitor.families import FAMILIES
from fairlead.testing.upstream import Caller, RawRequest
from support.fleet import (
    Turnstile,
    all_closed,
    all_sent,
    asking,
    at_once,
    config,
    entry,
    put_state,
    queue,
    scripted,
    session_in,
    upstreams,
    waiting,
)
from support.nodeprocess import NodeProcess
from support.scripted import whole
from support.wire import ask, until

OURS = re.compile("fairlead_(queue|upstream|retries|session)_")


async def test_every_family_is_there_and_adds_up(tmp_path: Path) -> None:
    """Three servers: one answers, one is away, one is drained."""
    turnstile = Turnstile(session_in)
    async with scripted(3) as (busy, away, idle):
        urls = [server.url for server in (busy, away, idle)]
        busy.play(turnstile)
        idle.play(at_once)
        await away.close()
        text = config(
            entry(urls[0], "limit = 2", "adaptive = false", "max_queued = 3", name="busy"),
            entry(urls[1], name="away"),
            entry(urls[2], name="idle"),
        )
        with NodeProcess(tmp_path, text) as node:
            assert (await put_state(node.url, "idle", "draining")).status == 200
            assert (await put_state(node.url, "away", "draining")).status == 200
            first = await all_sent([asking("one"), asking("two")], node.url)
            await until(lambda: len(turnstile.order) == 2, "two run")
            others = await all_sent([asking(f"w-{n}") for n in range(3)], node.url)
            await until(lambda: waiting(node, "busy") == 3, "three wait")
            low = asking("low", b"x-fairlead-priority: low")
            lowest = await all_sent([low], node.url)
            await until(lambda: waiting(node, "busy") == 4, "and one of class low")

            of_busy = 'upstream="busy"'
            assert node.metric("fairlead_queue_limit", of_busy) == 2
            assert node.metric("fairlead_queue_running", of_busy) == 2
            assert node.metric("fairlead_queue_waiting", of_busy, 'class="normal"') == 3
            assert node.metric("fairlead_queue_waiting", of_busy, 'class="low"') == 1
            assert node.metric("fairlead_upstream_in_flight_requests", of_busy) == 6
            assert node.metric("fairlead_upstream_up", of_busy) == 1
            assert node.metric("fairlead_upstream_up", 'upstream="idle"') == 0

            turnstile.let(6)
            for caller in (*first, *others, *lowest):
                assert (await caller.answer()).status == 200
            await all_closed([*first, *others, *lowest])
            assert (await put_state(node.url, "away", "active")).status == 200
            turnstile.let(1000)
            for number in range(20):
                assert (await ask(node.url, asking(f"again-{number}"))).status == 200

            page = node.get("/metrics").decode()
            types = set(re.findall(r"^# TYPE (\S+) ", page, re.MULTILINE))
            # What has not happened yet, by upstream and reason, has no samples.
            assert {name for name in FAMILIES if OURS.match(name)} - types == {
                "fairlead_queue_refused_total",
                "fairlead_upstream_errors_total",
            }
            admitted = node.metric("fairlead_queue_admitted_total", of_busy)
            assert admitted == node.metric("fairlead_upstream_attempts_total", of_busy) == 26
            assert node.metric("fairlead_queue_wait_seconds_count", of_busy) == 4
            assert node.metric("fairlead_queue_wait_seconds_sum", of_busy) > 0
            failures = node.metric("fairlead_upstream_failures_total", 'upstream="away"')
            assert failures == node.metric("fairlead_retries_total") > 0
            assert node.metric("fairlead_retries_denied_total") == 0
            assert node.metric("fairlead_queue_running") == 0
            assert node.metric("fairlead_queue_waiting") == 0
            assert node.metric("fairlead_upstream_in_flight_requests") == 0
            assert node.metric("fairlead_upstream_sessions") == 26

            seen = upstreams(node)
            assert seen["busy"]["served"] == 26
            assert seen["away"]["failed"] == failures
            assert sum(one["sessions"] for one in seen.values()) == 26
            assert sum(queue(node, "busy")["admitted"].values()) == 26
            assert queue(node, "busy")["limit"] == 2
            assert seen["busy"]["base_url"] == urls[0]

            assert (await put_state(node.url, "busy", "draining")).status == 200
            assert (await ask(node.url, asking("s"))).status == 502
            assert node.metric("fairlead_upstream_errors_total", 'upstream="away"') == 1


async def test_refusals_are_counted_by_reason(tmp_path: Path) -> None:
    turnstile = Turnstile(session_in)
    async with scripted(1) as (server,):
        server.play(turnstile)
        text = config(entry(server.url, "limit = 1", "max_queued = 0", "adaptive = false"))
        with NodeProcess(tmp_path, text) as node:
            first = await all_sent([asking("first")], node.url)
            await until(lambda: len(turnstile.order) == 1, "one runs")
            for name in ("normal", "low", "low"):
                field = f"x-fairlead-priority: {name}".encode()
                assert (await ask(node.url, asking("s", field))).status in {429, 503}
            turnstile.let()
            assert (await first[0].answer()).status == 200
            await all_closed(first)
            counted = "fairlead_queue_refused_total", 'upstream="gpu"'
            assert node.metric(*counted, 'class="normal"', 'reason="full"') == 1
            assert node.metric(*counted, 'class="low"', 'reason="shed"') == 2
            assert queue(node, "gpu")["refused"]["low"] == {"shed": 2}


VLLM = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0",model_name="m"}} {running}.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{{engine="0",model_name="m"}} {waiting}.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{{engine="0",model_name="m"}} {usage}
"""


class Vllm:
    """A handler that answers requests at once, and `/metrics` as the test says."""

    def __init__(self, **figures: Any) -> None:
        self.figures: dict[str, Any] = {"running": 0, "waiting": 0, "usage": 0.0} | figures
        self.status = b"200 OK"
        self.asked = 0

    async def __call__(self, caller: Caller, request: RawRequest) -> None:
        """Answer one request."""
        if not request.line.startswith(b"GET /metrics "):
            await at_once(caller, request)
            return
        assert request.header(b"authorization") is None, "no key goes there"
        self.asked += 1
        page = VLLM.format(**self.figures).encode()
        await caller.send(whole(page, self.status, (b"content-type: text/plain; version=0.0.4",)))


async def _sessions(node: NodeProcess, prefix: str, count: int) -> None:
    for number in range(count):
        assert (await ask(node.url, asking(f"{prefix}-{number}"))).status == 200


@pytest.mark.parametrize(
    "figures",
    [{"usage": 1.0}, {"running": 150, "waiting": 40}],
    ids=["a-full-cache", "others-requests"],
)
async def test_new_sessions_go_where_the_servers_own_figures_say(
    tmp_path: Path, figures: dict[str, Any]
) -> None:
    """Full caches, or what others send to the same server; and back when that is over."""
    pages = [Vllm(**figures), Vllm()]
    async with scripted(2) as servers:
        for server, page in zip(servers, pages, strict=True):
            server.play(page)
        lines = ('metrics_url = "/metrics"', 'key_env = ["KEY"]')
        text = config(entry([server.url for server in servers], *lines))
        with NodeProcess(tmp_path, text, KEY="secret") as node:
            await until(_all_reported(node), "both have said how they are")
            await _sessions(node, "first", 15)
            seen = upstreams(node)
            assert (seen["gpu.1"]["sessions"], seen["gpu.2"]["sessions"]) == (0, 15)
            report = seen["gpu.1"]["report"]
            assert report["memory_free"] == 1.0 - pages[0].figures["usage"]
            assert (report["running"], report["waiting"]) == (
                pages[0].figures["running"],
                pages[0].figures["waiting"],
            )
            pages[0].figures = pages[1].figures
            asked = pages[0].asked
            await until(lambda: pages[0].asked >= asked + 2, "it was asked again")
            await _sessions(node, "later", 30)
            assert upstreams(node)["gpu.1"]["sessions"] > 0
            assert {one["probe_error"] for one in upstreams(node).values()} == {""}


def _all_reported(node: NodeProcess) -> Callable[[], bool]:
    return lambda: all(one["report"] is not None for one in upstreams(node).values())


async def test_metrics_that_cannot_be_had_are_shown_and_hurt_nobody(tmp_path: Path) -> None:
    page = Vllm()
    async with scripted(1) as (server,):
        server.play(page)
        text = config(entry(server.url, 'metrics_url = "/metrics"'))
        with NodeProcess(tmp_path, text) as node:
            await until(_all_reported(node), "it has said how it is")
            page.status = b"404 Not Found"
            await until(lambda: "404" in upstreams(node)["gpu"]["probe_error"], "it is told")
            await until(lambda: upstreams(node)["gpu"]["report"] is None, "nobody believes it now")
            await _sessions(node, "s", 3)
            assert upstreams(node)["gpu"]["health"] == "healthy"
            assert upstreams(node)["gpu"]["probe_error"].startswith("metrics: ")
            page.status = b"200 OK"
            await until(lambda: upstreams(node)["gpu"]["probe_error"] == "", "it is well again")
