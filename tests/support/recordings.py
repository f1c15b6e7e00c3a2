"""Answers of model APIs as they look on the wire, with the oddities that servers really have.

Written down after the APIs' documentation and the habits of servers and proxies before them: odd
pieces, CRLF line ends, comments, unknown events and fields, compression, repeated header fields.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from support.scripted import chunk


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange: what is asked, and what the upstream sends."""

    name: str
    path: str
    body: bytes = b"{}"
    method: str = "POST"
    status: bytes = b"200 OK"
    fields: tuple[bytes, ...] = ()
    """The answer's header lines, without those of the framing."""
    answer: bytes = b""
    framing: str = "length"
    """`length`, `chunked`, or `close` (the body ends with the connection)."""
    step: int = 65_536
    """Bytes in one piece of the answer's body."""

    def packets(self) -> tuple[bytes, ...]:
        """The answer in the pieces in which it is sent."""
        fields = list(self.fields)
        if self.framing == "length":
            fields.append(b"Content-Length: %d" % len(self.answer))
        elif self.framing == "chunked":
            fields.append(b"Transfer-Encoding: chunked")
        else:
            fields.append(b"Connection: close")
        head = b"\r\n".join([b"HTTP/1.1 " + self.status, *fields]) + b"\r\n\r\n"
        pieces = list(_pieces(self.answer, self.step))
        if self.framing == "chunked":
            pieces = [*map(chunk, pieces), chunk(b"")]
        return (head, *pieces)


def _pieces(data: bytes, step: int) -> Iterator[bytes]:
    for start in range(0, len(data), step):
        yield data[start : start + step]


def events(*data: dict[str, Any], end: bytes = b"\n\n", named: bool = True) -> list[bytes]:
    """Server-sent events, each with its `type` as its name where `named`."""
    gap = end[: len(end) // 2]
    return [
        (b"event: " + item["type"].encode() + gap if named else b"")
        + (b"data: " + json.dumps(item).encode() + end)
        for item in data
    ]


def _delta(index: int, **delta: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def _start(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def _stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


_MESSAGE: dict[str, Any] = {
    "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
    "type": "message",
    "role": "assistant",
    "content": [],
    "model": "claude-opus-4-5",
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 472, "cache_read_input_tokens": 4096, "output_tokens": 2},
}
MESSAGES_EVENTS = events(
    {"type": "message_start", "message": _MESSAGE},
    _start(0, type="thinking", thinking="", signature=""),
    {"type": "ping"},
    _delta(0, type="thinking_delta", thinking="Größe, 思考, \u2028 and \U0001f914"),
    _delta(0, type="signature_delta", signature="EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk"),
    _stop(0),
    _start(1, type="text", text=""),
    _delta(1, type="text_delta", text="event: error\ndata: only text"),
    {"type": "vendor_extension", "unknown": {"nested": [1, 2.50, None]}},
    _stop(1),
    _start(2, type="tool_use", id="toolu_01T1x1fJ34qAmk2tNTrN7Up6", name="edit", input={}),
    _delta(2, type="input_json_delta", partial_json=""),
    _delta(2, type="input_json_delta", partial_json='{"path": "a.py", "te'),
    _delta(2, type="input_json_delta", partial_json='xt": "x"}'),
    _stop(2),
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 89},
    },
    {"type": "message_stop"},
)


def _chat(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {"id": "chatcmpl-9", "object": "chat.completion.chunk", "choices": [choice]}


def _tool(**function: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}


_CHAT = (
    _chat({"role": "assistant", "content": ""}),
    _chat({"content": "Grüße \U0001f44b"}),
    _chat(_tool(name="read", arguments="")),
    _chat(_tool(arguments='{"path": ')),
    _chat(_tool(arguments='"a.py"}')),
    _chat({}, "tool_calls"),
    {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}},
)
CHAT_EVENTS = [*events(*_CHAT, named=False), b"data: [DONE]\n\n"]
_CHAT_CRLF = [
    b": OPENROUTER PROCESSING\r\n\r\n",
    *events(*_CHAT, end=b"\r\n\r\n", named=False),
    b"data: [DONE]\r\n\r\n",
]

