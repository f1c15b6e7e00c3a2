"""The outermost layer of `/api`: request ids, and an answer to every bug."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fairlead.core.ids import request_id
from fairlead.web.problems import problem_of, problem_response

HEADER = b"x-request-id"
_VALID = re.compile(rb"[\x21-\x7e]{1,128}")
_log = logging.getLogger("fairlead.web")


def choose_request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The client's own `x-request-id` if it is 1 to 128 visible ASCII characters, else a new one.

    `headers` have names in lower case.
    """
    for name, value in headers:
        if name == HEADER and _VALID.fullmatch(value):
            return value.decode("ascii")
    return request_id()


class Rim:
    """ASGI middleware: adds `x-request-id`, and answers 500 without details where `app` raises."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; other scopes pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        chosen = choose_request_id(scope["headers"])
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], (HEADER, chosen.encode("ascii"))]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:  # the HTTP rim: whatever it is, it is logged and answered
            _log.exception("request failed", extra={"request_id": chosen, "path": scope["path"]})
            if started:
                raise  # the server breaks the answer off; half of it is out already
            await problem_response(problem_of(500))(scope, receive, send_with_id)
