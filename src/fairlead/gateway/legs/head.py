"""Heads of messages: writing those of requests, and what those of answers say (RFC 9112)."""

from __future__ import annotations

import re

from fairlead.errors import RequestError
from fairlead.gateway.legs.base import Headers, LegRequest
from fairlead.gateway.legs.origin import Origin

# A method and an origin-form target: visible ASCII without "#". Anything else could end the line
# early, or move the host where a URL is made of it.
_REQUEST_LINE = re.compile(rb"[!#-'*+.^-z|~0-9A-Z-]+ /[!\"$-~]*")
_WITHOUT_BODY = frozenset((b"GET", b"HEAD", b"OPTIONS"))


def request_line(request: LegRequest) -> bytes:
    """Method and target; raises `RequestError` (400) where they do not make a request line."""
    line = request.method + b" " + request.target
    if _REQUEST_LINE.fullmatch(line) is None:
        raise RequestError(400, "the method or the path contains a character that HTTP forbids")
    return line


def field_lines(headers: Headers) -> bytes:
    """The fields, a line each; raises `RequestError` (400) for one that holds CR, LF or NUL."""
    lines = [b"%b: %b\r\n" % field for field in headers]
    block = b"".join(lines)
    count = len(lines)
    if block.count(b"\r") != count or block.count(b"\n") != count or b"\0" in block:
        raise RequestError(400, "a header field contains a line break or a NUL")
    return block


def ends_with_connection(headers: Headers) -> bool:
    """Whether the end of the connection is the proper end of the body (RFC 9112 section 6.3)."""
    codings = b",".join(value for name, value in headers if name == b"transfer-encoding")
    if codings:
        return codings.rpartition(b",")[2].strip().lower() != b"chunked"
    return not any(name == b"content-length" for name, _ in headers)


class HeadWriter:
    """Writes the heads of requests to one origin."""

    def __init__(self, origin: Origin) -> None:
        self._fixed = b" HTTP/1.1\r\nhost: %b\r\n" % origin.authority.encode("ascii")

    def write(self, request: LegRequest) -> bytes:
        """The whole head, with the empty line that ends it; raises `RequestError` (400)."""
        head = request_line(request) + self._fixed + field_lines(request.headers)
        if request.body or request.method not in _WITHOUT_BODY:
            return head + b"content-length: %d\r\n\r\n" % len(request.body)
        return head + b"\r\n"
