"""The OpenAI shapes: chat completions (and whatever else lies under /v1), and responses."""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.gateway.shapes.base import Usage, ends_events, events, last_event, tokens

_TYPES = {429: "rate_limit_error", 401: "authentication_error", 403: "permission_error"}


class _Answer(msgspec.Struct):
    error: Any = None
    status: Any = None
    usage: Any = None
    response: Any = None


_decode = msgspec.json.Decoder(_Answer).decode


def _read(data: bytes) -> _Answer | None:
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None  # not an object in JSON: nothing of it is known


def _figures(usage: object) -> Usage:
    if not isinstance(usage, dict):
        return Usage()
    return Usage(
        tokens(usage.get("prompt_tokens", usage.get("input_tokens"))),
        tokens(usage.get("completion_tokens", usage.get("output_tokens"))),
    )


class OpenAI:
    """Chat completions, embeddings, models and every other path of the OpenAI API."""

    name = "openai"
    family = "openai"

    def error_status(self, status: int) -> int:
        """Our own statuses are OpenAI's."""
        return status

    def error_body(self, status: int, message: str, param: str | None, code: str | None) -> bytes:
        """`{"error": {message, type, param, code}}`."""
        fallback = "server_error" if status >= 500 else "invalid_request_error"
        error = {
            "message": message,
            "type": _TYPES.get(status, fallback),
            "param": param,
            "code": code,
        }
        return msgspec.json.encode({"error": error})

    def stream_error(self, message: str, code: str, sent: bytes) -> bytes:
        """A `data:` event with an error object, as OpenAI-compatible servers send it."""
        error = {"message": message, "type": "server_error", "param": None, "code": code}
        gap = b"" if ends_events(sent) else b"\n\n"
        return gap + b"data: " + msgspec.json.encode({"error": error}) + b"\n\n"

    def is_complete(self, body: bytes, *, stream: bool) -> bool:
        """A stream ends with `[DONE]` and has no error event; a plain answer has no error."""
        if stream:
            return last_event(body)[1] == b"[DONE]" and not _has_error_event(body)
        answer = _read(body)
        return answer is not None and answer.error is None

    def usage(self, body: bytes, *, stream: bool) -> Usage:
        """The `usage` object; in a stream the last one that is not null."""
        if not stream:
            answer = _read(body)
            return _figures(answer.usage) if answer else Usage()
        found = Usage()
        for _, data in events(body):
            if b'"usage"' in data and (answer := _read(data)) and isinstance(answer.usage, dict):
                found = _figures(answer.usage)
        return found


def _has_error_event(body: bytes) -> bool:
    # JSON cannot hold a raw newline, so this finds events, never text inside one.
    if b"\nevent: error" in body or body.startswith(b"event: error"):
        return True
    if b'data: {"error"' not in body and b'data:{"error"' not in body:
        return False
    return any((answer := _read(data)) and answer.error is not None for _, data in events(body))


class OpenAIResponses(OpenAI):
    """`/v1/responses`: typed events with sequence numbers."""

    name = "openai-responses"

    def stream_error(self, message: str, code: str, sent: bytes) -> bytes:
        """An `error` event with the next sequence number."""
        event = {
            "type": "error",
            "code": code,
            "message": message,
            "param": None,
            "sequence_number": _last_sequence_number(sent) + 1,
        }
        gap = b"" if ends_events(sent) else b"\n\n"
        return gap + b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"

    def is_complete(self, body: bytes, *, stream: bool) -> bool:
        """`response.completed` ends a whole stream; a plain answer has the status `completed`."""
        if stream:
            return last_event(body)[0] == b"response.completed" and not _has_error_event(body)
        answer = _read(body)
        return answer is not None and answer.error is None and answer.status == "completed"

    def usage(self, body: bytes, *, stream: bool) -> Usage:
        """Of the response object, which a stream's last event carries."""
        if not stream:
            return super().usage(body, stream=False)
        answer = _read(last_event(body)[1])
        response = answer.response if answer else None
        return _figures(response.get("usage")) if isinstance(response, dict) else Usage()


class _Numbered(msgspec.Struct):
    sequence_number: int = -1


_decode_number = msgspec.json.Decoder(_Numbered).decode


def _last_sequence_number(sent: bytes) -> int:
    number = -1
    for _, data in events(sent):
        try:
            number = max(number, _decode_number(data).sequence_number)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue  # a piece of an event at either end of what is known
    return number
