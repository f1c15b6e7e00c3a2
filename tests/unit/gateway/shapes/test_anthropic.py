"""Anthropic's shape: errors its own client reads, ends it would accept, usage where it puts it."""

from __future__ import annotations

import json

import anthropic
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.shapes import ANTHROPIC
from fairlead.gateway.shapes.base import Usage


def event(kind: str, **fields: object) -> bytes:
    data = json.dumps({"type": kind, **fields}).encode()
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


MESSAGE: dict[str, object] = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {
        "input_tokens": 10,
        "cache_creation_input_tokens": 20,
        "cache_read_input_tokens": 30,
        "output_tokens": 1,
    },
}
BEGUN = (
    event("message_start", message=MESSAGE)
    + event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    + event("ping")
    + event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hello"})
)
ENDED = (
    event("content_block_stop", index=0)
    + event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 9})
    + event("message_stop")
)
ERROR = event("error", error={"type": "overloaded_error", "message": "Overloaded"})


def client(body: bytes, status: int = 200, kind: str = "text/event-stream") -> anthropic.Anthropic:
    answer = httpx2.Response(status, content=body, headers={"content-type": kind})
    return anthropic.Anthropic(
        api_key="sk-x",
        base_url="http://node",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(lambda _: answer)),
    )


@pytest.mark.parametrize(
    ("status", "answered", "kind"),
    [
        (400, 400, "invalid_request_error"),
        (404, 404, "not_found_error"),
        (413, 413, "request_too_large"),
        (429, 429, "rate_limit_error"),
        (502, 502, "api_error"),
        (503, 529, "overloaded_error"),
        (504, 504, "timeout_error"),
    ],
)
def test_the_official_client_reads_our_errors(status: int, answered: int, kind: str) -> None:
    own = ANTHROPIC.error_status(status)
    body = ANTHROPIC.error_body(own, 'it is "so"\n', "model", "code")
    with (
        client(body, own, "application/json") as sdk,
        pytest.raises(anthropic.APIStatusError) as caught,
    ):
        sdk.models.list()

    assert caught.value.status_code == answered
    assert caught.value.body == {
        "type": "error",
        "error": {"type": kind, "message": 'it is "so"\n'},
    }


def test_the_official_client_reads_the_end_of_a_broken_stream() -> None:
    body = BEGUN + ANTHROPIC.stream_error("upstream 'x': gone", "upstream_broken", BEGUN)
    seen: list[str] = []
    with client(body) as sdk:
        parts = sdk.messages.create(model="m", max_tokens=5, messages=[], stream=True)
        with pytest.raises(anthropic.APIStatusError, match="gone"):
            seen.extend(part.type for part in parts)

    assert seen[:2] == ["message_start", "content_block_start"]
    assert seen[-1] == "content_block_delta"


def test_an_error_event_begins_a_line_of_its_own() -> None:
    whole = event("ping")

    assert ANTHROPIC.stream_error("m", "c", whole).startswith(b"event: error\n")
    for cut in range(1, len(whole)):
        assert ANTHROPIC.stream_error("m", "c", whole[:cut]).startswith(b"\n\nevent: error\n")


@pytest.mark.parametrize(
    ("body", "whole"),
    [
        (BEGUN + ENDED, True),
        ((BEGUN + ENDED).replace(b"\n", b"\r\n"), True),
        (BEGUN + ENDED + b": bye\n\n", True),
        (BEGUN, False),
        (BEGUN + ENDED[:-60], False),
        (BEGUN + ERROR, False),
        (BEGUN + ERROR + ENDED, False),
        (BEGUN + ERROR.replace(b"event: ", b"event:") + ENDED, False),
        (BEGUN + ERROR.replace(b"\n", b"\r\n") + ENDED, False),
        (ERROR, False),
        (b"", False),
    ],
)
def test_a_stream_is_whole_with_its_last_event_and_no_error(body: bytes, whole: bool) -> None:
    assert ANTHROPIC.read(body, stream=True).complete == whole


def test_text_that_speaks_of_errors_is_no_error() -> None:
    text = {"type": "text_delta", "text": "write:\nevent: error\ndata: {}\n\n"}
    body = BEGUN + event("content_block_delta", index=0, delta=text) + ENDED

    assert ANTHROPIC.read(body, stream=True).complete


@pytest.mark.parametrize(
    ("body", "whole"),
    [
        (json.dumps(MESSAGE).encode(), True),
        (b'{"input_tokens":12}', True),
        (b'{"type":"error","error":{"type":"api_error","message":"x"}}', False),
        (b'{"type":"message"', False),
        (b"[]", False),
        (b"\xff\xff", False),
        (b"", False),
        (b'{"x":' + b"[" * 50_000, False),
    ],
)
def test_a_plain_answer_is_whole_when_it_is_no_error(body: bytes, whole: bool) -> None:
    assert ANTHROPIC.read(body, stream=False).complete == whole


def test_usage_counts_what_was_read_from_and_written_to_the_prompt_cache() -> None:
    assert ANTHROPIC.read(json.dumps(MESSAGE).encode(), stream=False).usage == Usage(60, 1)
    assert ANTHROPIC.read(BEGUN + ENDED, stream=True).usage == Usage(60, 9)
    assert ANTHROPIC.read(BEGUN, stream=True).usage == Usage(60, 1)
    assert ANTHROPIC.read(b'{"input_tokens":12}', stream=False).usage == Usage()


def test_the_last_figures_of_a_stream_count() -> None:
    late = event("message_delta", delta={}, usage={"input_tokens": 70, "output_tokens": 9})

    assert ANTHROPIC.read(BEGUN + late, stream=True).usage == Usage(70, 9)


@pytest.mark.parametrize("usage", [None, [], "x", {"input_tokens": -1, "output_tokens": "2"}])
def test_figures_that_cannot_be_are_not_known(usage: object) -> None:
    plain = json.dumps({"type": "message", "usage": usage, "message": "x"}).encode()
    streamed = event("message_start", message={"usage": usage}) + event("x", usage=usage)

    assert ANTHROPIC.read(plain, stream=False).usage == Usage()
    assert ANTHROPIC.read(streamed, stream=True).usage == Usage()


@given(body=st.binary(max_size=80), stream=st.booleans())
def test_garbage_tells_nothing(body: bytes, stream: bool) -> None:
    assert not ANTHROPIC.read(b"\x00" + body, stream=stream).complete or stream
    assert ANTHROPIC.read(body, stream=stream).usage == Usage()
    assert ANTHROPIC.stream_error("m", "c", body).endswith(b"\n\n")
