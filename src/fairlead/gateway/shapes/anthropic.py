"""The Anthropic shape: messages, token counts, models."""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.gateway.shapes.base import Usage, ends_events, events, last_event, tokens

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class _Answer(msgspec.Struct):
    type: Any = None
    usage: Any = None
    message: Any = None


_decode = msgspec.json.Decoder(_Answer).decode


def _read(data: bytes) -> _Answer | None:
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None  # not an object in JSON: nothing of it is known


def _figures(usage: object) -> Usage:
    if not isinstance(usage, dict):
        return Usage()
    parts = [
        tokens(usage.get(field))
        for field in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    ]
    known = [part for part in parts if part is not None]
    return Usage(sum(known) if known else None, tokens(usage.get("output_tokens")))


class Anthropic:
    """Every path of the Anthropic API."""

    name = "anthropic"
    family = "anthropic"

    def error_status(self, status: int) -> int:
        """An overloaded server is 529 here; all else is the same."""
        return 529 if status == 503 else status

    def error_body(self, status: int, message: str, param: str | None, code: str | None) -> bytes:
        """`{"type": "error", "error": {type, message}}`; the field and the code are in the text."""
        fallback = "api_error" if status >= 500 else "invalid_request_error"
        error = {"type": _TYPES.get(status, fallback), "message": message}
        return msgspec.json.encode({"type": "error", "error": error})

    def stream_error(self, message: str, code: str, sent: bytes) -> bytes:
        """An `error` event, which may come anywhere in a stream."""
        body = {"type": "error", "error": {"type": "api_error", "message": message}}
        gap = b"" if ends_events(sent) else b"\n\n"
        return gap + b"event: error\ndata: " + msgspec.json.encode(body) + b"\n\n"

    def is_complete(self, body: bytes, *, stream: bool) -> bool:
        """A stream ends with `message_stop` and has no error event; a plain answer is no error."""
        if stream:
            # JSON cannot hold a raw newline, so this finds events, never text inside one.
            failed = b"\nevent: error" in body or body.startswith(b"event: error")
            return last_event(body)[0] == b"message_stop" and not failed
        answer = _read(body)
        return answer is not None and answer.type != "error"

    def usage(self, body: bytes, *, stream: bool) -> Usage:
        """Of the message; in a stream the start's input and the last delta's output."""
        if not stream:
            answer = _read(body)
            return _figures(answer.usage) if answer else Usage()
        found = Usage()
        for _, data in events(body):
            if b'"usage"' not in data or (answer := _read(data)) is None:
                continue
            message = answer.message if isinstance(answer.message, dict) else {}
            new = _figures(answer.usage or message.get("usage"))
            found = Usage(
                found.input_tokens if new.input_tokens is None else new.input_tokens,
                found.output_tokens if new.output_tokens is None else new.output_tokens,
            )
        return found
