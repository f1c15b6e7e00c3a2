"""No sequence of takings, givings and leavings loses or doubles a slot."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.errors import ClosedError, UpstreamBusyError
from fairlead.gateway.legs.base import LegOptions
from fairlead.gateway.legs.deadlines import Deadlines
from fairlead.gateway.legs.slots import Slots
from fairlead.testing import ManualClock

STEPS = st.sampled_from(["claim", "give", "free", "leave", "turn", "drop"])


def make(max_connections: int = 2, max_waiting: int = 3) -> Slots[str]:
    options = LegOptions(
        name="up", base_url="http://up", max_connections=max_connections, max_waiting=max_waiting
    )
    return Slots(options, Deadlines(ManualClock(), 1))


async def settled() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_slot_handed_to_a_caller_who_leaves_at_that_moment_goes_on() -> None:
    slots = make(max_connections=1)
    assert slots.reserve()
    leaving = asyncio.ensure_future(slots.wait())
    staying = asyncio.ensure_future(slots.wait())
    await settled()
    slots.give("connection")
    leaving.cancel()  # handed over, but not yet awake
    await settled()
    assert leaving.cancelled()
    assert await staying == "connection"
    assert slots.taken == 1


async def test_a_slot_is_not_offered_to_a_caller_who_has_left() -> None:
    slots = make(max_connections=1)
    assert slots.reserve()
    leaving = asyncio.ensure_future(slots.wait())
    await settled()
    leaving.cancel()
    slots.free()  # before the caller has woken up to leave
    await settled()
    assert slots.taken == 0
    assert slots.waiting == 0


async def test_a_full_line_and_a_closed_one() -> None:
    slots = make(max_connections=1, max_waiting=1)
    assert slots.reserve()
    assert not slots.reserve()
    waiting = asyncio.ensure_future(slots.wait())
    await settled()
    with pytest.raises(UpstreamBusyError):
        await slots.wait()
    slots.close()
    with pytest.raises(ClosedError):
        await waiting


async def test_closing_and_leaving_at_once_loses_no_error() -> None:
    slots = make(max_connections=1)
    assert slots.reserve()
    waiting = asyncio.ensure_future(slots.wait())
    await settled()
    slots.close()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@settings(deadline=None)
@given(steps=st.lists(STEPS, max_size=60))
def test_every_slot_is_in_exactly_one_place(steps: list[str]) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list[str]) -> None:
    slots = make()
    held = 0
    line: list[asyncio.Task[str | None]] = []

    def collect() -> int:
        got = [task for task in line if task.done() and not task.cancelled()]
        line[:] = [task for task in line if not task.done()]
        return len([task for task in got if task.exception() is None])

    for number, step in enumerate(steps):
        if step == "claim" and (slots.take() is not None or slots.reserve()):
            held += 1
        elif step == "claim":
            line.append(asyncio.ensure_future(slots.wait()))
            await asyncio.sleep(0)
        elif step == "give" and held:
            held -= 1
            slots.give(f"connection {number}")
        elif step == "free" and held:
            held -= 1
            slots.free()
        elif step == "leave" and line:
            line[number % len(line)].cancel()
        elif step == "drop" and slots.idle:
            slots.drop(next(iter(slots._idle)))
        elif step == "turn":
            await settled()
        held += collect()
        assert slots.taken <= 2
        assert slots.waiting <= 3
    await settled()
    held += collect()
    assert slots.taken == held + slots.idle
    assert not (slots.waiting and slots.taken < 2)
    for task in line:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert slots.waiting == 0
    assert slots.taken == held + slots.idle
