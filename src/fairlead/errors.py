"""The whole error tree. A class's docstring is its default message.

Foreign exceptions are translated where they enter; above that line only these exist.
"""

from __future__ import annotations


class FairleadError(Exception):
    """Something in Fairlead failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__ or "")


class ConfigurationError(FairleadError):
    """The configuration cannot be used."""

    def __init__(self, key: str, value: object, fix: str) -> None:
        """`key` is the setting's full name, `value` what was given, `fix` what to do about it."""
        self.key, self.value, self.fix = key, value, fix
        super().__init__(f"{key} = {value!r}: {fix}")


class ClosedError(FairleadError):
    """This object is closed (or was never opened)."""


class ClientGoneError(FairleadError):
    """The client has closed its connection or takes nothing any more."""


class CapacityError(FairleadError):
    """A bounded queue, pool or budget is full."""


class PoolFullError(CapacityError):
    """Every resource of the pool is in use and its line of waiting callers is full."""


class PoolTimeoutError(CapacityError):
    """No resource of the pool became free within the deadline."""


class QueueRefusedError(CapacityError):
    """The queue before a server does not take the request, or could not serve it in time."""

    def __init__(self, reason: str, message: str, retry_after: float) -> None:
        """`reason` is `full` (the class is full), `share` (its flow has more than its share of
        the places), `shed` or `timeout`; `retry_after` is in seconds, from the rate of service."""
        self.reason, self.retry_after = reason, retry_after
        super().__init__(message)


class DependencyMissingError(FairleadError):
    """An optional library is not installed."""

    def __init__(self, library: str, extra: str) -> None:
        self.library, self.extra = library, extra
        super().__init__(f"{library} is not installed: pip install 'fairlead[{extra}]'")


class StorageError(FairleadError):
    """A store could not read or write."""


class StorageFullError(StorageError):
    """There is no room left on the disk: nothing was written. Free some, and it resumes alone."""


class StorageUnavailableError(StorageError):
    """The database is away for now; it is connected again as soon as it answers."""


class CacheStoreError(StorageError):
    """The persistent response cache could not read or write; the answer is served without it."""


class RequestError(FairleadError):
    """The request cannot be served as it is; the caller can mend it."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        """`status` is the HTTP status (4xx); `param` the field at fault; `code` a stable word."""
        self.status, self.param, self.code = status, param, code
        super().__init__(message)


class NotFoundError(RequestError):
    """What was asked for does not exist for this caller."""

    def __init__(self, what: str, name: str) -> None:
        """`what` is the kind of thing, `name` the id that was asked for."""
        super().__init__(404, f"there is no {what} {name!r}", code="not_found")


class ForbiddenError(RequestError):
    """The caller may see it, but not change it."""

    def __init__(self, message: str) -> None:
        super().__init__(403, message, code="forbidden")


class ConflictError(RequestError):
    """It has changed since the caller read it."""

    def __init__(self, what: str, expected: int, current: int) -> None:
        """`expected` is the version that the caller knows, `current` what it is now."""
        self.expected, self.current = expected, current
        message = f"{what} is at version {current}, not {expected}: read it again, then change it"
        super().__init__(412, message, code="conflict")


class UpstreamError(FairleadError):
    """An upstream did not answer properly."""

    kind = "error"

    def __init__(self, upstream: str, message: str | None = None) -> None:
        """`upstream` is the configured name of the upstream at fault."""
        self.upstream = upstream
        super().__init__(f"upstream {upstream!r}: {message or type(self).__doc__}")


class UpstreamUnreachableError(UpstreamError):
    """no connection could be made."""

    kind = "unreachable"


class UpstreamTimeoutError(UpstreamError):
    """no answer came within the deadline."""

    kind = "timeout"


class UpstreamBrokenError(UpstreamError):
    """the answer broke off or is not valid HTTP."""

    kind = "broken"


class UpstreamBusyError(UpstreamError):
    """all its connections are in use and the waiting line is full."""

    kind = "busy"


class UpstreamKeyError(UpstreamError):
    """it refuses the key that this node is configured with: check key_env or key_file."""

    kind = "credentials"


class UpstreamRestingError(UpstreamError):
    """it asked not to be called for a while, and there is no other to call."""

    kind = "resting"

    def __init__(self, upstream: str, status: int, retry_after: float) -> None:
        """`status` is the answer (429, 503 or 529) that asked for the rest; seconds are left."""
        self.status, self.retry_after = status, retry_after
        super().__init__(upstream)


class UpstreamDrainingError(UpstreamError):
    """it is being drained and takes nothing new, and there is no other to call."""

    kind = "draining"
