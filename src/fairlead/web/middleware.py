"""Who asks: from a request's header fields to a `Principal`."""

from __future__ import annotations

from typing import Protocol
from urllib.parse import urlsplit

from fairlead.core.identity import LOCAL_PRINCIPAL, Principal
from fairlead.errors import RequestError

Headers = list[tuple[bytes, bytes]]

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Identity(Protocol):
    """Tells who sends a request; raises `RequestError` (401, 403) for a bad proof."""

    def identify(self, headers: Headers) -> Principal:
        """The principal of a request with these fields (names in lower case)."""
        ...


class LocalIdentity:
    """Everyone is the local principal: for a node on loopback, without authentication.

    A web page that the developer has open could reach loopback, too, and with a name that it lets
    resolve to 127.0.0.1 even read the answers. So requests must name one of `hosts` in `Host`, and
    in `Origin` where a browser sends one. None allows any.
    """

    def __init__(self, hosts: frozenset[str] | None = LOOPBACK_NAMES) -> None:
        self._hosts = hosts

    def identify(self, headers: Headers) -> Principal:
        """The same unverified principal for every request from here; 403 for others."""
        if self._hosts is None:
            return LOCAL_PRINCIPAL
        for name, value in headers:
            if name == b"host":
                self._check("Host", "//" + value.decode("latin-1"))
            elif name == b"origin":
                self._check("Origin", value.decode("latin-1"))
        return LOCAL_PRINCIPAL

    def _check(self, field: str, url: str) -> None:
        try:
            host = urlsplit(url).hostname or ""
        except ValueError:
            host = ""
        if host not in (self._hosts or ()) and not _is_loopback(host):
            raise RequestError(
                403,
                f"{field} names {host[:100]!r}, which is not this node: without authentication it "
                "serves this machine only (--insecure lifts that)",
                code="foreign_host",
            )


def _is_loopback(host: str) -> bool:
    parts = host.split(".")
    return len(parts) == 4 and parts[0] == "127" and all(part.isdecimal() for part in parts)
