"""How the simulated upstream behaves: one frozen record, checked when it is made."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from fairlead.errors import ConfigurationError

ERROR_STATUSES = (429, 500, 503, 529)
MAX_ANSWER_TOKENS = 1_000_000


class SimulatedOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the simulated upstream; times in seconds, lengths in (estimated) tokens.

    Raises `ConfigurationError` naming the option, the value and what is allowed.
    """

    name: str = "simulated"
    """Shown by `/healthz`, `/stats` and as the owner of the listed models."""
    seed: int = 0
    """The same seed and the same requests in the same order give the same answers."""
    ttft: float = 0.02
    """Time to first token of an empty prompt."""
    prefill: float = 0.05
    """Added per 1,000 prompt tokens that the prefix cache does not hold."""
    tokens_per_second: float = 80.0
    """Pace of an answer; 0 means as fast as the connection takes it."""
    answer_tokens: int = 120
    """Length of an unscripted answer, where the request's own limit is not lower."""
    error_rate: float = 0.0
    """Share of requests under `/v1/` that fail with `error_status`, 0 to 1."""
    error_status: int = 500
    """One of `ERROR_STATUSES`; overloaded is 503 in OpenAI's API and 529 in Anthropic's."""
    retry_after: int = 1
    """Seconds in the `retry-after` of 429, 503 and 529."""
    max_concurrency: int = 1000
    """Model requests at a time; one more is refused with 429 (OpenAI) or 529 (Anthropic)."""
    prefix_cache_blocks: int = 10_000
    """Blocks of 512 tokens that the prefix cache holds at most; 0 turns it off."""
    max_body_bytes: int = 32 * 1024 * 1024
    """A larger request body, decoded, is refused with 413."""
    script: Path | None = None
    """A file of scripted answers (see `script.load_script`)."""
    models: tuple[str, ...] = ("simulated",)
    """Names that `GET /v1/models` lists; requests may name any model."""

    def __post_init__(self) -> None:
        _within("ttft", self.ttft, 0, 3600)
        _within("prefill", self.prefill, 0, 3600)
        _within("tokens_per_second", self.tokens_per_second, 0, 1_000_000)
        _within("answer_tokens", self.answer_tokens, 1, MAX_ANSWER_TOKENS)
        _within("error_rate", self.error_rate, 0, 1)
        _within("retry_after", self.retry_after, 0, 86_400)
        _within("max_concurrency", self.max_concurrency, 1, 1_000_000)
        _within("prefix_cache_blocks", self.prefix_cache_blocks, 0, 10_000_000)
        _within("max_body_bytes", self.max_body_bytes, 1, 1 << 31)
        if self.error_status not in ERROR_STATUSES:
            allowed = ", ".join(map(str, ERROR_STATUSES))
            raise ConfigurationError("error_status", self.error_status, f"use one of {allowed}")
        if not self.models or not all(self.models):
            raise ConfigurationError("models", self.models, "give at least one name, none empty")


def _within(key: str, value: float, low: float, high: float) -> None:
    if math.isnan(value) or not low <= value <= high:
        raise ConfigurationError(key, value, f"use a value from {low:,} to {high:,}")
