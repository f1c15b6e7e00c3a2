"""How good a server is for a request, and how much it should have at most (pure)."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b

from fairlead.traffic.base import LoadReport, Server

_LABEL_SIZE = 16


def score(
    server: Server,
    connections: int,
    capacity: float,
    report: LoadReport | None,
    region: str | None,
    capabilities: Collection[str],
) -> float:
    """100 - 50 connections/max - 30 cpu - 20 (1 - memory free) + 10 region + 15 capability, >= 0.

    `capacity` is the max; `region` the caller's own; the last term is for a server that offers
    all of the asked `capabilities`. What is not reported counts as an idle machine.
    """
    points = 100.0 - 50.0 * connections / capacity
    if report is not None:
        points -= 30.0 * (report.cpu or 0.0)
        points -= 20.0 * (0.0 if report.memory_free is None else 1.0 - report.memory_free)
    if region is not None and server.region == region:
        points += 10.0
    if capabilities and server.capabilities.issuperset(capabilities):
        points += 15.0
    return max(0.0, points)


def label(name: str) -> bytes:
    """`name` as `rendezvous` takes it: of one length, so that no two joins are the same."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_LABEL_SIZE).digest()


def rendezvous(session: bytes, place: bytes) -> bytes:
    """The weight of a place (a `label`) for a session: the greatest one has it.

    Every node that knows the same places agrees, and a place that goes moves its own sessions
    only (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998).
    """
    return blake2b(place + session, digest_size=8).digest()


def load_bound(total: int, share: float, factor: float, slack: int) -> float:
    """The most of `total` requests that a server with `share` (0 to 1) of the capacity may have.

    `factor` x mean (Mirrokni et al., "Consistent hashing with bounded loads", 2017), and in any
    case `slack` requests above the mean.
    """
    mean = total * share
    return max(mean * factor, mean + slack)
