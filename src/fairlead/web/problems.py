"""Errors under `/api` as problem documents (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from fairlead.errors import (
    CapacityError,
    ClosedError,
    FairleadError,
    RequestError,
    StorageError,
    StorageFullError,
    UpstreamError,
)

_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
MEDIA_TYPE = "application/problem+json"


class FieldError(msgspec.Struct, omit_defaults=True):
    """What is wrong with one field of a request."""

    field: str
    """Where it stands and its name: `query.key`."""
    message: str


class Problem(msgspec.Struct, omit_defaults=True):
    """A problem document; its type is always `about:blank`: the status says it all (4.2.1)."""

    title: str
    status: int
    detail: str = ""
    code: str = ""
    """A stable word for programs, where there is one."""
    errors: list[FieldError] = []
    type: str = msgspec.field(default_factory=lambda: "about:blank")
    """Never left out: its default comes from a factory."""


def problem_of(status: int, detail: str = "", code: str = "") -> Problem:
    """The problem document for `status`, titled with the status's own phrase."""
    return Problem(HTTPStatus(status).phrase, status, detail, code)


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """`problem` as an answer."""
    body = msgspec.json.encode(problem)
    return Response(body, problem.status, headers, MEDIA_TYPE)


def problem_of_error(error: FairleadError) -> Problem:
    """What the caller is told about `error`; details of our own faults stay in the log."""
    if isinstance(error, RequestError):
        problem = problem_of(error.status, str(error), error.code or "")
        if error.param is not None:
            problem.errors = [FieldError(error.param, str(error))]
        return problem
    if isinstance(error, ClosedError):
        return problem_of(503, "The node is shutting down.", "closing")
    if isinstance(error, StorageFullError):
        return problem_of(507, str(error), "storage_full")
    if isinstance(error, CapacityError | StorageError):
        return problem_of(503, str(error), "unavailable")
    if isinstance(error, UpstreamError):
        return problem_of(502, str(error), "upstream")
    return problem_of(500)


def install(app: FastAPI) -> None:
    """Make every error of `app` that is not a bug a problem document; bugs are for the rim."""
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(FairleadError, _on_fairlead_error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
    problem = problem_of(error.status_code)
    # Starlette repeats the phrase where it has nothing to add.
    if error.detail != problem.title:
        problem.detail = str(error.detail)
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if error.status_code == 405:
        headers["allow"] = ", ".join(_allowed_methods(request))
    return problem_response(problem, headers)


def _allowed_methods(request: Request) -> list[str]:
    # A path may be several routes, one for each method; Starlette names those of the first only.
    return [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]


async def _on_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
    problem = problem_of(422, "The request does not fit the description.", "invalid")
    problem.errors = [_field_error(found) for found in error.errors()]
    return problem_response(problem)


def _field_error(found: Mapping[str, Any]) -> FieldError:
    # The input is not repeated: it may be long, and it may be a secret in the wrong place.
    return FieldError(".".join(map(str, found["loc"])), str(found["msg"]))


async def _on_fairlead_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, FairleadError)  # noqa: S101 - registered for this class only
    return problem_response(problem_of_error(error))
