"""Servers that die, fall ill, ask for rest or refuse a key: the callers should hardly notice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from fairlead.testing.upstream import Caller, RawRequest
from support.fleet import (
    CHAT,
    MESSAGES,
    asking,
    at_once,
    config,
    entry,
    processes,
    scripted,
    served_by,
    upstreams,
)
from support.nodeprocess import NodeProcess
from support.scripted import ScriptedUpstream, whole
from support.wire import ask, until

SHAPES = pytest.mark.parametrize("path", [CHAT, MESSAGES])
SDK: dict[str, Any] = {"api_key": "of-the-caller", "max_retries": 0, "timeout": 10}
RATE_LIMITED = b"429 Too Many Requests"
JSON = b"content-type: application/json"


class Accounts:
    """A handler that answers each key as the test says; counts the keys that came."""

    def __init__(self, answers: dict[str, bytes]) -> None:
        self.answers = answers
        self.came: Counter[str] = Counter()

    async def __call__(self, caller: Caller, request: RawRequest) -> None:
        """Answer one request; both shapes' ways to send a key are understood."""
        bearer = (request.header(b"authorization") or b"").removeprefix(b"Bearer ")
        key = (request.header(b"x-api-key") or bearer).decode()
        self.came[key] += 1
        await caller.send(self.answers[key])

    def seen(self) -> Counter[str]:
        """What came since this was asked last."""
        came, self.came = self.came, Counter()
        return came


def refusal(status: bytes, *fields: bytes, text: str = "of the upstream") -> bytes:
    """An error answer."""
    return whole(json.dumps({"error": {"message": text}}).encode(), status, (JSON, *fields))


async def test_sessions_of_a_dead_server_move_and_then_stay(tmp_path: Path) -> None:
    """Ejected by its probes without traffic, shown as such; back at its port it is used again."""
    sessions = [f"s-{number}" for number in range(24)]
    quick = ("--ttft", "0", "--tokens-per-second", "0", "--answer-tokens", "5")
    async with processes(3, *quick) as servers:
        text = config(entry([server.url for server in servers], 'health_path = "/health"'))
        with NodeProcess(tmp_path, text) as node:
            before = await served_by(node, *sessions)
            assert set(before.values()) == {"gpu.1", "gpu.2", "gpu.3"}
            await servers[0].kill()
            await until(lambda: _health(node, "gpu.1") == "ejected", "the probes have seen it")
            assert "refused" in upstreams(node)["gpu.1"]["probe_error"]

            moved = await served_by(node, *sessions)
            assert "gpu.1" not in moved.values()
            stayed = {name: home for name, home in before.items() if home != "gpu.1"}
            assert stayed.items() <= moved.items(), "only sessions of the dead one move"
            assert await served_by(node, *sessions) == moved
            assert upstreams(node)["gpu.1"]["sessions"] == 0

            await servers[0].start()
            await until(lambda: _health(node, "gpu.1") in {"trial", "slow-start", "healthy"}, "up")
            new = iter(range(10_000))
            while upstreams(node)["gpu.1"]["served"] <= before_served(before):
                assert (await ask(node.url, asking(f"new-{next(new)}"))).status == 200
            assert await served_by(node, *sessions) == moved, "who has moved stays"
            await until(lambda: _health(node, "gpu.1") == "healthy", "its slow start is over")
            assert upstreams(node)["gpu.1"]["probe_error"] == ""
            assert upstreams(node)["gpu.1"]["ejections"] >= 1
            assert node.metric("fairlead_session_moves_total") > 0


def before_served(homes: dict[str, str]) -> int:
    """How many requests the first server had while it lived."""
    return sum(home == "gpu.1" for home in homes.values())


def _health(node: NodeProcess, name: str) -> str:
    return str(upstreams(node)[name]["health"])