_RESPONSE = {"id": "resp_1", "object": "response", "status": "in_progress", "output": []}
_TEXT = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
RESPONSES_EVENTS = events(
    {"type": "response.created", "sequence_number": 0, "response": _RESPONSE},
    {
        "type": "response.reasoning_summary_text.delta",
        "sequence_number": 1,
        "item_id": "rs_1",
        "delta": "Hm",
    },
    {"type": "response.output_text.delta", "sequence_number": 2, **_TEXT, "delta": "Hello"},
    {"type": "response.output_text.done", "sequence_number": 3, **_TEXT, "text": "Hello"},
    {
        "type": "response.completed",
        "sequence_number": 4,
        "response": {
            **_RESPONSE,
            "status": "completed",
            "usage": {"input_tokens": 7, "output_tokens": 1, "total_tokens": 8},
        },
    },
)

MESSAGES_BODY = b'{"model": "claude-opus-4-5", "max_tokens": 99, "messages": [], "stream": true}'
CHAT_BODY = b'{"model": "gpt-4o", "messages": [], "stream": true}'
RESPONSES_BODY = b'{"model": "gpt-5", "input": "hello", "stream": true}'

_EVENTS = b"content-type: text/event-stream; charset=utf-8"
_JSON = b"content-type: application/json"
_LIMITS = (
    b"request-id: req_018EeWyXxfu5pfWkrYcMdjWG",
    b"anthropic-ratelimit-requests-limit: 1000",
    b"anthropic-ratelimit-requests-remaining: 999",
    b"anthropic-ratelimit-tokens-reset: 2026-01-01T00:00:00Z",
    b"anthropic-organization-id: 9c1f2b6e",
    b"CF-RAY: 8f-FRA",
    b"via: 1.1 google",
)
_MESSAGE_JSON = json.dumps(_MESSAGE, indent=1).encode()
_CHAT_JSON = b'{"id":"chatcmpl-1","choices":[],"usage":{"total_tokens":3},\n "extra" : 1.10 }'
_VECTORS = b'{"object":"list","data":[%s]}' % b",".join(
    b"[%d.125,-0.0]" % n for n in range(160_000)
)


def _overloaded(kind: str) -> bytes:
    error = {"type": kind, "message": "Overloaded"}
    return json.dumps({"type": "error", "error": error, "request_id": "req_1"}).encode()


def _stream(name: str, path: str, body: bytes, parts: Sequence[bytes], **more: Any) -> Recording:
    more = {"framing": "chunked", "fields": (_EVENTS, b"cache-control: no-cache"), **more}
    return Recording(name=name, path=path, body=body, answer=b"".join(parts), **more)


