"""What the simulated upstream asks of an API shape, and how its requests are decoded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol, TypeVar

import msgspec

from fairlead.errors import RequestError
from fairlead.gateway.simulated.model import Answer
from fairlead.gateway.simulated.prompt import Prompt

R = TypeVar("R")
Event = tuple[bytes, bool]
"""The bytes of one server-sent event, and whether it is a token (tokens are paced)."""

encode = msgspec.json.encode

_MESSAGE = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(?P<name>[^`]*)`$")


class InvalidFieldError(RequestError):
    """A field of the body is missing or wrong; `problem` says how, `param` which."""

    def __init__(self, param: str | None, problem: str, code: str) -> None:
        """`code` is `missing_required_parameter`, `invalid_type` or `invalid_value`."""
        self.problem = problem
        super().__init__(400, f"{param or 'body'}: {problem}", param=param, code=code)


class Shape(Protocol[R]):
    """One endpoint that a model answers."""

    family: str
    """`openai` or `anthropic`."""
    request_type: type[R]

    def prompt(self, request: R) -> Prompt:
        """What the model sees; `RequestError` where fields contradict each other."""
        ...

    def is_stream(self, request: R) -> bool:
        """Whether events are asked for."""
        ...

    def plain(self, answer: Answer, request: R) -> bytes:
        """The answer as one JSON object."""
        ...

    def events(self, answer: Answer, request: R) -> Iterator[Event]:
        """The answer as server-sent events, made one by one as they are needed."""
        ...


def decode(body: bytes, kind: type[R]) -> R:
    """`body` as `kind`; `InvalidFieldError` names the field, `RequestError` says it is no JSON."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(400, f"The body of the request is not valid JSON: {error}") from None


def typed(kind: str, fields: dict[str, object]) -> bytes:
    """A server-sent event named `kind` whose data begins with that `type`."""
    return b"event: " + kind.encode() + b"\ndata: " + encode({"type": kind, **fields}) + b"\n\n"


def _invalid(message: str) -> InvalidFieldError:
    parts = _MESSAGE.match(message)
    what, path = (parts["what"], parts["path"] or "") if parts else (message, "")
    missing = _MISSING.match(what)
    if missing:
        path = f"{path}.{missing['name']}".lstrip(".")
        return InvalidFieldError(path, "required but missing", "missing_required_parameter")
    # msgspec says "Expected `int`, got `str`" for types and "Expected `int` >= 1" for bounds.
    code = "invalid_type" if ", got " in what else "invalid_value"
    return InvalidFieldError(path or None, what[:1].lower() + what[1:], code)