async def test_a_sick_server_is_ejected_without_traffic(tmp_path: Path) -> None:
    """It lives and would answer, but its own health page says no."""
    well = {0: True, 1: True}
    async with scripted(2) as servers:
        for number, server in enumerate(servers):
            server.play(_with_health(well, number))
        text = config(entry([server.url for server in servers], 'health_path = "/up"'))
        with NodeProcess(tmp_path, text) as node:
            await until(lambda: len(servers[0].requests) > 3, "it is asked")
            assert {_health(node, name) for name in upstreams(node)} == {"healthy"}
            well[0] = False
            await until(lambda: _health(node, "gpu.1") == "ejected", "it is out")
            assert upstreams(node)["gpu.1"]["probe_error"] == (
                "health: it does not say that it is well"
            )
            assert set((await served_by(node, *map(str, range(10)))).values()) == {"gpu.2"}
            asked = [request.line for request in servers[0].requests]
            assert set(asked) == {b"GET /up HTTP/1.1"}
            keys = [request.header(b"authorization") for request in servers[0].requests]
            assert set(keys) == {None}
            well[0] = True
            names = (f"after-{number}" for number in range(10_000))
            while "gpu.1" not in (await served_by(node, next(names), next(names))).values():
                pass  # soon one of the new sessions is the trial
            await until(lambda: _health(node, "gpu.1") == "healthy", "it is back")


def _with_health(well: dict[int, bool], number: int) -> Callable[[Caller, RawRequest], Any]:
    async def answer(caller: Caller, request: RawRequest) -> None:
        sick = b"/up" in request.line and not well[number]
        await caller.send(whole(b"{}", b"503 Service Unavailable" if sick else b"200 OK"))

    return answer


def _two_keys(server: ScriptedUpstream, *lines: str) -> str:
    return config(entry(server.url, 'key_env = ["KEY_A", "KEY_B"]', *lines))


KEYS = {"KEY_A": "key-a", "KEY_B": "key-b"}


@SHAPES
@pytest.mark.parametrize("status", [b"401 Unauthorized", b"403 Forbidden"])
async def test_callers_do_not_see_that_one_of_two_keys_is_dead(
    tmp_path: Path, path: str, status: bytes
) -> None:
    accounts = Accounts({"key-a": whole(b"{}"), "key-b": refusal(status, text="Incorrect key-b")})
    async with scripted(1) as (server,):
        server.play(accounts)
        with NodeProcess(tmp_path, _two_keys(server), **KEYS) as node:
            for number in range(30):
                assert (await ask(node.url, asking(f"s-{number}", path=path))).status == 200
            came = accounts.seen()
            set_aside = upstreams(node)["gpu"]["accounts_set_aside"]
            for number in range(10):
                request = asking(f"s-{number}", path=path, model="another")
                assert (await ask(node.url, request)).status == 200
            later = accounts.seen()
    assert came["key-a"] == 30
    if b"401" in status:
        assert (came["key-b"], later["key-b"], set_aside) == (1, 0, 1)
    else:
        # May be about one caller's request, or about a model that this account may not use.
        assert (came["key-b"], set_aside) == (3, 0)
        assert 1 <= later["key-b"] <= 3


async def test_the_sdks_learn_that_the_upstream_is_at_fault_when_all_keys_are_dead(
    tmp_path: Path,
) -> None:
    dead = refusal(b"401 Unauthorized", text="Incorrect API key provided: key-a")
    accounts = Accounts({"key-a": dead, "key-b": dead})
    question: Any = [{"role": "user", "content": "hi"}]
    async with scripted(1) as (server,):
        server.play(accounts)
        with NodeProcess(tmp_path, _two_keys(server), **KEYS) as node:
            for _ in range(2):
                async with openai.AsyncOpenAI(base_url=f"{node.url}/v1", **SDK) as sdk:
                    with pytest.raises(openai.InternalServerError) as by_openai:
                        await sdk.chat.completions.create(model="m", messages=question)
                async with anthropic.AsyncAnthropic(base_url=node.url, **SDK) as claude:
                    with pytest.raises(anthropic.InternalServerError) as by_anthropic:
                        await claude.messages.create(model="m", max_tokens=1, messages=question)
                for error in (by_openai.value, by_anthropic.value):
                    assert error.status_code == 502
                    assert "'gpu'" in error.message
                    assert "Incorrect" not in error.message
                    assert error.response.headers["x-should-retry"] == "false"
            assert "key-a" not in node.log()
    assert accounts.came == {"key-a": 1, "key-b": 1}


