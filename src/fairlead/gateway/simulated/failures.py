"""Error answers in each API's own form; texts say that they are simulated where they are."""

from __future__ import annotations

import re

import msgspec

from fairlead.errors import RequestError
from fairlead.gateway.simulated.shape import InvalidFieldError

_OPENAI = {
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", None),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
    503: ("server_error", "server_is_overloaded"),
}
_ANTHROPIC = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_TEXTS = {
    429: "rate limit reached",
    500: "the server had an error while processing the request",
    503: "the server is overloaded",
    529: "Overloaded",
}
_RETRYABLE = frozenset({429, 503, 529})


class Failure(msgspec.Struct, frozen=True):
    """An error answer."""

    status: int
    body: bytes
    retry_after: int | None


def simulated_status(family: str, status: int) -> int:
    """Overloaded is 529 in Anthropic's API and 503 in OpenAI's; all else is the same."""
    if family == "anthropic":
        return 529 if status == 503 else status
    return 503 if status == 529 else status


def on_purpose(family: str, status: int, retry_after: int, request_id: str) -> Failure:
    """An error that was asked for by option, header or concurrency limit."""
    text = f"Simulated error {status}: {_TEXTS.get(status, 'as asked for')}."
    kind, code = _OPENAI.get(status, (None, None))
    body = _body(family, status, text, None, code, request_id, kind)
    return Failure(status, body, retry_after if status in _RETRYABLE else None)


def of_request(family: str, error: RequestError, request_id: str) -> Failure:
    """An error of the caller."""
    message = str(error)
    if isinstance(error, InvalidFieldError):
        message = _field_message(family, error)
    body = _body(family, error.status, message, error.param, error.code, request_id, None)
    return Failure(error.status, body, None)


def _field_message(family: str, error: InvalidFieldError) -> str:
    missing = error.code == "missing_required_parameter"
    if family == "anthropic":
        # Anthropic writes messages.0.role where OpenAI writes messages[0].role.
        param = re.sub(r"\[([^]]*)\]", r".\1", error.param or "body")
        return f"{param}: {'Field required' if missing else error.problem}"
    if missing:
        return f"Missing required parameter: '{error.param}'."
    word = "type" if error.code == "invalid_type" else "value"
    return f"Invalid {word} for '{error.param or 'body'}': {error.problem}."


def _body(
    family: str,
    status: int,
    message: str,
    param: str | None,
    code: str | None,
    request_id: str,
    kind: str | None,
) -> bytes:
    if family == "anthropic":
        fallback = "api_error" if status >= 500 else "invalid_request_error"
        error = {"type": _ANTHROPIC.get(status, fallback), "message": message}
        return msgspec.json.encode({"type": "error", "error": error, "request_id": request_id})
    fallback = "server_error" if status >= 500 else "invalid_request_error"
    openai = {"message": message, "type": kind or fallback, "param": param, "code": code}
    return msgspec.json.encode({"error": openai})
