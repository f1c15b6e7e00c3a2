"""The OpenAI shapes: chat completions (and whatever else lies under /v1), and responses."""

from __future__ import annotations

import msgspec

from fairlead.gateway.shapes.base import (
    Answer,
    Reading,
    Usage,
    ends_events,
    events,
    read_answer,
    tokens,
    usage_in_fragment,
)

_TYPES = {429: "rate_limit_error", 401: "authentication_error", 403: "permission_error"}


def _figures(usage: object) -> Usage:
    if not isinstance(usage, dict):
        return Usage()
    return Usage(
        tokens(usage.get("prompt_tokens", usage.get("input_tokens"))),
        tokens(usage.get("completion_tokens", usage.get("output_tokens"))),
    )


def _is_error(answer: Answer) -> bool:
    # Some servers answer 200 with `{"object": "error"}`.
    return answer.error is not None or answer.object == "error" or answer.type == "error"


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

    def read(self, body: bytes, *, stream: bool) -> Reading:
        """A stream ends with `[DONE]` and has no error; its usage is the last that is not null."""
        return self._read_stream(body) if stream else self._read_plain(body)

    def _read_plain(self, body: bytes) -> Reading:
        answer = read_answer(body)
        if answer is None:
            return Reading(complete=False, usage=_figures(usage_in_fragment(body)))
        return Reading(complete=self._is_whole(answer), usage=_figures(answer.usage))

    def _is_whole(self, answer: Answer) -> bool:
        return not _is_error(answer)

    def _read_stream(self, body: bytes) -> Reading:
        usage, failed, last = Usage(), False, b""
        for kind, data in events(body):
            last = data
            failed = failed or kind == b"error"
            # In a text the quotes would be escaped: most events need not be decoded.
            if b'"error"' in data or b'"usage"' in data:
                answer = read_answer(data)
                if answer is not None:
                    failed = failed or _is_error(answer)
                    usage = _figures(answer.usage) if isinstance(answer.usage, dict) else usage
        return Reading(complete=last == b"[DONE]" and not failed, usage=usage)


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

    def _is_whole(self, answer: Answer) -> bool:
        return not _is_error(answer) and answer.status == "completed"

    def _read_stream(self, body: bytes) -> Reading:
        """`response.completed` ends a whole stream and carries the usage."""
        failed, last, data = False, b"", b""
        for kind, content in events(body):
            last, data = kind, content
            failed = failed or kind == b"error"
        answer = read_answer(data)
        response = answer.response if answer else None
        if isinstance(response, dict):
            usage = _figures(response.get("usage"))
        else:
            usage = _figures(usage_in_fragment(body))
        return Reading(complete=last == b"response.completed" and not failed, usage=usage)


class _Numbered(msgspec.Struct):
    sequence_number: int = -1


_decode_number = msgspec.json.Decoder(_Numbered).decode


def _last_sequence_number(sent: bytes) -> int:
    number = -1
    for _, data in events(sent):
        try:
            number = max(number, _decode_number(data).sequence_number)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue  # a piece of an event at either end of what is known
    return number
