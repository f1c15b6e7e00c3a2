"""Who asks: from a request's header fields to a `Principal`."""

from __future__ import annotations

from typing import Protocol

from fairlead.core.identity import LOCAL_PRINCIPAL, Principal

Headers = list[tuple[bytes, bytes]]


class Identity(Protocol):
    """Tells who sends a request; raises `RequestError` (401) for a bad proof."""

    def identify(self, headers: Headers) -> Principal:
        """The principal of a request with these fields (names in lower case)."""
        ...


class LocalIdentity:
    """Everyone is the local principal: for a node on loopback, without authentication."""

    def identify(self, headers: Headers) -> Principal:  # noqa: ARG002 - nothing is proven here
        """The same unverified principal for every request."""
        return LOCAL_PRINCIPAL
