"""Identical requests in flight at once, over real connections through a node."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest
import pytest_asyncio

from fairlead.testing.upstream import Caller, RawRequest
from support.nodeprocess import NodeProcess
from support.recordings import CHAT_EVENTS, MESSAGES_EVENTS, RESPONSES_EVENTS
from support.scripted import STREAM_HEAD, GatedStream, Handler, ScriptedUpstream, chunk, whole
from support.wire import Answer, Client, ask, client, post, settled, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

MISS = b"fairlead; fwd=miss; stored"
COLLAPSED = b"fairlead; fwd=miss; collapsed"
HIT = b"fairlead; hit"
CONFIG = """
[server]
shutdown_timeout = 2

[[upstreams]]
name = "scripted"
shape = "simulated"
base_url = "{url}"
"""
_numbers = itertools.count()


class Api(msgspec.Struct, frozen=True):
    """One API shape: where it is asked, how it streams, how its errors begin."""

    path: str
    events: tuple[bytes, ...]
    error_event: bytes

    @property
    def stream(self) -> bytes:
        """A whole streamed answer."""
        return b"".join(self.events)


APIS = {
    "chat": Api("/v1/chat/completions", tuple(CHAT_EVENTS), b'data: {"error":'),
    "responses": Api(
        "/v1/responses", tuple(RESPONSES_EVENTS), b'event: error\ndata: {"type":"error"'
    ),
    "messages": Api("/v1/messages", tuple(MESSAGES_EVENTS), b'event: error\ndata: {"type":"error"'),
}


@pytest.fixture(params=APIS)
def api(request: pytest.FixtureRequest) -> Api:
    return APIS[request.param]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as opened:
        yield opened
    assert opened.failures == []


@pytest.fixture(scope="module")
def node(
    upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeProcess]:
    with NodeProcess(tmp_path_factory.mktemp("node"), CONFIG.format(url=upstream.url)) as started:
        yield started
        flights = started.cache()["in_flight"]
        assert flights == {"calls": 0, "bytes": 0}


class Crowd:
    """Clients that ask the same, a question that nobody has asked before."""

    def __init__(self, node: NodeProcess, path: str, *, stream: bool = True) -> None:
        self.node = node
        self.number = next(_numbers)
        self.path = path
        # A model of its own: a failed call must not be the next crowd's.
        model = f"m-{self.number}"
        body = {"model": model, "temperature": 0, "stream": stream, "seed": self.number}
        self.body = json.dumps(body).encode()
        self.members: list[Client] = []
        self._before = self._asked()

    async def join(self, count: int = 1) -> list[Client]:
        """So many more, asking at once; returns when the node has them all."""
        new = await asyncio.gather(*(Client.connect(self.node.url) for _ in range(count)))
        numbers = range(len(self.members), len(self.members) + count)
        self.members += new
        requests = [post(self.path, self.body, self._id(number)) for number in numbers]
        await asyncio.gather(*map(Client.send, new, requests))
        expected = self._before + len(self.members)
        await until(lambda: self._asked() == expected, "all requests are with the node")
        return new

    async def leave(self, number: int) -> None:
        """One goes away; returns when the node knows."""
        await self.members[number].close()
        name = self._id(number).split(b" ")[1].decode()
        await until(lambda: self.node.ended(name) is not None, "the node knows that it left")

    async def answers(self) -> list[Answer]:
        """What each gets, whole."""
        return await asyncio.gather(*(member.answer() for member in self.members))

    async def ask_again(self) -> Answer:
        """The answer to the same question, asked now."""
        return await ask(self.node.url, post(self.path, self.body))

    async def disperse(self) -> None:
        """All close their connections."""
        await asyncio.gather(*(member.close() for member in self.members))

    def _id(self, number: int) -> bytes:
        return b"x-request-id: crowd-%d-%d" % (self.number, number)

    def _asked(self) -> int:
        report = self.node.cache()
        return int(report["misses"] + report["collapsed"])


@pytest_asyncio.fixture(loop_scope="module")
async def crowd(node: NodeProcess, api: Api) -> AsyncIterator[Crowd]:
    gathered = Crowd(node, api.path)
    yield gathered
    await gathered.disperse()


async def test_a_hundred_at_once_make_one_call(
    upstream: ScriptedUpstream, api: Api, crowd: Crowd
) -> None:
    stream = GatedStream(api.events)
    upstream.play(stream)
    await crowd.join(100)
    stream.let_all()
    answers = await crowd.answers()
    assert {answer.body for answer in answers} == {api.stream}
    statuses = Counter(answer.header(b"cache-status") for answer in answers)
    assert statuses == {MISS: 1, COLLAPSED: 99}
    assert len({answer.header(b"x-request-id") for answer in answers}) == 100
    replayed = await crowd.ask_again()
    assert (replayed.header(b"cache-status"), replayed.body) == (HIT, api.stream)
    assert replayed.header(b"content-type") == b"text/event-stream"
    assert stream.calls == len(upstream.requests) == 1


async def test_plain_answers_are_shared_too(upstream: ScriptedUpstream, node: NodeProcess) -> None:
    gate = asyncio.Event()
    body = b'{"object": "list", "data": [%s]}' % (b"0.5," * 50_000 + b"1")

    async def answer(caller: Caller, _request: RawRequest) -> None:
        await gate.wait()
        await caller.send(whole(body))

    upstream.play(answer)
    crowd = Crowd(node, "/v1/embeddings", stream=False)
    await crowd.join(100)
    gate.set()
    answers = await crowd.answers()
    assert {(answer.status, answer.body) for answer in answers} == {(200, body)}
    assert {answer.header(b"content-length") for answer in answers} == {b"%d" % len(body)}
    assert len(upstream.requests) == 1
    await crowd.disperse()


async def test_late_joiners_get_everything(
    upstream: ScriptedUpstream, api: Api, crowd: Crowd
) -> None:
    stream = GatedStream(api.events)
    upstream.play(stream)
    (leader,) = await crowd.join()
    stream.let()
    await leader.head()
    for event in api.events:
        (late,) = await crowd.join()
        stream.let()
        assert await leader.take(len(event)) == event
        assert await late.head() == 200
        assert dict(late.headers)[b"cache-status"] == COLLAPSED
    # The last one joins when all events are there and only the end is missing.
    (last,) = await crowd.join()
    await last.head()
    assert await last.take(len(api.stream)) == api.stream
    stream.let()
    followers = crowd.members[1:-1]
    bodies = await asyncio.gather(*(follower.body() for follower in followers))
    assert set(bodies) == {api.stream}
    assert (await leader.body(), await last.body()) == (b"", b"")
    assert stream.calls == 1


@pytest.mark.parametrize("leaving", [0, 1], ids=["leader", "follower"])
@pytest.mark.parametrize("events", [None, 2], ids=["before-the-head", "after-two-events"])
async def test_one_that_leaves_does_not_stop_the_others(
    upstream: ScriptedUpstream, api: Api, crowd: Crowd, leaving: int, events: int | None
) -> None:
    stream = GatedStream(api.events)
    upstream.play(stream)
    await crowd.join()
    await crowd.join(3)
    if events is not None:
        stream.let(1 + events)
        for member in crowd.members:
            await member.head()
            begun = b"".join(api.events[:events])
            assert await member.take(len(begun)) == begun
    await crowd.leave(leaving)
    del crowd.members[leaving]
    assert not stream.left.is_set()
    stream.let_all()
    if events is None:
        bodies = {answer.body for answer in await crowd.answers()}
        assert bodies == {api.stream}
    else:
        rest = {await member.body() for member in crowd.members}
        assert rest == {b"".join(api.events[events:])}
    again = await crowd.ask_again()
    assert (again.header(b"cache-status"), again.body) == (HIT, api.stream)
    assert stream.calls == 1


@pytest.mark.parametrize("events", [None, 2], ids=["before-the-head", "after-two-events"])
async def test_when_all_leave_the_call_is_cancelled(
    upstream: ScriptedUpstream, api: Api, crowd: Crowd, node: NodeProcess, events: int | None
) -> None:
    stream = GatedStream(api.events)
    upstream.play(stream)
    await crowd.join(5)
    await stream.started.acquire()
    if events is not None:
        stream.let(1 + events)
        for member in crowd.members:
            await member.head()
            await member.take(len(b"".join(api.events[:events])))
    stored = node.cache()["stored"]
    for number in range(5):
        assert not stream.left.is_set()
        await crowd.leave(number)
    await settled(stream.left, "the upstream sees that all have left")
    assert node.cache()["in_flight"] == {"calls": 0, "bytes": 0}
    assert node.cache()["stored"] == stored
    upstream.play(replay := GatedStream(api.events))
    replay.let_all()
    again = await crowd.ask_again()
    assert (again.header(b"cache-status"), again.body) == (MISS, api.stream)


def breaking(gate: asyncio.Event, sent: bytes) -> Handler:
    """Begins to answer, waits for the gate, sends a part and closes without an end."""

    async def handler(caller: Caller, _request: RawRequest) -> None:
        await caller.send(STREAM_HEAD)
        await gate.wait()
        await caller.send(chunk(sent))
        caller.close()

    return handler


@pytest.mark.parametrize("half", [0, 15], ids=["between-events", "within-an-event"])
async def test_a_broken_upstream_ends_each_stream_with_an_error_event(
    upstream: ScriptedUpstream, api: Api, crowd: Crowd, half: int
) -> None:
    gate = asyncio.Event()
    sent = b"".join(api.events[:2]) + api.events[2][:half]
    upstream.play(breaking(gate, sent))
    await crowd.join(20)
    gate.set()
    for answer in await crowd.answers():
        assert answer.status == 200
        assert answer.body.startswith(sent)
        error = answer.body.removeprefix(sent)
        assert error.lstrip(b"\n").startswith(api.error_event)
        assert error.startswith(b"\n\n") == bool(half)
        assert error.endswith(b"}\n\n")
    assert len(upstream.requests) == 1
    stream = GatedStream(api.events)
    stream.let_all()
    upstream.play(stream)
    again = await crowd.ask_again()
    assert (again.header(b"cache-status"), again.body) == (MISS, api.stream)


@pytest.mark.parametrize("status", [b"500 Oops", b"429 Slow Down", b"503 Busy"])
async def test_an_error_reaches_all_and_is_not_kept(
    upstream: ScriptedUpstream, api: Api, crowd: Crowd, status: bytes
) -> None:
    gate = asyncio.Event()
    body = b'{"error": {"message": "the upstream\'s own words"}}\n'

    async def fail(caller: Caller, _request: RawRequest) -> None:
        await gate.wait()
        fields = (b"content-type: application/json", b"retry-after: 0")
        await caller.send(whole(body, status, fields))

    upstream.play(fail)
    await crowd.join(30)
    gate.set()
    for answer in await crowd.answers():
        assert (answer.status, answer.body) == (int(status[:3]), body)
        assert answer.header(b"retry-after") == b"0"
        assert b"stored" not in (answer.header(b"cache-status") or b"stored")
    assert len(upstream.requests) == 1
    assert (await crowd.ask_again()).body == body
    assert len(upstream.requests) == 2


async def test_an_upstream_that_hangs_up_is_one_error_for_all(
    upstream: ScriptedUpstream, api: Api, crowd: Crowd
) -> None:
    gate = asyncio.Event()

    async def hang_up(caller: Caller, _request: RawRequest) -> None:
        await gate.wait()
        caller.close()

    upstream.play(hang_up)
    await crowd.join(30)
    gate.set()
    answers = await crowd.answers()
    assert {answer.status for answer in answers} == {502}
    assert len({answer.body for answer in answers}) == 1
    error = json.loads(answers[0].body)["error"]
    assert "scripted" in error["message"]
    # A kept-alive connection that closes without a byte is tried once more on a new one.
    assert len(upstream.requests) in {1, 2}


async def test_what_differs_is_not_shared(upstream: ScriptedUpstream, node: NodeProcess) -> None:
    stream = GatedStream(CHAT_EVENTS)
    upstream.play(stream)
    number = next(_numbers)
    asked = [
        b'{"model": "m", "seed": %d, "stream": true, "temperature": 0}' % number,
        b'{"model": "m", "seed": %d, "stream": true, "temperature": 0.0}' % number,
        b'{"model": "m", "seed": %d, "stream": true, "temperature": 0, "new": null}' % number,
        b'{"model": "m", "seed": %d, "stream": true}' % number,
        b'{"model": "m", "seed": %d, "stream": true}' % number,
    ]
    clients = [await Client.connect(node.url) for _ in asked]
    for caller, body in zip(clients, asked, strict=True):
        await caller.send(post("/v1/chat/completions", body))
    async with asyncio.timeout(10):
        for _ in asked:
            await stream.started.acquire()
    for _ in asked:
        stream.let_all()
    answers = await asyncio.gather(*(caller.answer() for caller in clients))
    assert {answer.body for answer in answers} == {b"".join(CHAT_EVENTS)}
    assert stream.calls == len(asked)
    for caller in clients:
        await caller.close()


async def test_no_cache_asks_anew_while_a_call_is_in_flight(
    upstream: ScriptedUpstream, api: Api, crowd: Crowd, node: NodeProcess
) -> None:
    stream = GatedStream(api.events)
    upstream.play(stream)
    await crowd.join()
    await stream.started.acquire()
    async with client(node.url) as other:
        await other.send(post(api.path, crowd.body, b"cache-control: no-cache"))
        async with asyncio.timeout(10):
            await stream.started.acquire()
        stream.let_all()
        stream.let_all()
        answer = await other.answer()
        assert answer.header(b"cache-status") == b"fairlead; fwd=request; stored"
        assert answer.body == (await crowd.answers())[0].body == api.stream
    assert stream.calls == 2
