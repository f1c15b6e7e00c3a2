"""Records of the balancer: what it balances over, what it is told, what it shows."""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["active", "draining"]
Fitness = Literal["healthy", "ejected", "trial", "slow-start"]


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """One server to balance over."""

    name: str
    capacity: int = 200
    """Requests that it takes at a time; the `max` of the score."""
    accounts: int = 1
    """API keys: providers keep prompt caches per account, so a session stays with one."""
    region: str | None = None
    capabilities: frozenset[str] = frozenset()
    state: State = "active"
    rests_softly: bool = False
    """A rest of at most ten seconds only means: others first. For a server of one's own, which
    refuses what comes a moment too early; a provider's limit is to be kept to the second."""
    account_ids: tuple[str, ...] = ()
    """What tells one account from another, such as a digest of its key; never the key itself. With
    them an account that is replaced begins anew; without, account n stays account n."""

    def __post_init__(self) -> None:
        if self.capacity < 1 or self.accounts < 1:
            raise ValueError(f"server {self.name!r}: capacity and accounts must be at least 1")


class LoadReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says of itself, each part where it says it. Fractions are 0 to 1."""

    running: int | None = None
    """Requests it works on, whoever sent them."""
    waiting: int | None = None
    """Requests in its own queue."""
    cpu: float | None = None
    memory_free: float | None = None
    """Of the memory that decides: a model server's key-value cache."""
    prefix_hit_rate: float | None = None
    """Part of the prompt tokens that its prefix cache had, over its life or lately."""


class BalancerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a `SessionAwareLoadBalancer`. Times in seconds."""

    region: str | None = None
    """Where this node is: servers of the same region score higher."""
    session_ttl: float = 3600.0
    max_sessions: int = 100_000
    """A session counts once per model that it uses."""
    load_factor: float = 1.25
    """A session's own server is passed over for a request while its load exceeds this x mean."""
    load_slack: int = 6
    """... and is this many requests above the mean: with few requests chance alone is 1.25 x."""
    max_retries: int = 2
    retry_budget: float = 0.1
    """Retries per request, over time."""
    retry_burst: int = 100
    """Retries that may be saved up."""
    ejection_failures: int = 5
    """Consecutive failures that eject a server."""
    ejection_time: float = 30.0
    """Multiplied by how often it was ejected."""
    max_ejection_time: float = 300.0
    slow_start: float = 30.0
    report_ttl: float = 15.0
    """A load report older than this is not believed any more."""

    def __post_init__(self) -> None:
        if self.load_factor < 1 or self.load_slack < 0:
            raise ValueError("load_factor must be at least 1, load_slack at least 0")
        if min(self.max_sessions, self.ejection_failures) < 1:
            raise ValueError("max_sessions and ejection_failures must be at least 1")
        if min(self.session_ttl, self.ejection_time, self.max_ejection_time) <= 0:
            raise ValueError("session_ttl and the ejection times must be above 0")
        spans = (self.slow_start, self.report_ttl)
        if min(self.max_retries, self.retry_budget, self.retry_burst, *spans) < 0:
            raise ValueError("retries, retry budget, slow_start and report_ttl must not be below 0")


class ServerStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """One server as the balancer sees it now."""

    name: str
    state: State
    health: Fitness
    load: int
    """Requests there: our own or, where it reports more, all that it has."""
    in_flight: int
    """Our own, from the choice to the end, so those in the queue before it too."""
    sessions: int
    """Sessions whose place it is."""
    ejections: int
    served: int
    """Requests answered to their end, whatever the answer, unless it was a failure."""
    failed: int
    """Failures that count for its health: no answer, a broken one, 500, 502, 503, 504."""
    unreachable: int
    """Those of them where nothing could be sent."""
    resting: int
    """Models for which it, or one of its accounts, asked not to be called now."""
    rest: float
    """Seconds until the last of these rests is over."""
    accounts_set_aside: int
    """API keys that it refuses."""
    report: LoadReport | None
    """The last load report, as long as it is believed."""


class BalancerStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot; counts are since the start."""

    servers: tuple[ServerStatistics, ...]
    sessions: int
    requests: int
    retries: int
    retries_denied: int
    """By the retry budget."""
    spills: int
    """Requests that left their session's place alone because it had too much to do."""
    moved_sessions: int
    """Sessions that got another place because theirs was gone."""
