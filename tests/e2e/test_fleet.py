"""Several servers behind a node: one dies, one is drained, the configuration changes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fairlead.testing.upstream import Caller, RawRequest
from support.nodeprocess import NodeProcess
from support.recordings import CHAT_EVENTS
from support.scripted import GatedStream, ScriptedUpstream, whole
from support.upstreamprocess import UpstreamProcess
from support.wire import Answer, Client, ask, client, post, until

APIS = (
    ("/v1/chat/completions", b"[DONE]", b'data: {"error":'),
    ("/v1/messages", b"message_stop", b"event: error"),
)


def config(urls: Sequence[str], extra: str = "", top: str = "") -> str:
    """One entry with these servers."""
    return f"""
[server]
shutdown_timeout = 2

[balancer]
ejection_time = 1
slow_start = 2
probe_interval = 0.2
{top}
[[upstreams]]
name = "gpu"
shape = "simulated"
base_url = {json.dumps(list(urls))}
{extra}
"""


def upstreams(node: NodeProcess) -> dict[str, dict[str, Any]]:
    """What `/api/upstreams` says, by name; blocks."""
    return {one["name"]: one for one in json.loads(node.get("/api/upstreams"))["upstreams"]}


def chat(session: str, *fields: bytes, path: str = "/v1/chat/completions") -> bytes:
    body = {"model": "simulated", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    if path == "/v1/messages":
        body["max_tokens"] = 1000
    return post(path, json.dumps(body).encode(), b"x-session-id: " + session.encode(), *fields)


async def put(url: str, name: str, state: str) -> Answer:
    body = json.dumps({"state": state}).encode()
    return await ask(
        url, post(f"/api/upstreams/{name}", body, b"content-type: application/json", method="PUT")
    )


@asynccontextmanager
async def fleet(count: int, *arguments: str) -> AsyncIterator[list[UpstreamProcess]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(UpstreamProcess(*arguments)) for _ in range(count)]


@asynccontextmanager
async def scripted(count: int) -> AsyncIterator[list[ScriptedUpstream]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(ScriptedUpstream()) for _ in range(count)]


async def test_a_server_killed_under_two_hundred_streams(tmp_path: Path) -> None:
    """Who has no byte yet is answered by another server, the others are told; then it is back."""
    slow = ("--ttft", "2", "--tokens-per-second", "40", "--answer-tokens", "60")
    async with fleet(4, *slow) as servers:
        text = config([server.url for server in servers], 'limit = 150\nhealth_path = "/health"')
        with NodeProcess(tmp_path, text) as node:
            begun = [await Client.connect(node.url) for _ in range(100)]
            for number, caller in enumerate(begun):
                await caller.send(chat(f"begun-{number}", path=APIS[number % 2][0]))
            for caller in begun:
                assert await caller.head() == 200
                await caller.take(1)
            fresh = [await Client.connect(node.url) for _ in range(100)]
            for number, caller in enumerate(fresh):
                await caller.send(chat(f"fresh-{number}", path=APIS[number % 2][0]))
            await until(
                lambda: sum(u["in_flight"] for u in upstreams(node).values()) == 200, "all are sent"
            )
            victim = servers[1]
            await victim.kill()

            outcomes: Counter[str] = Counter()
            for number, caller in enumerate(begun):
                outcomes[_ended(await caller.body(), *APIS[number % 2][1:])] += 1
            assert outcomes["whole"] + outcomes["told"] == 100
            assert outcomes["told"] > 0
            for number, caller in enumerate(fresh):
                answer = await caller.answer()
                assert answer.status == 200
                assert _ended(answer.body, *APIS[number % 2][1:]) == "whole"
            for caller in (*begun, *fresh):
                await caller.close()

            seen = upstreams(node)
            assert seen["gpu.2"]["health"] != "healthy"
            assert seen["gpu.2"]["failed"] >= outcomes["told"]
            assert "refused" in seen["gpu.2"]["probe_error"]
            assert {one["in_flight"] for one in seen.values()} == {0}
            assert node.metric("fairlead_retries_total") > 0
            await _moves_and_comes_back(node, victim)


def _ended(body: bytes, end: bytes, error: bytes) -> str:
    if end in body:
        return "whole"
    assert error in body[body.rindex(b"\n\n", 0, -2) :], "its last event is the error"
    return "told"


async def _moves_and_comes_back(node: NodeProcess, victim: UpstreamProcess) -> None:
    """A session of the dead server is served elsewhere; restarted, the server is used again."""
    served = upstreams(node)["gpu.2"]["served"]
    for number in range(10):
        assert (await ask(node.url, _count_tokens(number))).status == 200
    assert upstreams(node)["gpu.2"]["served"] == served
    await victim.start()
    numbers = iter(range(10, 10_000))

    def used_again() -> bool:
        return bool(upstreams(node)["gpu.2"]["served"] > served)

    async with asyncio.timeout(10):
        while not used_again():
            assert (await ask(node.url, _count_tokens(next(numbers)))).status == 200
    await until(lambda: upstreams(node)["gpu.2"]["health"] == "healthy", "slow start is over")


def _count_tokens(number: int) -> bytes:
    messages = [{"role": "user", "content": f"number {number}"}]
    body = json.dumps({"model": "simulated", "messages": messages}).encode()
    return post("/v1/messages/count_tokens", body, b"x-session-id: s%d" % number)


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_drained_server_takes_nothing_new_and_finishes_what_it_has(
    tmp_path: Path, workers: int
) -> None:
    async with scripted(2) as servers:
        streams = [GatedStream(CHAT_EVENTS) for _ in servers]
        for server, stream in zip(servers, streams, strict=True):
            server.play(stream)
        text = config([server.url for server in servers])
        with NodeProcess(tmp_path, text, "--workers", str(workers)) as node:
            async with client(node.url) as running:
                await running.send(chat("stays"))
                await _any_started(streams)
                home = 0 if streams[0].calls else 1
                name = f"gpu.{home + 1}"
                answer = await put(node.url, name, "draining")
                assert answer.status == 200
                assert json.loads(answer.body)["upstreams"][0]["state"] == "draining"
                for _ in range(2 if workers == 1 else 0):
                    assert upstreams(node)[name]["state"] == "draining"
                await _all_workers_say(node, name, "draining")
                streams[1 - home].let_all()
                for number in range(6):
                    streams[1 - home].let_all()
                    assert (await ask(node.url, chat(f"new-{number}"))).status == 200
                assert streams[home].calls == 1
                streams[home].let_all()
                assert (await running.answer()).body == b"".join(CHAT_EVENTS)
            assert (await put(node.url, "gpu", "active")).status == 200
            await _all_workers_say(node, name, "active")


async def _any_started(streams: Sequence[GatedStream]) -> None:
    await until(lambda: any(stream.calls for stream in streams), "one has the request")


async def _all_workers_say(node: NodeProcess, name: str, state: str) -> None:
    """Many answers in a row, each on a connection of its own, so that every worker is asked."""

    def said() -> bool:
        return all(upstreams(node)[name]["state"] == state for _ in range(12))

    await until(said, f"every worker takes it for {state}")


async def test_what_cannot_be_drained_is_told(tmp_path: Path) -> None:
    async with scripted(1) as servers:
        with NodeProcess(tmp_path, config([servers[0].url])) as node:
            unknown = await put(node.url, "gpu.7", "draining")
            wrong = await put(node.url, "gpu", "asleep")
            foreign = await ask(
                node.url,
                post(
                    "/api/upstreams/gpu",
                    b'{"state": "draining"}',
                    b"content-type: application/json",
                    b"origin: https://elsewhere.example",
                    method="PUT",
                ),
            )
            assert upstreams(node)["gpu"]["state"] == "active"

    assert unknown.status == 404
    assert "gpu" in json.loads(unknown.body)["detail"]
    assert wrong.status == 422
    assert foreign.status in {401, 403}


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_reload_drops_nothing(tmp_path: Path, workers: int) -> None:
    """A server goes and another one comes under traffic; a broken file changes nothing."""
    async with scripted(3) as servers:
        streams = [GatedStream(CHAT_EVENTS) for _ in servers]
        for server, stream in zip(servers, streams, strict=True):
            server.play(stream)
        urls = [server.url for server in servers]
        node = NodeProcess(tmp_path, config(urls[:1]), "--workers", str(workers))
        node.start()
        try:
            async with client(node.url) as running:
                await running.send(chat("stays"))
                await _any_started(streams)
                _reload(node, config(urls[1:]))
                await until(lambda: "gpu.1" in upstreams(node), "the new servers are known")
                await _all_workers_say(node, "gpu.2", "active")
                for number in range(8):
                    streams[1].let_all()
                    streams[2].let_all()
                    assert (await ask(node.url, chat(f"new-{number}"))).status == 200
                assert streams[0].calls == 1
                assert streams[1].calls + streams[2].calls == 8

                _reload(node, '[[upstreams]]\nname = "no shape"\n')
                await until(lambda: node.log().count("not reloaded") == workers, "it is told")
                _reload(node, config(urls[1:], top="\n[cache]\nttl = 5\n"))
                await until(lambda: node.log().count("need a restart") == workers, "it is told")
                assert "cache.ttl" in node.log()
                assert "gpu.2" in upstreams(node)
                streams[0].let_all()
                assert (await running.answer()).body == b"".join(CHAT_EVENTS)
        finally:
            assert node.stop() == 0
    assert "Traceback" not in node.log()


def _reload(node: NodeProcess, text: str) -> None:
    (node.folder / "fairlead.toml").write_text(text)
    os.kill(node.pid, signal.SIGHUP)


async def test_a_dead_key_is_nobodys_business_while_another_one_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = {b"Bearer good"}

    async def check(caller: Caller, request: RawRequest) -> None:
        key = dict(request.headers)[b"authorization"]
        status = b"200 OK" if key in alive else b"401 Unauthorized"
        body = b'{"choices": []}' if key in alive else b'{"error": "Incorrect API key: dead"}'
        await caller.send(whole(body, status, (b"content-type: application/json",)))

    async with scripted(1) as (server,):
        server.play(check)
        text = config([server.url], 'key_env = ["GOOD", "DEAD"]')
        with NodeProcess(tmp_path, text, GOOD="good", DEAD="dead") as node:
            for number in range(20):
                assert (await ask(node.url, chat(f"s-{number}"))).status == 200
            dead = [r for r in server.requests if dict(r.headers)[b"authorization"] not in alive]
            assert len(dead) == 1
            assert upstreams(node)["gpu"]["accounts_set_aside"] == 1

            alive.clear()
            for path in ("/v1/chat/completions", "/v1/messages"):
                answer = await ask(node.url, chat("s", path=path))
                assert answer.status == 502
                assert b"'gpu'" in answer.body
                assert b"Incorrect" not in answer.body


VLLM = """# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{model_name="m"}} {running}
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{{model_name="m"}} {usage}
"""


async def test_new_sessions_avoid_a_server_whose_cache_is_full(tmp_path: Path) -> None:
    usage = {0: 1.0, 1: 0.0}
    async with scripted(2) as servers:
        for number, server in enumerate(servers):
            server.play(_vllm(usage, number))
        text = config([server.url for server in servers], 'metrics_url = "/metrics"')
        with NodeProcess(tmp_path, text) as node:
            await until(
                lambda: all(one["report"] is not None for one in upstreams(node).values()),
                "both have said how they are",
            )
            for number in range(10):
                assert (await ask(node.url, chat(f"s-{number}"))).status == 200
            seen = upstreams(node)

    assert seen["gpu.1"]["report"]["memory_free"] == 0.0
    assert (seen["gpu.1"]["sessions"], seen["gpu.2"]["sessions"]) == (0, 10)


def _vllm(usage: dict[int, float], number: int) -> Any:
    async def answer(caller: Caller, request: RawRequest) -> None:
        if b"/metrics" in request.line:
            page = VLLM.format(running=0, usage=usage[number]).encode()
            await caller.send(whole(page, b"200 OK", (b"content-type: text/plain",)))
        else:
            await caller.send(whole(b"{}", b"200 OK", (b"content-type: application/json",)))

    return answer


async def test_twice_what_the_servers_can_do(tmp_path: Path) -> None:
    """Goodput stays, the lowest class is served, and afterwards nobody waits."""
    # Ten at a time, 0.1 s each: a hundred a second. 240 callers come at once, three times each.
    quick = ("--ttft", "0.1", "--tokens-per-second", "0", "--max-concurrency", "100")
    classes = ("critical", "high", "normal", "low")
    async with fleet(1, *quick) as (server,):
        text = config([server.url], "limit = 10\nadaptive = false\nmax_queued = 50")
        with NodeProcess(tmp_path, text) as node:
            served: Counter[str] = Counter()
            refused: Counter[int] = Counter()
            longest = 0

            async def caller(number: int) -> None:
                name = classes[number % 4]
                fields = (b"x-fairlead-priority: " + name.encode(), b"x-fairlead-cache: off")
                session = f"user-{number % 20}"
                async with client(node.url) as opened:
                    for _ in range(3):
                        answer = await opened.ask(chat(session, *fields))
                        if answer.status == 200:
                            served[name] += 1
                        else:
                            assert int(answer.header(b"retry-after") or 0) >= 1
                            refused[answer.status] += 1

            crowd = asyncio.gather(*(caller(number) for number in range(240)))
            while not crowd.done():
                queue = upstreams(node)["gpu"]["queue"]
                assert queue["running"] <= 10
                longest = max(longest, *queue["waiting"].values())
                await asyncio.sleep(0.05)
            await crowd

            assert longest <= 50
            assert all(served[name] for name in classes)
            assert refused.total() > 0
            assert set(refused) <= {429, 503}
            sent = node.metric("fairlead_upstream_attempts_total")
            assert node.metric("fairlead_retries_total") <= 0.1 * sent
            # Whoever was let through was answered: nothing that the server did was in vain.
            assert served.total() + node.metric("fairlead_retries_total") == sent
            after = await ask(node.url, chat("afterwards", b"x-fairlead-cache: off"))
            assert after.status == 200
            assert after.header(b"x-fairlead-queue-ms") is None