@SHAPES
async def test_what_one_account_may_not_any_more_the_other_does(tmp_path: Path, path: str) -> None:
    """429 with `retry-after`: the account rests for that model, and for no other."""
    limited = refusal(RATE_LIMITED, b"retry-after: 100")
    accounts = Accounts({"key-a": limited, "key-b": whole(b"{}")})
    async with scripted(1) as (server,):
        server.play(accounts)
        with NodeProcess(tmp_path, _two_keys(server), **KEYS) as node:
            for number in range(20):
                assert (await ask(node.url, asking(f"s-{number}", path=path))).status == 200
            assert accounts.seen() == {"key-a": 1, "key-b": 20}
            seen = upstreams(node)["gpu"]
            assert seen["resting_models"] == 1
            assert 0 < seen["resting_seconds"] <= 100
            for number in range(20):
                request = asking(f"s-{number}", path=path, model="another")
                assert (await ask(node.url, request)).status == 200
            assert accounts.seen()["key-a"] == 1

            accounts.answers["key-b"] = refusal(RATE_LIMITED, b"retry-after: 90", text="Slow down")
            passed = await ask(node.url, asking("s", path=path))
            refused = await ask(node.url, asking("s", path=path))
            assert accounts.seen() == {"key-b": 1}
    assert passed.status == 429
    assert b"Slow down" in passed.body, "the last answer passes as it is"
    assert passed.header(b"retry-after") == b"90"
    assert refused.status == 429
    assert 60 < int(refused.header(b"retry-after") or 0) <= 100
    error = json.loads(refused.body)["error"]
    assert "'gpu'" in error["message"]
    if path == MESSAGES:
        assert error["type"] == "rate_limit_error"


async def test_a_server_that_asks_for_rest_gets_it(tmp_path: Path) -> None:
    """One answer says so; from then on the other server has all the traffic of that model."""
    tired = refusal(b"503 Service Unavailable", b"retry-after: 100")

    async def rest(caller: Caller, _request: RawRequest) -> None:
        await caller.send(tired)

    async with scripted(2) as servers:
        servers[0].play(rest)
        servers[1].play(at_once)
        text = config(entry([server.url for server in servers]))
        with NodeProcess(tmp_path, text) as node:
            assert set((await served_by(node, *map(str, range(20)))).values()) == {"gpu.2"}
            assert len(servers[0].requests) == 1
            assert upstreams(node)["gpu.1"]["resting_models"] == 1
            assert (await ask(node.url, asking("s", model="another"))).status == 200
            assert upstreams(node)["gpu.1"]["health"] == "healthy"


async def test_an_overloaded_account_is_asked_again_then_its_answer_passes(
    tmp_path: Path,
) -> None:
    """Word for word: assistants match the text."""
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"} }'
    overloaded = whole(body, b"529 Overloaded", (JSON, b"request-id: req_1"))
    accounts = Accounts({"key-a": overloaded, "key-b": overloaded})
    async with scripted(1) as (server,):
        server.play(accounts)
        with NodeProcess(tmp_path, _two_keys(server), **KEYS) as node:
            answer = await ask(node.url, asking("s", path=MESSAGES))
    assert (answer.status, answer.body) == (529, body)
    assert answer.header(b"request-id") == b"req_1"
    assert sorted(accounts.came.values()) == [3]


async def test_a_session_stays_with_its_key(tmp_path: Path) -> None:
    """Providers cache prompts per account."""
    accounts = Accounts({"key-a": whole(b"{}"), "key-b": whole(b"{}")})
    async with scripted(1) as (server,):
        server.play(accounts)
        with NodeProcess(tmp_path, _two_keys(server), **KEYS) as node:
            keys: dict[str, set[Sequence[str]]] = {}
            for _ in range(3):
                for number in range(12):
                    assert (await ask(node.url, asking(f"s-{number}"))).status == 200
                    keys.setdefault(f"s-{number}", set()).add(tuple(accounts.seen()))
    assert {len(one) for one in keys.values()} == {1}
    assert {name for one in keys.values() for names in one for name in names} == {"key-a", "key-b"}
