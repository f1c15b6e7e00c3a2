"""What the monitor reads of the others (contracts), and the snapshot in which it hands on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from fairlead.core.histogram import Histogram
from fairlead.core.identity import Principal

Labels = tuple[str, ...]
"""Label values in the order in which the family names its labels."""


class Usage(Protocol):
    """One ended request, as far as metrics and the access log read it.

    Times in seconds, sizes in bytes; the gateway's usage record meets it.
    """

    request_id: str
    principal: Principal
    method: str
    path: str
    shape: str
    model: str
    upstream: str
    status: int
    outcome: str
    cache: str
    cache_detail: str
    error_kind: str
    seconds: float
    first_byte: float | None
    queued: float
    request_bytes: int
    response_bytes: int
    input_tokens: int | None
    output_tokens: int | None


class ConnectionCounts(Protocol):
    """A snapshot of the connections to one upstream."""

    @property
    def connections(self) -> int:
        """Open connections, idle ones included."""
        ...

    @property
    def idle(self) -> int:
        """Open connections without a request."""
        ...

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection."""
        ...

    @property
    def connects(self) -> int:
        """Connections made since the start."""
        ...


class CacheCounts(Protocol):
    """A snapshot of the response cache of this process, its memory tier included."""

    @property
    def entries(self) -> int:
        """Answers in memory."""
        ...

    @property
    def bytes(self) -> int:
        """Bytes in memory."""
        ...

    @property
    def evictions(self) -> int:
        """Answers evicted from memory for lack of room."""
        ...

    @property
    def in_flight(self) -> int:
        """Upstream calls that identical requests may join."""
        ...

    @property
    def stored(self) -> int:
        """Answers stored."""
        ...

    @property
    def not_stored(self) -> Mapping[str, int]:
        """Answers to cacheable requests that were not stored, by a word that says why."""
        ...

    @property
    def tokens_saved(self) -> int:
        """Tokens of answers that cost no upstream call."""
        ...

    @property
    def store_failures(self) -> int:
        """Reads and writes of the persistent tier that failed or were given up."""
        ...


class StoreCounts(Protocol):
    """A snapshot of the persistent cache tier; -1 where it does not know a size cheaply."""

    @property
    def available(self) -> bool:
        """Whether it can be read and written."""
        ...

    @property
    def entries(self) -> int:
        """Entries held, by all processes that share it."""
        ...

    @property
    def bytes(self) -> int:
        """Bytes held, by all processes that share it."""
        ...

    @property
    def evictions(self) -> int:
        """Entries this process has evicted for lack of room."""
        ...


class ServerCounts(Protocol):
    """A snapshot of one server as the balancer sees it; counts are since the start."""

    @property
    def name(self) -> str:
        """As configured."""
        ...

    @property
    def state(self) -> str:
        """`active` or `draining`."""
        ...

    @property
    def health(self) -> str:
        """`ejected` while it is taken out."""
        ...

    @property
    def in_flight(self) -> int:
        """Requests on their way or in the queue before it."""
        ...

    @property
    def sessions(self) -> int:
        """Sessions that stay with it."""
        ...

    @property
    def ejections(self) -> int:
        """Times that it was taken out."""
        ...

    @property
    def failed(self) -> int:
        """Failures that count for its health."""
        ...


class BalancerCounts(Protocol):
    """A snapshot of the balancer; counts are since the start."""

    @property
    def servers(self) -> Sequence[ServerCounts]:
        """Each server."""
        ...

    @property
    def retries(self) -> int:
        """Requests sent again."""
        ...

    @property
    def retries_denied(self) -> int:
        """Retries that the budget did not allow."""
        ...

    @property
    def spills(self) -> int:
        """Requests that left their session's server alone because it had too much to do."""
        ...

    @property
    def moved_sessions(self) -> int:
        """Sessions that got another server because theirs was gone."""
        ...


class ClassCounts(Protocol):
    """One class of one queue; counts are since the queue was made."""

    @property
    def waiting(self) -> int:
        """Tasks in line."""
        ...

    @property
    def admitted(self) -> int:
        """Tasks let through."""
        ...

    @property
    def refused(self) -> Mapping[str, int]:
        """Tasks refused, by reason."""
        ...

    @property
    def waits(self) -> Histogram:
        """Seconds that tasks which did not go at once have waited."""
        ...


class QueueCounts(Protocol):
    """A snapshot of the queue before one server."""

    @property
    def limit(self) -> int:
        """Tasks at a time."""
        ...

    @property
    def running(self) -> int:
        """Tasks let through that have not ended."""
        ...

    @property
    def classes(self) -> Mapping[str, ClassCounts]:
        """By class."""
        ...


class StorageCounts(Protocol):
    """A snapshot of the store of conversations."""

    @property
    def available(self) -> bool:
        """Whether it can be used now."""
        ...

    @property
    def bytes(self) -> int:
        """On disk; -1 where it is not known."""
        ...


class WriterCounts(Protocol):
    """A snapshot of the writer of conversations; counts are since the start."""

    @property
    def waiting(self) -> int:
        """Writes that wait for their batch."""
        ...

    @property
    def operations(self) -> int:
        """Writes committed."""
        ...

    @property
    def batches(self) -> int:
        """Transactions committed."""
        ...

    @property
    def retries(self) -> int:
        """Batches that were tried again."""
        ...

    @property
    def dead_letters(self) -> int:
        """Writes put aside because they cannot be written."""
        ...

    @property
    def left(self) -> int:
        """Writes that could not be written before the end."""
        ...


class CaptureCounts(Protocol):
    """A snapshot of the capture of model exchanges; counts are since the start."""

    @property
    def captured(self) -> int:
        """Exchanges handed to the store."""
        ...

    @property
    def dropped(self) -> Mapping[str, int]:
        """Exchanges that were not, by reason."""
        ...


class ThreadCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is told of conversations."""

    storage: StorageCounts
    writer: WriterCounts
    capture: CaptureCounts | None
    """None where nothing is captured."""
    pruned: int
    """Conversations that retention has removed."""


class WorkspaceCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is told of workspaces."""

    opened: int
    bytes: int
    """Of files in memory."""
    done: Mapping[str, int]
    """How often since the start, by what: `hit` (a read from memory), `read` (of the disk),
    `write`, `analysed` (a file), `analysis_found`, `map_hit` (from memory), `map_made`."""


class Snapshot(msgspec.Struct, kw_only=True):
    """The values of one process, or of several merged: family name -> label values -> value."""

    numbers: dict[str, dict[Labels, float]] = {}
    histograms: dict[str, dict[Labels, Histogram]] = {}
    written: float = 0.0
    """Seconds since 1970 when it was taken."""
    live: bool = True
    """Whether its process meant to go on; a last snapshot before the end says False."""

    def set(self, family: str, value: float, *labels: str) -> None:
        """Give the series of `family` with these label values its value."""
        # A bool counts as a number here, but would not come back as one from a worker's file.
        self.numbers.setdefault(family, {})[labels] = float(value)

    def add(self, family: str, value: float, *labels: str) -> None:
        """Add to the series of `family` with these label values."""
        series = self.numbers.setdefault(family, {})
        series[labels] = series.get(labels, 0) + value

    def add_histogram(self, family: str, histogram: Histogram, *labels: str) -> None:
        """Merge a copy of `histogram` into the series of `family` with these label values."""
        series = self.histograms.setdefault(family, {})
        if labels in series:
            series[labels].merge(histogram)
        else:
            series[labels] = histogram.copy()