_MESSAGES = "/v1/messages?beta=true"
_COMPLETIONS = "/v1/chat/completions"
RECORDINGS = (
    _stream("messages-odd-pieces", _MESSAGES, MESSAGES_BODY, MESSAGES_EVENTS, step=7),
    _stream("messages-one-piece", _MESSAGES, MESSAGES_BODY, MESSAGES_EVENTS),
    _stream(
        "messages-error-event",
        _MESSAGES,
        MESSAGES_BODY,
        [*MESSAGES_EVENTS[:4], b"event: error\ndata: " + _overloaded("overloaded_error") + b"\n\n"],
    ),
    _stream("chat-crlf-and-comments", _COMPLETIONS, CHAT_BODY, _CHAT_CRLF, step=11),
    _stream("chat-byte-by-byte", _COMPLETIONS, CHAT_BODY, CHAT_EVENTS[-4:], step=1),
    _stream("chat-until-close", _COMPLETIONS, CHAT_BODY, CHAT_EVENTS, framing="close"),
    _stream("responses-typed-events", "/v1/responses", RESPONSES_BODY, RESPONSES_EVENTS, step=23),
    _stream(
        "stream-gzip",
        _COMPLETIONS,
        CHAT_BODY,
        [gzip.compress(b"".join(CHAT_EVENTS), mtime=0)],
        fields=(_EVENTS, b"Content-Encoding: gzip", b"Vary: accept-encoding"),
        step=13,
    ),
    Recording(
        name="messages-json",
        path=_MESSAGES,
        body=MESSAGES_BODY,
        fields=(_JSON, *_LIMITS),
        answer=_MESSAGE_JSON,
    ),
    Recording(
        name="chat-json-gzip",
        path=_COMPLETIONS,
        body=CHAT_BODY,
        fields=(_JSON, b"content-encoding: gzip", b"x-ratelimit-remaining-tokens: 149984"),
        answer=gzip.compress(_CHAT_JSON, mtime=0),
    ),
    Recording(
        name="chat-unknown-coding",
        path=_COMPLETIONS,
        body=CHAT_BODY,
        fields=(_JSON, b"content-encoding: br"),
        answer=bytes(range(256)),
    ),
    Recording(
        name="repeated-and-odd-fields",
        path=_COMPLETIONS,
        body=CHAT_BODY,
        fields=(
            _JSON,
            b"Set-Cookie: __cf_bm=1; HttpOnly",
            b"Set-Cookie: _cfuvid=2",
            b"X-Unknown: one",
            b"x-unknown: two",
            b"X-Latin: caf\xe9",
            b"X-Empty: ",
            b"X-Spaces: a  b\tc",
            b"Keep-Alive: timeout=5",
        ),
        answer=_CHAT_JSON,
        framing="chunked",
        step=9,
    ),
    Recording(
        name="embeddings-2-mb",
        path="/v1/embeddings",
        body=CHAT_BODY,
        fields=(_JSON,),
        answer=_VECTORS,
    ),
    Recording(
        name="messages-529",
        path=_MESSAGES,
        body=MESSAGES_BODY,
        status=b"529 Overloaded",
        fields=(_JSON, b"retry-after: 0", b"x-should-retry: true", *_LIMITS),
        answer=_overloaded("overloaded_error"),
    ),
    Recording(
        name="chat-429",
        path=_COMPLETIONS,
        body=CHAT_BODY,
        status=b"429 Too Many Requests",
        fields=(
            _JSON,
            b"retry-after-ms: 1500",
            b"retry-after: 0",
            b"x-ratelimit-reset-tokens: 6m0s",
        ),
        answer=b'{"error": {"message": "Rate limit reached", "type": "tokens", "code": null}}\n',
    ),
    Recording(
        name="bad-gateway-page",
        path=_COMPLETIONS,
        body=CHAT_BODY,
        status=b"502 Bad Gateway",
        fields=(b"content-type: text/html", b"Server: cloudflare"),
        answer=b"<html>\r\n<h1>502 Bad Gateway</h1>\r\n</html>\r\n",
        framing="close",
    ),
    Recording(
        name="redirect-is-the-clients",
        path="/v1/files/1/content",
        method="GET",
        body=b"",
        status=b"307 Temporary Redirect",
        fields=(b"location: http://127.0.0.1:1/elsewhere",),
    ),
    Recording(
        name="binary-through-a-path-nobody-knows",
        path="/v1/audio/speech?format=raw",
        body=b"\x00\xff not JSON",
        fields=(b"content-type: audio/pcm",),
        answer=bytes(range(256)) * 64,
        framing="chunked",
        step=1000,
    ),
    Recording(
        name="no-content", path="/v1/files/1", method="DELETE", body=b"", status=b"204 No Content"
    ),
    Recording(
        name="not-json-at-all", path=_COMPLETIONS, body=CHAT_BODY, fields=(_JSON,), answer=b'{"half'
    ),
)
"""Every exchange; the names are unique."""
