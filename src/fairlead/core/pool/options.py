"""What a pool may hold and how long things may take, and what it tells of itself."""

from __future__ import annotations

import msgspec


class PoolOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a pool; times in seconds. `ValueError` where they contradict each other."""

    min_size: int = 5
    """So many are kept ready."""
    max_size: int = 20
    """So many exist at most, those being created, validated and disposed of included."""
    max_idle: float = 300.0
    """What was not used for so long is disposed of, down to `min_size`."""
    max_lifetime: float = 3600.0
    """What is so old, give or take 10 %, is disposed of as soon as nobody uses it; may be inf."""
    max_waiting: int = 1000
    """Callers that may stand in line."""
    acquire_timeout: float = 30.0
    create_timeout: float = 5.0
    validate_timeout: float = 5.0
    dispose_timeout: float = 5.0
    close_timeout: float = 10.0
    """So long `close` waits for what is still in use, and for work that does not end."""
    validate_after: float = 0.5
    """What was used or validated less than so long ago is handed out without validation."""

    def __post_init__(self) -> None:
        _check(self.min_size >= 0, f"min_size = {self.min_size}: use 0 or more")
        least = max(1, self.min_size)
        _check(self.max_size >= least, f"max_size = {self.max_size}: use {least} or more")
        _check(self.max_waiting >= 0, f"max_waiting = {self.max_waiting}: use 0 or more")
        _check(self.validate_after >= 0, f"validate_after = {self.validate_after}: use 0 or more")
        for name in self.__struct_fields__:
            if name.endswith("_timeout") or name in {"max_idle", "max_lifetime"}:
                value = getattr(self, name)
                _check(value > 0, f"{name} = {value}: use more than 0 seconds")


def _check(sound: bool, complaint: str) -> None:
    # Written so that a value that is not a number fails as well.
    if not sound:
        raise ValueError(complaint)


class PoolStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a pool holds now, and counts since it was opened."""

    name: str
    min_size: int
    max_size: int
    size: int
    """Places that are not free: the sum of the next six."""
    idle: int
    in_use: int
    creating: int
    validating: int
    disposing: int
    stuck: int
    """Past their deadline and still not gone."""
    waiting: int
    waited: int
    """How many callers have stood in line."""
    handed_out: int
    created: int
    disposed: int
    broken: int
    """Given back as broken, or found not to be valid any more."""
    timeouts: int
    """Callers that waited in vain."""
    refused: int
    """Callers that found the line full."""
    create_failures: int
    dispose_failures: int
