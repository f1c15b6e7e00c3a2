"""One list of models over several upstreams."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Sequence

import pytest

from fairlead.errors import UpstreamBrokenError, UpstreamError, UpstreamUnreachableError
from fairlead.gateway.base import Upstream
from fairlead.gateway.catalogue import MAX_LIST, merged_models, needs_merging
from fairlead.gateway.legs.base import LegReply, LegRequest
from fairlead.gateway.stream import Answer
from support.gateway import JSON, ScriptedLeg, ScriptedReply, make_upstream, turns

REQUEST = LegRequest(b"GET", b"/v1/models", [], b"")


async def send(upstream: Upstream) -> LegReply:
    return await upstream.leg.send(REQUEST)


def listing(*names: str, **fields: object) -> bytes:
    return json.dumps({"object": "list", "data": [{"id": n, **fields} for n in names]}).encode()


def serving(reaction: ScriptedReply | UpstreamError, *models: str, name: str = "up") -> Upstream:
    return make_upstream(ScriptedLeg(reaction), name=name, models=models or ("*",))


async def merged(upstreams: Sequence[Upstream], family: str = "openai") -> dict[str, object]:
    answer = await merged_models(upstreams, send, family)
    assert answer.reply.status == 200
    assert answer.reply.headers == JSON
    content = json.loads(answer.reply.read_nowait())
    assert isinstance(content, dict)
    return content


async def test_models_of_all_upstreams_each_once_first_come_first_listed() -> None:
    one = serving(ScriptedReply(body=listing("a", "b", owned_by="one")), name="one")
    two = serving(ScriptedReply(body=listing("b", "c", owned_by="two")), name="two")

    content = await merged([one, two])

    assert content["object"] == "list"
    owned = [("a", "one"), ("b", "one"), ("c", "two")]
    assert content["data"] == [{"id": model, "owned_by": owner} for model, owner in owned]


async def test_only_what_is_routed_to_an_upstream_is_listed() -> None:
    upstream = serving(ScriptedReply(body=listing("qwen-1", "llama", "gpt-x")), "qwen-*", "gpt-*")

    content = await merged([upstream])

    assert content["data"] == [{"id": "qwen-1"}, {"id": "gpt-x"}]


async def test_the_anthropic_form() -> None:
    upstreams = [serving(ScriptedReply(body=listing(name))) for name in ("claude-1", "claude-2")]

    content = await merged(upstreams, "anthropic")

    assert content == {
        "data": [{"id": "claude-1"}, {"id": "claude-2"}],
        "has_more": False,
        "first_id": "claude-1",
        "last_id": "claude-2",
    }
    empty = await merged([serving(ScriptedReply(body=listing()))] * 2, "anthropic")
    assert (empty["data"], empty["first_id"], empty["last_id"]) == ([], None, None)


async def test_every_upstream_that_answered_is_named() -> None:
    upstreams = [serving(ScriptedReply(body=listing("m")), name=name) for name in ("one", "two")]

    answer: Answer = await merged_models(upstreams, send, "openai")

    assert answer.upstream == "one,two"


@pytest.mark.parametrize(
    "failure",
    [
        UpstreamUnreachableError("up"),
        ScriptedReply(status=500, body=b"boom"),
        ScriptedReply(body=b"{}"),
        ScriptedReply(body=b"[]"),
        ScriptedReply(body=b'{"data": {"id": "x"}}'),
        ScriptedReply(body=b'{"data": 1}'),
        ScriptedReply(body=b'{"data": [{"name": "x"}]}'),
        ScriptedReply(body=b'{"data": ["x"]}'),
        ScriptedReply(body=b'{"data": null}'),
        ScriptedReply(body=b"\xff"),
        ScriptedReply(body=b"<html>"),
        ScriptedReply(body=b"[" * 100_000),
        ScriptedReply(headers=[(b"content-encoding", b"gzip")], body=b"not gzip"),
        ScriptedReply(headers=[(b"content-encoding", b"x")], body=listing("x")),
        ScriptedReply(body=b" " * (MAX_LIST + 1) + listing("x")),
    ],
    ids=range(15),
)
async def test_an_upstream_that_fails_is_left_out_and_if_alone_told(
    failure: ScriptedReply | UpstreamError,
) -> None:
    again = failure if isinstance(failure, UpstreamError) else _copy(failure)
    good = serving(ScriptedReply(body=listing("m")))
    bad = serving(failure, "none-of-these", "x*", name="up")

    assert (await merged([bad, good]))["data"] == [{"id": "m"}]
    if isinstance(again, ScriptedReply) and again.status != 200:
        return  # an only upstream's own error is told as it is, by the gateway's tests
    with pytest.raises(UpstreamError, match="'up'"):
        await merged([serving(again, name="up")])


def _copy(reply: ScriptedReply) -> ScriptedReply:
    return ScriptedReply(reply.status, reply.headers, b"".join(reply._pieces))


async def test_compressed_lists_are_read() -> None:
    coded = [(b"content-encoding", b"gzip")]
    upstream = serving(ScriptedReply(headers=coded, body=gzip.compress(listing("m"))))

    assert (await merged([upstream]))["data"] == [{"id": "m"}]


async def test_a_list_that_breaks_off_is_left_out() -> None:
    broken = ScriptedReply()
    broken.feed(b'{"data": [')
    broken.fail(UpstreamBrokenError("up"))
    good = serving(ScriptedReply(body=listing("m")))

    assert (await merged([serving(broken), good]))["data"] == [{"id": "m"}]
    assert broken.closed


async def test_a_fault_of_ours_is_not_hidden() -> None:
    async def faulty(upstream: Upstream) -> LegReply:
        if upstream.name == "two":
            raise KeyError("a bug")
        return ScriptedReply(body=listing("m"))

    upstreams = [serving(ScriptedReply(), name=name) for name in ("one", "two")]
    with pytest.raises(KeyError):
        await merged_models(upstreams, faulty, "openai")


async def test_cancelling_closes_every_call() -> None:
    replies = [ScriptedReply() for _ in range(3)]
    upstreams = [serving(reply) for reply in replies]
    task = asyncio.ensure_future(merged_models(upstreams, send, "openai"))
    await turns()
    task.cancel()
    await asyncio.wait([task], timeout=5)

    assert task.cancelled()
    assert all(reply.closed for reply in replies)


def test_one_upstream_that_serves_everything_speaks_for_itself() -> None:
    anything, some = serving(ScriptedReply()), serving(ScriptedReply(), "qwen*")

    assert not needs_merging([anything])
    assert needs_merging([some])
    assert needs_merging([anything, anything])
