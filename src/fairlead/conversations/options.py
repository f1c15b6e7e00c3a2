"""What can be set, and what can be asked, of the writer and the database."""

from __future__ import annotations

import msgspec


class WriterOptions(msgspec.Struct, frozen=True):
    """Bounds and times of a `BatchedThreadWriter`; seconds, bytes."""

    batch_size: int = 50
    """Operations in one transaction at most."""
    flush_interval: float = 1.0
    """What is enqueued waits this long at most before its transaction begins."""
    write_timeout: float = 30.0
    """How long `write` waits for room and for its commit."""
    close_timeout: float = 30.0
    """How long `close` goes on writing."""
    max_waiting: int = 10_000
    """Operations that are accepted and not yet written."""
    max_bytes: int = 64 * 1024 * 1024
    """Of their content; an operation that is larger is accepted when nothing else waits."""
    retry_base: float = 0.05
    """The first pause after a failure is up to this, then up to twice as much each time."""
    retry_cap: float = 2.0
    """The longest pause."""


class WriterStatistics(msgspec.Struct, frozen=True):
    """A snapshot of a writer; counts are since it was made."""

    waiting: int
    """Operations accepted and not yet done."""
    waiting_bytes: int
    in_line: int
    """Callers of `write` that wait for room."""
    oldest_age: float
    """Seconds since the oldest of those waiting was accepted."""
    operations: int
    """Written."""
    batches: int
    """Transactions committed for them."""
    joined: int
    """Operations that shared the write of their thread with another of their batch."""
    messages: int
    """Added by them."""
    retries: int
    """Transactions tried with something that had been tried before."""
    refused: int
    """Operations that the rules did not allow (their thread is gone, another's, changed since)."""
    turned_away: int
    """Operations that there was no room for."""
    withdrawn: int
    """Awaited operations taken back: disk full, deadline, or a caller that went away."""
    dead_letters: int
    left: int
    """Operations that `close` could not write any more."""
    full: bool
    """The disk is."""
    available: bool
    """The database answers, as far as is known."""
    last_error: str
    """In a line, without content; empty where there was none."""


class DatabaseOptions(msgspec.Struct, frozen=True):
    """Bounds of what a `ConversationDatabase` keeps in memory."""

    hot_bytes: int = 64 * 1024 * 1024
    """Of the latest messages of threads that were read lately."""
    hot_threads: int = 10_000


class DatabaseStatistics(msgspec.Struct, frozen=True):
    """A snapshot of what a `ConversationDatabase` keeps in memory; counts since it was made."""

    threads: int
    """Hot ones."""
    bytes: int
    """Of their messages, roughly."""
    hits: int
    """Pages that came from memory."""
    misses: int
    """Pages that were asked of the store."""
