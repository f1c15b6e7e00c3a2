"""Errors and broken answers as the official SDKs tell them, through a node and directly."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest
import pytest_asyncio

from fairlead.gateway.simulated import SimulatedServer
from support.nodeprocess import NodeProcess
from support.sdk import Pair, fields, normal
from support.wire import ask, post

pytestmark = pytest.mark.asyncio(loop_scope="module")

USER: Any = [{"role": "user", "content": "hello"}]
# The Anthropic SDK leaves a connection that ends too early to its HTTP client.
BROKEN = (openai.APIError, anthropic.APIError, httpx2.RemoteProtocolError)
STATUSES = [400, 402, 404, 409, 413, 422, 429, 500, 503]


async def failure(call: Awaitable[Any]) -> Any:
    """Everything that the SDK's error tells; the call must fail."""
    with pytest.raises((openai.APIError, anthropic.APIError)) as caught:
        await call
    return described(caught.value)


def described(error: Exception) -> Any:
    assert isinstance(error, openai.APIError | anthropic.APIError)
    told = {"type": type(error).__name__, "text": str(error), "body": normal(error.body)}
    if isinstance(error, openai.APIError):
        told |= {"code": error.code, "param": error.param, "kind": error.type}
    if isinstance(error, openai.APIStatusError | anthropic.APIStatusError):
        told |= {"status": error.status_code, "headers": fields(error.response)}
        told["has_id"] = bool(error.request_id)
    return told


def chat(client: openai.AsyncOpenAI, *, stream: bool = False, **simulate: Any) -> Awaitable[Any]:
    return client.chat.completions.create(
        model="gpt-4", messages=USER, stream=stream, extra_headers=wishes(simulate)
    )


def message(
    client: anthropic.AsyncAnthropic, *, stream: bool = False, **simulate: Any
) -> Awaitable[Any]:
    return client.messages.create(
        model="claude", max_tokens=9, messages=USER, stream=stream, extra_headers=wishes(simulate)
    )


def wishes(simulate: dict[str, Any]) -> dict[str, str]:
    return {f"x-simulate-{name.replace('_', '-')}": str(simulate[name]) for name in simulate}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", STATUSES)
async def test_openai_statuses(
    openai_pair: Pair[openai.AsyncOpenAI], status: int, stream: bool
) -> None:
    told = await openai_pair.same(
        lambda client: failure(chat(client, stream=stream, status=status, retry_after=0))
    )
    assert told["status"] == status
    assert "Simulated error" in told["text"]
    assert told["headers"].get("retry-after") == ("0" if status in {429, 503, 529} else None)


async def test_an_overload_is_told_as_it_is_after_two_more_tries(
    anthropic_pair: Pair[anthropic.AsyncAnthropic],
) -> None:
    pair = anthropic_pair
    direct = await failure(message(pair.direct, status=529, retry_after=0))
    before = pair.asked
    through = await failure(message(pair.node, status=529, retry_after=0))

    assert normal(through) == normal(direct)
    assert pair.asked - before == 3


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", STATUSES)
async def test_anthropic_statuses(
    anthropic_pair: Pair[anthropic.AsyncAnthropic], status: int, stream: bool
) -> None:
    told = await anthropic_pair.same(
        lambda client: failure(message(client, stream=stream, status=status, retry_after=0))
    )
    assert told["status"] == status
    assert told["body"]["type"] == "error"
    assert told["has_id"]


async def test_what_the_upstream_refuses(
    openai_pair: Pair[openai.AsyncOpenAI], anthropic_pair: Pair[anthropic.AsyncAnthropic]
) -> None:
    async def of_openai(client: openai.AsyncOpenAI) -> Any:
        return [
            await failure(client.chat.completions.create(model="m", messages=[])),
            await failure(client.models.retrieve("unknown")),
            await failure(client.responses.retrieve("resp_0")),
            await failure(client.files.list()),
            await failure(client.responses.create(model="m", input="x", background=True)),
        ]

    async def of_anthropic(client: anthropic.AsyncAnthropic) -> Any:
        return [
            await failure(client.messages.create(model="m", max_tokens=9, messages=[])),
            await failure(client.models.retrieve("unknown")),
            await failure(client.messages.batches.retrieve("msgbatch_0")),
        ]

    refused = await openai_pair.same(of_openai)
    assert [told["status"] for told in refused] == [400, 404, 404, 404, 400]
    refused = await anthropic_pair.same(of_anthropic)
    assert [told["status"] for told in refused] == [400, 404, 404]


async def test_the_sdk_retries_as_it_would(openai_pair: Pair[openai.AsyncOpenAI]) -> None:
    async def scenario(client: openai.AsyncOpenAI) -> Any:
        patient = client.with_options(max_retries=1)
        return await failure(chat(patient, status=429, retry_after=0))

    asked = openai_pair.asked
    await openai_pair.same(scenario)
    assert openai_pair.asked == asked + 4


