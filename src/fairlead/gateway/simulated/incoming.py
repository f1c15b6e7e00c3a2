"""One request as it comes in: head, family, whole body."""

from __future__ import annotations

import asyncio

import msgspec

from fairlead.core.encoding import SUPPORTED_CODINGS, CodingError, DecodedTooLargeError, decode
from fairlead.errors import FairleadError, RequestError
from fairlead.gateway.simulated.delivery import Message, Receive

_BODY_SECONDS = 60.0


class ClientGoneError(FairleadError):
    """The client went away before its request was whole."""


class Incoming(msgspec.Struct, frozen=True):
    """The head of a request; header names in lower case, the last of equal names counts."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def family(self) -> str:
        """Whose form an answer takes: by path, else by the `anthropic-version` header."""
        if self.path.startswith("/v1/messages"):
            return "anthropic"
        if self.path.startswith(("/v1/chat/", "/v1/responses", "/v1/embeddings")):
            return "openai"
        return "anthropic" if "anthropic-version" in self.headers else "openai"

    def decoded(self, body: bytes, limit: int) -> bytes:
        """`body` without its content coding; `RequestError` 400, 413 or 415."""
        coding = self.headers.get("content-encoding", "").strip().lower()
        try:
            return decode(body, coding, limit)
        except DecodedTooLargeError:
            raise too_large(limit) from None
        except CodingError as error:
            status = 400 if coding in SUPPORTED_CODINGS else 415
            raise RequestError(status, f"content-encoding: {error}") from None


def incoming(scope: Message) -> Incoming:
    """The head in an ASGI scope."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return Incoming(scope["method"], scope["path"], headers)


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body, at most `limit` bytes, within 60 s.

    Raises `RequestError` 408 or 413, `ClientGoneError`.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > limit:
                    raise too_large(limit)
    except TimeoutError:
        raise RequestError(408, "The body of the request did not come in time.") from None
    return bytes(body)


def too_large(limit: int) -> RequestError:
    """The error for a body over `limit` bytes."""
    return RequestError(413, f"Request exceeds the maximum size of {limit:,} bytes.")
