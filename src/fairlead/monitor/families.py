"""Every metric family that `/metrics` shows: its name, type, labels and meaning.

One table, so that the text exposition, the merging over workers and the guide cannot disagree.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Family(msgspec.Struct, frozen=True):
    """One metric family."""

    name: str
    """As sampled: counters end in `_total`."""
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    merge: Literal["sum", "max", "min"] = "sum"
    """How several workers' values become one; counters and histograms are always summed."""


_ALL = (
    Family(
        "fairlead_requests_total",
        "counter",
        ("shape", "route", "status", "cache"),
        "Model requests ended; status 499 where the client left before there was an answer.",
    ),
    Family(
        "fairlead_request_outcomes_total",
        "counter",
        ("outcome",),
        "Model requests by how they ended.",
    ),
    Family(
        "fairlead_request_duration_seconds",
        "histogram",
        ("route", "cache"),
        "From a request's head to the last byte of its answer.",
    ),
    Family(
        "fairlead_time_to_first_byte_seconds",
        "histogram",
        ("route", "cache"),
        "From a request's head to the first byte of its answer.",
    ),
    Family(
        "fairlead_cache_requests_total",
        "counter",
        ("outcome",),
        "Model requests by what the response cache made of them.",
    ),
    Family(
        "fairlead_cache_bypass_total",
        "counter",
        ("reason",),
        "Model requests that went past the response cache, by reason.",
    ),
    Family(
        "fairlead_upstream_errors_total",
        "counter",
        ("upstream", "kind"),
        "Upstream calls that failed, by kind of failure.",
    ),
    Family(
        "fairlead_client_disconnects_total",
        "counter",
        (),
        "Clients that left before their answer was complete.",
    ),
    Family(
        "fairlead_tokens_total",
        "counter",
        ("model", "direction"),
        "Tokens of answered requests by the answers' usage figures, cached answers included.",
    ),
    Family(
        "fairlead_bytes_total",
        "counter",
        ("direction",),
        "Bytes of request bodies in and of answer bodies out.",
    ),
    Family(
        "fairlead_cache_entries",
        "gauge",
        (),
        "Answers in the memory tier of the response cache.",
    ),
    Family(
        "fairlead_cache_bytes",
        "gauge",
        (),
        "Bytes in the memory tier of the response cache.",
    ),
    Family(
        "fairlead_cache_calls_in_flight",
        "gauge",
        (),
        "Upstream calls that identical requests may join.",
    ),
    Family(
        "fairlead_cache_stored_total",
        "counter",
        (),
        "Answers put into the response cache.",
    ),
    Family(
        "fairlead_cache_not_stored_total",
        "counter",
        ("reason",),
        "Answers to cacheable requests that were not stored, by reason.",
    ),
    Family(
        "fairlead_cache_tokens_saved_total",
        "counter",
        (),
        "Tokens of answers that came from the cache or from a joined call.",
    ),
    Family(
        "fairlead_cache_evictions_total",
        "counter",
        ("tier",),
        "Answers evicted from the memory or the persistent tier for lack of room.",
    ),
    Family(
        "fairlead_cache_store_entries",
        "gauge",
        (),
        "Answers in the persistent tier, which the workers share.",
        "max",
    ),
    Family(
        "fairlead_cache_store_bytes",
        "gauge",
        (),
        "Bytes in the persistent tier, which the workers share.",
        "max",
    ),
    Family(
        "fairlead_cache_store_up",
        "gauge",
        (),
        "1 while every worker can use the persistent tier, else 0.",
        "min",
    ),
    Family(
        "fairlead_cache_store_failures_total",
        "counter",
        (),
        "Reads and writes of the persistent tier that failed or were given up.",
    ),
    Family(
        "fairlead_inflight_requests",
        "gauge",
        (),
        "Model requests being answered now, open streams included.",
    ),
    Family(
        "fairlead_upstream_connections",
        "gauge",
        ("upstream", "state"),
        "Open connections to an upstream, by whether a request uses them.",
    ),
    Family(
        "fairlead_upstream_waiting_requests",
        "gauge",
        ("upstream",),
        "Requests that wait for a connection to an upstream.",
    ),
    Family(
        "fairlead_upstream_connects_total",
        "counter",
        ("upstream",),
        "Connections made to an upstream.",
    ),
    Family(
        "fairlead_upstream_attempts_total",
        "counter",
        ("upstream",),
        "Requests sent to an upstream, retries included.",
    ),
    Family(
        "fairlead_upstream_up",
        "gauge",
        ("upstream",),
        "1 while every worker takes the upstream for usable: active and not ejected.",
        "min",
    ),
    Family(
        "fairlead_upstream_in_flight_requests",
        "gauge",
        ("upstream",),
        "Requests on their way to an upstream or in the queue before it.",
    ),
    Family(
        "fairlead_upstream_sessions",
        "gauge",
        ("upstream",),
        "Sessions that stay with the upstream.",
    ),
    Family(
        "fairlead_upstream_ejections_total",
        "counter",
        ("upstream",),
        "Times that an upstream was taken out for its failures.",
    ),
    Family(
        "fairlead_upstream_failures_total",
        "counter",
        ("upstream",),
        "Failures that count for an upstream's health, those that a retry made good included.",
    ),
    Family(
        "fairlead_retries_total",
        "counter",
        (),
        "Requests sent again after a failure, before the first byte of an answer.",
    ),
    Family(
        "fairlead_retries_denied_total",
        "counter",
        (),
        "Retries that the retry budget did not allow.",
    ),
    Family(
        "fairlead_session_spills_total",
        "counter",
        (),
        "Requests that left their session's upstream alone because it had too much to do.",
    ),
    Family(
        "fairlead_session_moves_total",
        "counter",
        (),
        "Sessions that got another upstream because theirs was gone.",
    ),
    Family(
        "fairlead_queue_limit",
        "gauge",
        ("upstream",),
        "Requests that an upstream may work on at a time.",
    ),
    Family(
        "fairlead_queue_running",
        "gauge",
        ("upstream",),
        "Requests that the queue before an upstream has let through and that have not ended.",
    ),
    Family(
        "fairlead_queue_waiting",
        "gauge",
        ("upstream", "class"),
        "Requests waiting in the queue before an upstream.",
    ),
    Family(
        "fairlead_queue_admitted_total",
        "counter",
        ("upstream", "class"),
        "Requests that the queue before an upstream let through.",
    ),
    Family(
        "fairlead_queue_refused_total",
        "counter",
        ("upstream", "class", "reason"),
        "Requests that the queue before an upstream refused.",
    ),
    Family(
        "fairlead_queue_wait_seconds",
        "histogram",
        ("upstream", "class"),
        "Time in the queue, of requests that did not go at once and were let through.",
    ),
    Family(
        "fairlead_threads_up",
        "gauge",
        (),
        "1 while every worker can write to the store of conversations, else 0.",
        "min",
    ),
    Family(
        "fairlead_threads_bytes",
        "gauge",
        (),
        "Bytes that the store of conversations takes on disk, where it is known.",
        "max",
    ),
    Family("fairlead_threads_transactions_total", "counter", (), "Batches committed."),
    Family("fairlead_threads_writes_total", "counter", (), "Writes in committed batches."),
    Family("fairlead_threads_waiting_writes", "gauge", (), "Writes that wait for their batch."),
    Family("fairlead_threads_retries_total", "counter", (), "Batches that were tried again."),
    Family("fairlead_threads_dead_letters_total", "counter", (), "Writes put aside as impossible."),
    Family("fairlead_threads_lost_total", "counter", (), "Writes that were left at the end."),
    Family("fairlead_threads_pruned_total", "counter", (), "Conversations that retention removed."),
    Family("fairlead_captured_turns_total", "counter", (), "Model exchanges handed to the store."),
    Family("fairlead_captures_dropped_total", "counter", ("reason",), "Exchanges not captured."),
    Family("fairlead_workspaces_open", "gauge", (), "Workspaces that are open."),
    Family("fairlead_workspace_bytes", "gauge", (), "Bytes of workspaces' files in memory."),
    Family(
        "fairlead_workspace_events_total",
        "counter",
        ("event",),
        "Reads from memory (hit) and of the disk (read), writes, files analysed and found analysed "
        "already, maps from memory and made.",
    ),
    Family(
        "fairlead_log_lines_dropped_total",
        "counter",
        (),
        "Log lines dropped because their reader is too slow or gone.",
    ),
    Family(
        "fairlead_metrics_snapshot_failures_total",
        "counter",
        (),
        "Snapshots of a worker's metrics that could not be written or read.",
    ),
    Family(
        "fairlead_build_info",
        "gauge",
        ("version", "python"),
        "Always 1; the labels say what runs.",
        "max",
    ),
    Family(
        "process_cpu_seconds_total",
        "counter",
        (),
        "User and system CPU time.",
    ),
    Family(
        "process_resident_memory_bytes",
        "gauge",
        (),
        "Resident memory.",
    ),
    Family(
        "process_virtual_memory_bytes",
        "gauge",
        (),
        "Virtual memory.",
    ),
    Family(
        "process_open_fds",
        "gauge",
        (),
        "Open file descriptors.",
    ),
    Family(
        "process_max_fds",
        "gauge",
        (),
        "The smallest limit on open file descriptors of one process.",
        "min",
    ),
    Family(
        "process_start_time_seconds",
        "gauge",
        (),
        "When the oldest live process started, in seconds since 1970.",
        "min",
    ),
)

FAMILIES: dict[str, Family] = {family.name: family for family in _ALL}
