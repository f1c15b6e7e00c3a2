"""Who asks: the record by which every cache and every row is scoped."""

from __future__ import annotations

import msgspec


class Principal(msgspec.Struct, frozen=True):
    """The verified (or, on loopback, assumed) origin of a request.

    `tenant` partitions everything: the team claim of a verified token, or the user where there is
    none. `verified` is False for the local principal of a node without authentication.
    """

    tenant: str
    user: str
    team: str | None = None
    verified: bool = False


LOCAL_PRINCIPAL = Principal(tenant="local", user="local")
