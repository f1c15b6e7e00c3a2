"""What the routers of `/api` share: answers, their description, entity tags."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import Response

from fairlead.web.problems import MEDIA_TYPE

_PROBLEM: dict[str, Any] = {
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
}
_ETAG = re.compile(r'\s*(?:(W/)?("[^"]*")|\*)\s*(?:,|$)')


class Described:
    """Descriptions of a router's answers, for OpenAPI."""

    def __init__(self, problems: Mapping[int, str]) -> None:
        """`problems` says what each status of 400 and above means."""
        self._problems = problems

    def problems(self, *statuses: int) -> dict[int | str, dict[str, Any]]:
        """Problem documents."""
        return {status: {"description": self._problems[status], **_PROBLEM} for status in statuses}

    def answers(self, status: int, kind: type, *problems: int) -> dict[int | str, dict[str, Any]]:
        """A JSON object of this kind, or a problem document."""
        schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
        answer = {"description": "", "content": {"application/json": {"schema": schema}}}
        return self.problems(*problems) | {status: answer}


UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "As the caller knows it"}}


def json_answer(
    body: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer that is encoded once: nothing is validated on its way out."""
    return Response(msgspec.json.encode(body), status, headers, "application/json")


def is_named(given: str | None, tag: str) -> bool:
    """Whether `If-None-Match` names the entity tag (RFC 9110, 13.1.2: weakly compared)."""
    if given is None:
        return False
    return given.strip() == "*" or any(match[2] == tag for match in _ETAG.finditer(given))


def strong_tags(given: str) -> list[str]:
    """The strong entity tags of `If-Match` (RFC 9110, 13.1.1), with their quotes."""
    return [match[2] for match in _ETAG.finditer(given) if match[2] is not None and not match[1]]
