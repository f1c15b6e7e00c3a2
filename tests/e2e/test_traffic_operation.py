"""What an operator does to a running node: drain servers, bring them back, change the file."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from fairlead.testing.upstream import RawRequest
from support.fleet import (
    CHAT,
    MESSAGES,
    Traffic,
    all_workers,
    asking,
    at_once,
    config,
    entry,
    put_state,
    rewrite,
    scripted,
    served_by,
    upstreams,
)
from support.nodeprocess import NodeProcess
from support.recordings import CHAT_EVENTS
from support.scripted import GatedStream, ScriptedUpstream
from support.wire import ask, client, until

WORKERS = pytest.mark.parametrize("workers", ["1", "2"])
SHAPES = pytest.mark.parametrize("path", [CHAT, MESSAGES])


def _state(name: str, state: str) -> Any:
    return lambda seen: name in seen and seen[name]["state"] == state


def _is_drained(seen: dict[str, dict[str, Any]]) -> bool:
    return (seen["new"]["state"], seen["new"]["in_flight"]) == ("draining", 0)


def _play(*servers: ScriptedUpstream) -> list[str]:
    """Let the servers answer; their URLs."""
    for server in servers:
        server.play(at_once)
    return [server.url for server in servers]


async def test_sessions_of_a_drained_server_move_and_stay_when_it_is_back(tmp_path: Path) -> None:
    sessions = [f"s-{number}" for number in range(20)]
    async with scripted(3) as servers:
        text = config(entry(_play(*servers)))
        with NodeProcess(tmp_path, text) as node:
            before = await served_by(node, *sessions)
            assert set(before.values()) == {"gpu.1", "gpu.2", "gpu.3"}
            assert (await put_state(node.url, "gpu.2", "draining")).status == 200
            moved = await served_by(node, *sessions)
            assert "gpu.2" not in moved.values()
            stayed = {name: home for name, home in before.items() if home != "gpu.2"}
            assert stayed.items() <= moved.items()
            assert node.metric("fairlead_upstream_up", 'upstream="gpu.2"') == 0

            assert (await put_state(node.url, "gpu.2", "active")).status == 200
            assert node.metric("fairlead_upstream_up", 'upstream="gpu.2"') == 1
            assert await served_by(node, *sessions) == moved
            await until(lambda: upstreams(node)["gpu.2"]["health"] == "healthy", "it is warm again")
            new = await served_by(node, *(f"new-{number}" for number in range(30)))
            assert "gpu.2" in new.values()


@SHAPES
async def test_when_everything_drains_the_caller_is_told_to_come_again(
    tmp_path: Path, path: str
) -> None:
    """Set in the file, so from the first request on."""
    async with scripted(2) as servers:
        text = config(entry(_play(*servers), 'state = "draining"'))
        with NodeProcess(tmp_path, text) as node:
            assert {one["state"] for one in upstreams(node).values()} == {"draining"}
            refused = await ask(node.url, asking("s", path=path))
            assert not any(server.requests for server in servers)
            assert (await put_state(node.url, "gpu", "active")).status == 200
            assert (await ask(node.url, asking("s", path=path))).status == 200
    assert refused.status == (529 if path == MESSAGES else 503)
    assert int(refused.header(b"retry-after") or 0) >= 1
    assert "drained" in json.loads(refused.body)["error"]["message"]


async def test_one_that_drains_from_the_start_gets_nothing(tmp_path: Path) -> None:
    async with scripted(2) as servers:
        urls = _play(*servers)
        text = config(
            entry(urls[0], 'state = "draining"', name="old"),
            entry(urls[1], name="new"),
        )
        with NodeProcess(tmp_path, text) as node:
            homes = await served_by(node, *map(str, range(20)))
            assert set(homes.values()) == {"new"}
            unknown = await put_state(node.url, "odl", "active")
            wrong = await put_state(node.url, "old", "asleep")
            assert upstreams(node)["old"]["state"] == "draining"
    assert not servers[0].requests
    assert unknown.status == 404
    assert unknown.header(b"content-type") == b"application/problem+json"
    assert "there are: old, new" in json.loads(unknown.body)["detail"]
    assert wrong.status == 422
    assert [one["field"] for one in json.loads(wrong.body)["errors"]] == ["body.state"]


async def test_a_worker_that_is_replaced_knows_what_the_others_were_told(tmp_path: Path) -> None:
    """That one server is drained, and that the configuration was read again."""
    async with scripted(3) as servers:
        urls = _play(*servers)
        with NodeProcess(tmp_path, config(entry(urls[0])), "--workers", "2") as node:
            rewrite(node, config(entry(urls)))
            await all_workers(node, lambda seen: len(seen) == 3, "both have the new file")
            assert (await put_state(node.url, "gpu.3", "draining")).status == 200
            await all_workers(node, _state("gpu.3", "draining"), "both know of the drain")
            for victim in node.workers():
                os.kill(victim, signal.SIGKILL)
                await until(lambda victim=victim: victim not in node.workers(), "it is gone")  # type: ignore[misc]
                await until(lambda: len(node.workers()) == 2, "another one is there")
            await all_workers(node, lambda seen: len(seen) == 3, "the new ones have the new file")
            assert {upstreams(node)["gpu.3"]["state"] for _ in range(12)} == {"draining"}
            assert "gpu.3" not in (await served_by(node, *map(str, range(30)))).values()


class Keyed:
    """A handler that answers at once and knows which keys came."""

    def __init__(self) -> None:
        self.keys: set[str] = set()

    async def __call__(self, caller: Any, request: RawRequest) -> None:
        """Answer one request."""
        self.keys.add((request.header(b"authorization") or b"").decode().removeprefix("Bearer "))
        await at_once(caller, request)


@WORKERS
async def test_whatever_changes_in_the_file_no_request_fails(tmp_path: Path, workers: str) -> None:
    """Under traffic that never pauses: a server comes, one goes, a key changes, one drains."""
    keyed = Keyed()
    async with scripted(3) as (old, kept, new):
        stream = GatedStream(CHAT_EVENTS)
        urls = _play(kept, new)
        old.play(stream)
        kept.play(keyed)
        only = 'models = ["simulated"]'
        kept_entry = entry(urls[0], only, 'key_env = ["FIRST"]', name="kept")
        text = config(entry(old.url, 'models = ["old"]', name="old"), kept_entry)
        keys = {"FIRST": "key-1", "SECOND": "key-2"}
        with NodeProcess(tmp_path, text, "--workers", workers, **keys) as node:
            async with client(node.url) as running, Traffic(node.url, 4).running() as traffic:
                await running.send(asking("s", model="old", stream=True))
                async with asyncio.timeout(10):
                    await stream.started.acquire()
                await traffic.go_on()

                new_entry = entry(urls[1], name="new")
                rewrite(node, config(kept_entry, new_entry))
                await all_workers(node, lambda seen: set(seen) == {"kept", "new"}, "both follow")
                await until(lambda: len(new.requests) > 0, "the new server gets traffic")
                assert (await ask(node.url, asking("s", model="old"))).status == 200

                second = entry(urls[0], only, 'key_env = ["SECOND"]', name="kept")
                rewrite(node, config(second, new_entry))
                await until(lambda: "key-2" in keyed.keys, "the new key is used")
                await traffic.go_on()

                rewrite(node, config(second, entry(urls[1], 'state = "draining"', name="new")))
                await all_workers(node, _is_drained, "it has finished what it had, everywhere")
                seen = len(new.requests)
                await traffic.go_on(40)
                assert len(new.requests) == seen

                rewrite(node, config(second, new_entry))
                await all_workers(node, _state("new", "active"), "it is back everywhere")
                await until(lambda: len(new.requests) > seen, "and is used")

                stream.let_all()
                answer = await running.answer()
                assert (answer.status, answer.body) == (200, b"".join(CHAT_EVENTS))
    assert set(traffic.statuses) == {200}
    assert traffic.answered > 100
    assert keyed.keys == {"key-1", "key-2"}
    assert stream.calls == 1


BROKEN = {
    "syntax": b"[[upstreams]\n",
    "no-text": b'[[upstreams]]\nname = "\xff"\n',
    "unknown-key": b"[server]\nprot = 1\n",
    "a-secret": b'[[upstreams]]\nname = "gpu"\nshape = "openai"\napi_key = "sk-secret"\n',
    "a-missing-key": b'[[upstreams]]\nname = "gpu"\nshape = "simulated"\nkey_env = ["NOT_SET"]\n',
    "no-certificates": (
        b'[[upstreams]]\nname = "other"\nshape = "openai"\nbase_url = "https://localhost:1/v1"\n'
        b'ca_bundle = "fairlead.toml"\n'
    ),
}


async def test_a_file_that_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    """One after the other, each told in the log; the next good one is taken over."""
    async with scripted(2) as servers:
        urls = _play(*servers)
        node = NodeProcess(tmp_path, config(entry(urls[0])))
        node.start()
        try:
            for count, (name, broken) in enumerate(BROKEN.items(), 1):
                rewrite(node, broken)
                await until(lambda count=count: _refusals(node) == count, f"{name} is told")  # type: ignore[misc]
                assert set(upstreams(node)) == {"gpu"}, name
                assert (await ask(node.url, asking("s"))).status == 200, name
            (tmp_path / "fairlead.toml").unlink()
            os.kill(node.pid, signal.SIGHUP)
            await until(lambda: _refusals(node) == len(BROKEN) + 1, "a missing file is told")
            assert set(upstreams(node)) == {"gpu"}
            assert "sk-secret" not in node.log()

            rewrite(node, config(entry(urls)))
            await until(lambda: set(upstreams(node)) == {"gpu.1", "gpu.2"}, "a good one is used")
        finally:
            assert node.stop() == 0
    assert "Traceback" not in node.log()


def _refusals(node: NodeProcess) -> int:
    return node.log().count("not reloaded, the old configuration stays")


@WORKERS
async def test_what_needs_a_restart_is_named(tmp_path: Path, workers: str) -> None:
    async with scripted(1) as servers:
        (url,) = _play(*servers)
        with NodeProcess(tmp_path, config(entry(url)), "--workers", workers) as node:
            top = "[cache]\nttl = 7\nmax_entries = 9\n[queue]\npriority_header = 'off'\nlimit = 9\n"
            rewrite(node, config(entry(url), top=top))
            await until(
                lambda: node.log().count("need a restart") == int(workers), "each process says so"
            )
            told = [line for line in node.log().splitlines() if "need a restart" in line]
            await all_workers(
                node,
                lambda seen: sum(one["queue"]["limit"] for one in seen.values()) < 10,
                "the limit is taken over",
            )
    for name in ("cache.ttl", "cache.max_entries", "queue.priority_header"):
        assert all(name in line for line in told)
    assert not any("queue.limit" in line or "upstreams" in line for line in told)


async def test_many_signals_at_once_are_one_or_a_few_readings(tmp_path: Path) -> None:
    async with scripted(2) as servers:
        urls = _play(*servers)
        with NodeProcess(tmp_path, config(entry(urls[0]))) as node:
            async with Traffic(node.url, 2).running() as traffic:
                for number in range(30):
                    rewrite(node, config(entry(urls if number % 2 else urls[0])))
                await until(lambda: set(upstreams(node)) == {"gpu.1", "gpu.2"}, "the last one")
                await traffic.go_on()
            assert set(traffic.statuses) == {200}


async def test_a_hangup_before_the_node_is_ready_does_not_end_it(tmp_path: Path) -> None:
    """As a supervisor sends it that reloads right after a start; with workers in the making."""
    async with scripted(1) as servers:
        (url,) = _play(*servers)
        node = NodeProcess(tmp_path, config(entry(url)), "--workers", "2")
        start = asyncio.create_task(asyncio.to_thread(node.start))
        try:
            await until(lambda: _has_workers(node), "the first worker is being started")
            while not start.done():
                os.kill(node.pid, signal.SIGHUP)
                await asyncio.sleep(0.01)
            await start
            assert (await ask(node.url, asking("s"))).status == 200
            assert len(node.workers()) == 2
        finally:
            assert node.stop() == 0


def _has_workers(node: NodeProcess) -> bool:
    return node._process is not None and bool(node.workers())
