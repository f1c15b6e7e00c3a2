"""Owned tasks: each ends, each failure is told once, nothing starts after close."""

from __future__ import annotations

import asyncio
import logging

import pytest

from fairlead.core.tasks import TaskOwner, log_failure
from fairlead.errors import ClosedError


@pytest.fixture
def failures() -> list[tuple[str, BaseException]]:
    return []


@pytest.fixture
def owner(failures: list[tuple[str, BaseException]]) -> TaskOwner:
    return TaskOwner(lambda name, error: failures.append((name, error)))


async def test_closing_cancels_and_waits_for_the_end(
    owner: TaskOwner, failures: list[tuple[str, BaseException]]
) -> None:
    steps: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("ended")

    async with asyncio.timeout(5):
        async with owner:
            task = owner.spawn(work(), "worker")
            assert task.get_name() == "worker"
            assert len(owner) == 1
            await asyncio.sleep(0)

    assert steps == ["ended"]
    assert task.cancelled()
    assert len(owner) == 0
    assert failures == []


async def test_a_failure_is_told_once_with_the_tasks_name(
    owner: TaskOwner, failures: list[tuple[str, BaseException]]
) -> None:
    async def work() -> None:
        raise KeyError("lost")

    async with owner:
        owner.spawn(work(), "worker")
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(owner) == 0

    assert [(name, type(error)) for name, error in failures] == [("worker", KeyError)]


async def test_a_failure_while_closing_is_told_as_well(
    owner: TaskOwner, failures: list[tuple[str, BaseException]]
) -> None:
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("no room to say goodbye")

    async with owner:
        owner.spawn(work(), "worker")
        await asyncio.sleep(0)

    assert [name for name, _ in failures] == ["worker"]


async def test_nothing_starts_when_closed_and_no_coroutine_is_left_over(owner: TaskOwner) -> None:
    async def work() -> None: ...

    # "coroutine was never awaited" would be a warning, and warnings are errors here.
    with pytest.raises(ClosedError):
        owner.spawn(work(), "too early")
    async with owner:
        pass
    with pytest.raises(ClosedError):
        owner.spawn(work(), "too late")


async def test_a_task_may_close_its_own_owner(owner: TaskOwner) -> None:
    async def work() -> str:
        await owner.close()
        return "closed"

    await owner.open()
    async with asyncio.timeout(5):
        assert await owner.spawn(work(), "closer") == "closed"
    assert not owner.is_open


def test_the_default_handler_logs_the_traceback(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise OSError("gone")
    except OSError as error:
        log_failure("worker", error)

    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "worker" in record.getMessage()
    assert record.exc_info is not None
