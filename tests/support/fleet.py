"""A node before several servers: its configuration, what it says of them, what an operator does."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fairlead.testing.upstream import Caller, RawRequest
from support.nodeprocess import NodeProcess
from support.scripted import ScriptedUpstream, whole
from support.upstreamprocess import UpstreamProcess
from support.wire import DEADLINE, Answer, Client, ask, client, post, until

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
_visits = itertools.count()
_ASKED_TO_MEET_ALL = 12
"""Answers on new connections after which each of two workers was asked, but for 1 in 2,000."""


def entry(urls: str | Sequence[str], *lines: str, name: str = "gpu") -> str:
    """One `[[upstreams]]` table; `lines` are further settings of it."""
    url = urls if isinstance(urls, str) else list(urls)
    head = ["[[upstreams]]", f'name = "{name}"', 'shape = "simulated"']
    return "\n".join([*head, f"base_url = {json.dumps(url)}", *lines, ""])


def config(*entries: str, top: str = "") -> str:
    """A whole file: quick to eject, to bring back and to stop; `top` stands before the entries."""
    return "\n".join(
        [
            "[server]\nshutdown_timeout = 2\n",
            "[balancer]\nejection_time = 1\nslow_start = 1\nprobe_interval = 0.1\n",
            top,
            *entries,
        ]
    )


def body_of(
    path: str, text: str = "hi", *, model: str = "simulated", stream: bool = False
) -> bytes:
    """A request's body in the shape of `path`."""
    body: dict[str, Any] = {"model": model, "stream": stream}
    if path == RESPONSES:
        return json.dumps(body | {"input": text}).encode()
    if path == MESSAGES:
        body["max_tokens"] = 1000
    return json.dumps(body | {"messages": [{"role": "user", "content": text}]}).encode()


def asking(
    session: str, *fields: bytes, path: str = CHAT, model: str = "simulated", stream: bool = False
) -> bytes:
    """A request of `session`; `fields` are further header lines."""
    body = body_of(path, model=model, stream=stream)
    return post(path, body, b"x-session-id: " + session.encode(), *fields)


def upstreams(node: NodeProcess) -> dict[str, dict[str, Any]]:
    """What `/api/upstreams` says, by name; blocks."""
    return {one["name"]: one for one in json.loads(node.get("/api/upstreams"))["upstreams"]}


def queue(node: NodeProcess, name: str) -> dict[str, Any]:
    """The queue before one server; blocks."""
    found: dict[str, Any] = upstreams(node)[name]["queue"]
    return found


def waiting(node: NodeProcess, name: str) -> int:
    """Requests in the queue before one server, of all classes; blocks."""
    return sum(queue(node, name)["waiting"].values())


async def idle(server: UpstreamProcess) -> dict[str, Any]:
    """Its statistics, once nothing runs there any more."""
    async with asyncio.timeout(DEADLINE):
        while (seen := await server.statistics())["active"]:
            pass  # asking takes its time
    return seen


async def ended(node: NodeProcess, request_id: str) -> dict[str, Any]:
    """The access log's record of a request, once it is there."""
    await until(lambda: node.ended(request_id) is not None, f"{request_id} is logged")
    record = node.ended(request_id)
    assert record is not None
    return record


async def served_by(node: NodeProcess, *sessions: str) -> dict[str, str]:
    """Which server answers a request of each session, asked now; every answer must be a 200."""
    visits = {session: f"visit-{next(_visits)}" for session in sessions}
    for session, request_id in visits.items():
        answer = await ask(node.url, asking(session, b"x-request-id: " + request_id.encode()))
        assert (answer.status, session) == (200, session)
    return {session: (await ended(node, visit))["upstream"] for session, visit in visits.items()}


async def put_state(url: str, name: str, state: str) -> Answer:
    """Drain a server, or bring it back."""
    body = json.dumps({"state": state}).encode()
    kind = b"content-type: application/json"
    return await ask(url, post(f"/api/upstreams/{name}", body, kind, method="PUT"))


async def all_workers(node: NodeProcess, met: Callable[[dict[str, Any]], bool], what: str) -> None:
    """Return when `met(upstreams by name)` whichever worker answers."""

    def agreed() -> bool:
        return all(met(upstreams(node)) for _ in range(_ASKED_TO_MEET_ALL))

    await until(agreed, what)


def rewrite(node: NodeProcess, text: str | bytes) -> None:
    """Another configuration, and the signal that says so."""
    data = text if isinstance(text, bytes) else text.encode()
    (node.folder / "fairlead.toml").write_bytes(data)
    os.kill(node.pid, signal.SIGHUP)


@asynccontextmanager
async def processes(count: int, *arguments: str) -> AsyncIterator[list[UpstreamProcess]]:
    """So many `fairlead upstream`."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(UpstreamProcess(*arguments)) for _ in range(count)]


@asynccontextmanager
async def scripted(count: int) -> AsyncIterator[list[ScriptedUpstream]]:
    """So many servers that do what the test says; nothing may go wrong in them."""
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(ScriptedUpstream()) for _ in range(count)]
        yield servers
        assert [server.failures for server in servers] == [[] for _ in servers]


async def at_once(caller: Caller, _request: RawRequest) -> None:
    """A handler that answers with an empty object."""
    await caller.send(whole(b"{}"))


class Turnstile:
    """A handler that keeps every request until the test lets one through; knows their order."""

    def __init__(self, name: Callable[[RawRequest], str]) -> None:
        """`name(request)` is what a request is called in `order`."""
        self.order: list[str] = []
        """The requests as they arrived."""
        self._name = name
        self._gate = asyncio.Semaphore(0)

    def let(self, count: int = 1) -> None:
        """Answer so many of them, those that came first."""
        for _ in range(count):
            self._gate.release()

    async def __call__(self, caller: Caller, request: RawRequest) -> None:
        """Answer one request."""
        self.order.append(self._name(request))
        await self._gate.acquire()
        await caller.send(whole(b"{}"))


def session_in(request: RawRequest) -> str:
    """The session that a request names."""
    return (request.header(b"x-session-id") or b"").decode()


class Traffic:
    """Callers that ask without a pause while the block runs; what they were answered with."""

    def __init__(self, url: str, callers: int) -> None:
        self.statuses: Counter[int] = Counter()
        self._url = url
        self._callers = callers
        self._ends = asyncio.Event()

    @property
    def answered(self) -> int:
        """Answers so far."""
        return self.statuses.total()

    async def go_on(self, count: int = 20) -> None:
        """Return after so many more answers."""
        enough = self.answered + count
        await until(lambda: self.answered >= enough, "the traffic goes on")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Traffic]:
        """Traffic for the length of a block; an answer that does not come fails it."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._callers):
                group.create_task(self._ask(number))
            try:
                yield self
            finally:
                self._ends.set()

    async def _ask(self, number: int) -> None:
        for request in _ever_new(number):
            if self._ends.is_set():
                return
            async with client(self._url) as opened:
                for _ in range(3):
                    self.statuses[(await opened.ask(request)).status] += 1


def _ever_new(number: int) -> Iterator[bytes]:
    count = 0
    while True:
        count += 1
        yield asking(f"caller-{number}-{count}", stream=bool(count % 2))


async def all_sent(requests: Sequence[bytes], url: str) -> list[Client]:
    """A connection for each of `requests`, in their order."""
    callers = []
    for request in requests:
        caller = await Client.connect(url)
        await caller.send(request)
        callers.append(caller)
    return callers


async def all_closed(callers: Sequence[Client]) -> None:
    """Close them all."""
    for caller in callers:
        await caller.close()
