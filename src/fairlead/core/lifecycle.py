"""One base for everything that is opened and closed."""

from __future__ import annotations

import warnings
from types import TracebackType
from typing import Self

from fairlead.errors import ClosedError


class Resource:
    """An object with `open()` and `close()`, usable as `async with`.

    Constructors only store arguments; `open()` makes what belongs to an event loop; `close()` is
    idempotent. An object that is collected open warns (`ResourceWarning`). Subclasses implement
    `_open` and `_close`.
    """

    _is_open = False

    @property
    def is_open(self) -> bool:
        """Whether `open()` has succeeded and `close()` has not begun."""
        return self._is_open

    async def open(self) -> None:
        """Make it ready; a second call does nothing."""
        if not self._is_open:
            await self._open()
            self._is_open = True

    async def close(self) -> None:
        """Refuse new work, finish or stop what runs, release; a second call does nothing."""
        if self._is_open:
            self._is_open = False
            await self._close()

    def check_open(self) -> None:
        """Raise `ClosedError` unless open."""
        if not self._is_open:
            raise ClosedError(f"{type(self).__name__} is not open")

    async def _open(self) -> None: ...

    async def _close(self) -> None: ...

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        if self._is_open:
            warnings.warn(
                f"{type(self).__name__} was not closed", ResourceWarning, stacklevel=2, source=self
            )
