"""What opens and closes: once each, refusing outside, warning when forgotten."""

from __future__ import annotations

import gc

import pytest

from fairlead.core.lifecycle import Resource
from fairlead.errors import ClosedError


class Door(Resource):
    def __init__(self, *, stuck: bool = False) -> None:
        self.stuck = stuck
        self.events: list[str] = []

    async def _open(self) -> None:
        if self.stuck:
            raise OSError("stuck")
        self.events.append("open")

    async def _close(self) -> None:
        self.events.append(f"close while open={self.is_open}")


async def test_opens_and_closes_once_however_often_it_is_asked() -> None:
    door = Door()
    for _ in range(2):
        await door.open()
    for _ in range(2):
        await door.close()

    assert door.events == ["open", "close while open=False"]


async def test_a_context_closes_after_an_error() -> None:
    door = Door()

    async def use() -> None:
        async with door as same:
            assert same is door
            assert door.is_open
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await use()
    assert not door.is_open
    assert door.events[-1].startswith("close")


async def test_what_is_not_open_refuses() -> None:
    door = Door()
    with pytest.raises(ClosedError, match="Door is not open"):
        door.check_open()
    async with door:
        door.check_open()
    with pytest.raises(ClosedError):
        door.check_open()


async def test_what_failed_to_open_is_not_open_and_can_try_again() -> None:
    door = Door(stuck=True)
    with pytest.raises(OSError, match="stuck"):
        await door.open()
    assert not door.is_open

    door.stuck = False
    async with door:
        assert door.events == ["open"]


async def test_warns_when_it_is_collected_open() -> None:
    async def forget() -> None:
        await Door().open()
        gc.collect()

    with pytest.warns(ResourceWarning, match="Door was not closed"):
        await forget()


async def test_a_closed_one_is_collected_in_silence() -> None:
    async with Door() as door:
        pass
    del door
    gc.collect()  # a warning would be an error here
