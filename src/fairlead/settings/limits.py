"""How many requests an upstream gets at a time: what was given, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from urllib.parse import urlsplit

from fairlead.settings.addresses import is_self_hosted
from fairlead.settings.problems import SettingError
from fairlead.settings.redaction import shown
from fairlead.settings.sections import QueueSettings, UpstreamSection

Problems = Iterator[SettingError]

_FLOOR = 4
_HEADROOM = 2
_ASCENDING = ("min_limit", "limit", "max_limit", "max_connections")
"""Each of these settings must be at most the next."""


@dataclass(frozen=True)
class Limits:
    """Requests at a time; where the limit adapts it begins at `limit` and stays in its bounds."""

    limit: int
    min_limit: int
    max_limit: int


def limits_of(upstream: UpstreamSection, queue: QueueSettings) -> Limits:
    """The limits of one server of `upstream`, each between those that its table gives.

    `queue.limit` is a default, so it gives way to the bounds and connections of the table.
    """
    ceiling = min(upstream.max_limit or upstream.max_connections, upstream.max_connections)
    limit = upstream.limit or max(upstream.min_limit or 1, min(queue.limit, ceiling))
    return Limits(
        limit=limit,
        min_limit=upstream.min_limit or min(_FLOOR, limit),
        max_limit=upstream.max_limit or min(_HEADROOM * limit, upstream.max_connections),
    )


def adapts(upstream: UpstreamSection, url: str | None) -> bool:
    """Whether the limit of the server at `url` (None: the node's own) follows its latency.

    Where nothing is said only that of a self-hosted server does: a provider's latency tells more
    of the provider than of the load from here.
    """
    if upstream.adaptive is not None:
        return upstream.adaptive
    return url is None or is_self_hosted(urlsplit(url).hostname or "")


def check_limits(upstream: UpstreamSection, where: str, queue: QueueSettings) -> Problems:
    """What is wrong between the limits that stand in one table, named `where`."""
    given = [name for name in _ASCENDING if getattr(upstream, name) is not None]
    for low, high in combinations(given, 2):
        least, most = getattr(upstream, low), getattr(upstream, high)
        if least > most:
            fix = f"must be at most {where}.{high} ({most}): lower it, or raise {high}"
            yield SettingError(f"{where}.{low}", shown(least), fix)
    yield from _queue_limit(upstream, where, queue)
    yield from _bounds_without_use(upstream, where)


def _queue_limit(upstream: UpstreamSection, where: str, queue: QueueSettings) -> Problems:
    """A limit that was asked for must not fail on connections that nobody has limited."""
    decided = {"limit", "max_limit", "max_connections"} & upstream.model_fields_set
    if "limit" in queue.model_fields_set and not decided and queue.limit > upstream.max_connections:
        fix = (
            f"needs as many connections, but {where}.max_connections is {upstream.max_connections} "
            f"(its default): set it to {queue.limit} or more there, or lower this limit"
        )
        yield SettingError("queue.limit", shown(queue.limit), fix)


def _bounds_without_use(upstream: UpstreamSection, where: str) -> Problems:
    if any(adapts(upstream, url) for url in upstream.urls or (None,)):
        return
    why = (
        "adaptive = false"
        if upstream.adaptive is False
        else "the limit of a public address does not adapt unless adaptive = true"
    )
    for name in ("min_limit", "max_limit"):
        if (value := getattr(upstream, name)) is not None:
            yield SettingError(f"{where}.{name}", shown(value), f"would never be used: {why}")
