"""The Anthropic shape: messages, token counts, models."""

from __future__ import annotations

import msgspec

from fairlead.gateway.shapes.base import (
    Reading,
    Usage,
    ends_events,
    events,
    read_answer,
    tokens,
    usage_in_fragment,
)

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

    def read(self, body: bytes, *, stream: bool) -> Reading:
        """A stream ends with `message_stop` and has no error event; a plain answer is no error."""
        if stream:
            return self._read_stream(body)
        answer = read_answer(body)
        if answer is None:
            return Reading(complete=False, usage=_figures(usage_in_fragment(body)))
        failed = answer.type == "error" or answer.error is not None
        return Reading(complete=not failed, usage=_figures(answer.usage))

    def _read_stream(self, body: bytes) -> Reading:
        """The start's input figures and the last delta's output."""
        usage, failed, last = Usage(), False, b""
        for kind, data in events(body):
            last = kind
            failed = failed or kind == b"error"
            if b'"usage"' in data and (answer := read_answer(data)) is not None:
                message = answer.message if isinstance(answer.message, dict) else {}
                usage = _later(usage, _figures(answer.usage or message.get("usage")))
        return Reading(complete=last == b"message_stop" and not failed, usage=usage)


def _later(before: Usage, after: Usage) -> Usage:
    """What is known after an event: its own figures where it has any."""
    return Usage(
        before.input_tokens if after.input_tokens is None else after.input_tokens,
        before.output_tokens if after.output_tokens is None else after.output_tokens,
    )
