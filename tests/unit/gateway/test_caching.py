"""What of an answer is kept."""

from __future__ import annotations

import gzip
import zlib

import pytest
import zstandard

from fairlead.gateway.base import StoredResponse
from fairlead.gateway.caching import (
    content_coding,
    is_event_stream,
    is_per_answer,
    keep,
)
from fairlead.gateway.headers import HOP_BY_HOP
from fairlead.gateway.legs.base import Headers
from fairlead.gateway.shapes import ANTHROPIC, OPENAI, OPENAI_RESPONSES, Shape
from support.gateway import EVENTS, JSON

CHAT = b'{"choices":[],"usage":{"prompt_tokens":30,"completion_tokens":12}}'
STREAM = b'data: {"choices":[]}\n\ndata: [DONE]\n\n'


def kept(
    body: bytes, headers: Headers | None = None, status: int = 200, shape: Shape = OPENAI
) -> StoredResponse | str:
    return keep(status, JSON if headers is None else headers, body, shape, 1000.0)


def test_a_whole_answer_is_kept_as_it_is() -> None:
    stored = kept(CHAT)

    assert stored == StoredResponse(200, JSON, CHAT, 1000.0, 42)


def test_without_figures_tokens_are_estimated() -> None:
    stored = kept(b'{"data":"' + b"x" * 400 + b'"}')

    assert isinstance(stored, StoredResponse)
    assert stored.tokens == 102


@pytest.mark.parametrize("status", [201, 204, 206, 301, 400, 401, 404, 429, 500, 503, 529])
def test_only_200_is_kept(status: int) -> None:
    assert kept(CHAT, status=status) == "status"


@pytest.mark.parametrize("shape", [OPENAI, OPENAI_RESPONSES, ANTHROPIC], ids=lambda s: s.name)
@pytest.mark.parametrize("headers", [JSON, EVENTS], ids=["plain", "stream"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"error":{"message":"x"},"type":"error"}',
        b'data: {"choices":[]}\n\n',
        b'event: message_start\ndata: {"type":"message_start"}\n\n',
        b'event: response.created\ndata: {"type":"response.created"}\n\n',
        b'event: error\ndata: {"type":"error"}\n\n',
    ],
)
def test_what_is_incomplete_or_an_error_is_not_kept(
    shape: Shape, headers: Headers, body: bytes
) -> None:
    assert kept(body, headers, shape=shape) == "incomplete"


def test_a_plain_answer_to_a_streaming_request_is_judged_as_what_it_is() -> None:
    assert isinstance(kept(CHAT, JSON), StoredResponse)
    assert kept(CHAT, EVENTS) == "incomplete"
    assert isinstance(kept(STREAM, EVENTS), StoredResponse)
    assert kept(STREAM, JSON) == "incomplete"


@pytest.mark.parametrize(
    ("coding", "encode"),
    [(b"gzip", gzip.compress), (b"deflate", zlib.compress), (b"ZSTD ", zstandard.compress)],
)
def test_a_compressed_answer_is_judged_decoded_and_kept_encoded(coding: bytes, encode) -> None:  # type: ignore[no-untyped-def]  # three libraries' functions
    headers = [*JSON, (b"content-encoding", coding)]
    stored = kept(encode(CHAT), headers)

    assert isinstance(stored, StoredResponse)
    assert (stored.body, stored.headers, stored.tokens) == (encode(CHAT), headers, 42)
    assert kept(encode(b'{"error":{}}'), headers) == "incomplete"
    assert kept(CHAT, headers) == "coding"
    assert kept(encode(CHAT)[:-5], headers) == "coding"


@pytest.mark.parametrize("coding", [b"br", b"gzip, gzip", b"x"])
def test_what_cannot_be_judged_is_not_kept(coding: bytes) -> None:
    assert kept(CHAT, [*JSON, (b"content-encoding", coding)]) == "coding"


def test_what_belongs_to_one_answer_is_not_kept() -> None:
    own: Headers = [
        (b"date", b"x"),
        (b"content-length", b"5"),
        (b"set-cookie", b"a=1"),
        (b"x-request-id", b"1"),
        (b"age", b"3"),
        (b"retry-after", b"3"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"close"),
        (b"x-ratelimit-remaining-requests", b"1"),
        (b"anthropic-ratelimit-tokens-remaining", b"1"),
    ]
    general: Headers = [(b"content-type", b"application/json"), (b"openai-version", b"1")]
    general += [(b"x-unknown", b"1"), (b"x-unknown", b"2")]
    stored = kept(CHAT, own + general)

    assert isinstance(stored, StoredResponse)
    assert stored.headers == general
    assert all(is_per_answer(name) or name in HOP_BY_HOP for name, _ in own)
    assert not any(is_per_answer(name) for name, _ in general)


def test_a_request_id_is_of_one_answer_in_both_apis() -> None:
    assert is_per_answer(b"x-request-id")
    assert is_per_answer(b"request-id")


def test_what_a_connection_field_names_is_not_kept() -> None:
    stored = kept(CHAT, [*JSON, (b"connection", b"x-hop"), (b"x-hop", b"1")])

    assert isinstance(stored, StoredResponse)
    assert stored.headers == JSON


@pytest.mark.parametrize(
    ("value", "stream"),
    [
        (b"text/event-stream", True),
        (b"Text/Event-Stream; charset=utf-8", True),
        (b"application/json", False),
        (b"", False),
    ],
)
def test_event_streams_are_known_by_their_type(value: bytes, stream: bool) -> None:
    assert is_event_stream([(b"x", b"y"), (b"content-type", value)]) == stream
    assert not is_event_stream([])


def test_the_coding_is_read_in_lower_case() -> None:
    assert content_coding([(b"content-encoding", b" GZip ")]) == "gzip"
    assert content_coding([]) == ""