async def test_streams_that_break(
    openai_pair: Pair[openai.AsyncOpenAI], anthropic_pair: Pair[anthropic.AsyncAnthropic]
) -> None:
    """Directly the connection ends; the node ends the stream with the API's own error event."""

    async def taken(stream: Any) -> tuple[list[Any], Exception]:
        seen: list[Any] = []

        async def take() -> None:
            async for event in stream:
                seen.append(normal(event))  # noqa: PERF401 - what came before the break counts

        with pytest.raises(BROKEN) as caught:
            await take()
        return seen, caught.value

    direct, _ = await taken(await chat(openai_pair.direct, stream=True, break_after=5))
    through, error = await taken(await chat(openai_pair.node, stream=True, break_after=5))
    assert through == direct
    assert len(direct) == 5
    assert isinstance(error, openai.APIError)
    assert error.code == "upstream_broken"
    direct, _ = await taken(await message(anthropic_pair.direct, stream=True, break_after=5))
    through, error = await taken(await message(anthropic_pair.node, stream=True, break_after=5))
    assert through == direct
    assert isinstance(error, anthropic.APIStatusError)
    assert "api_error" in str(error.body)


async def test_plain_answers_that_break(
    openai_pair: Pair[openai.AsyncOpenAI], anthropic_pair: Pair[anthropic.AsyncAnthropic]
) -> None:
    broken = await openai_pair.same(lambda client: failure(chat(client, break_after=1)))
    assert broken["type"] == "APIConnectionError"
    broken = await anthropic_pair.same(lambda client: failure(message(client, break_after=1)))
    assert broken["type"] == "APIConnectionError"


CREDENTIALS = """
[server]
shutdown_timeout = 2

[[upstreams]]
name = "ours"
shape = "simulated"
base_url = "{url}"
models = ["ours"]
key_env = "UPSTREAM_KEY"

[[upstreams]]
name = "theirs"
shape = "simulated"
base_url = "{url}"
models = ["theirs"]
credentials = "caller"

[[upstreams]]
name = "away"
shape = "simulated"
base_url = "http://127.0.0.1:1"
models = ["away"]
"""


@pytest.fixture(scope="module")
def keyed_node(
    simulated: SimulatedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeProcess]:
    folder = tmp_path_factory.mktemp("keyed")
    config = CREDENTIALS.format(url=simulated.url)
    with NodeProcess(folder, config, UPSTREAM_KEY="sk-of-the-node") as started:
        yield started


Asker = Callable[..., Awaitable[Any]]


@pytest_asyncio.fixture(loop_scope="module", params=["openai", "anthropic"])
async def asker(request: pytest.FixtureRequest, keyed_node: NodeProcess) -> AsyncIterator[Asker]:
    """`asker(model, headers)` fails; what the SDK tells of it."""
    options: Any = {"api_key": "of-the-caller", "max_retries": 0, "timeout": 10}
    if request.param == "openai":
        async with openai.AsyncOpenAI(base_url=f"{keyed_node.url}/v1", **options) as one:
            yield lambda model, **wanted: failure(
                one.chat.completions.create(
                    model=model, messages=USER, extra_headers=wishes(wanted)
                )
            )
    else:
        async with anthropic.AsyncAnthropic(base_url=keyed_node.url, **options) as other:
            yield lambda model, **wanted: failure(
                other.messages.create(
                    model=model, max_tokens=9, messages=USER, extra_headers=wishes(wanted)
                )
            )


async def test_a_dead_key_of_ours_is_not_the_callers_fault(asker: Asker) -> None:
    told = await asker("ours", status=401)
    assert told["status"] == 502
    assert "ours" in told["text"]
    assert "sk-of-the-node" not in str(told)


async def test_a_dead_key_of_the_callers_is_told_as_it_is(asker: Asker) -> None:
    told = await asker("theirs", status=401)
    assert (told["type"], told["status"]) == ("AuthenticationError", 401)
    assert "Simulated error 401" in told["text"]


async def test_an_upstream_that_is_away_is_named(asker: Asker) -> None:
    told = await asker("away")
    assert told["status"] == 502
    assert "away" in told["text"]


async def test_an_unknown_model_lists_the_known_ones(asker: Asker) -> None:
    told = await asker("gpt-unheard-of")
    assert (told["type"], told["status"]) == ("NotFoundError", 404)
    for name in ("gpt-unheard-of", "ours", "theirs", "away"):
        assert name in told["text"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_errors_of_the_node_have_the_apis_own_shape(
    keyed_node: NodeProcess, path: str
) -> None:
    answer = await ask(keyed_node.url, post(path, b"{not JSON", b"x-request-id: mine"))
    error = json.loads(answer.body)
    assert (answer.status, answer.header(b"x-request-id")) == (400, b"mine")
    assert error["error"]["type"] == "invalid_request_error"
    assert (error.get("type") == "error") == (path == "/v1/messages")
