"""How long to wait: jitter within its bounds, and what servers ask for in `Retry-After`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fairlead.core.retry import LONGEST_RETRY_AFTER, full_jitter, parse_retry_after

NOW = datetime(2026, 11, 6, 8, 49, 37, tzinfo=UTC)
DAY = 86_400


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is not UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


def asked(value: bytes | str) -> float | None:
    return parse_retry_after(value, NOW.timestamp())


@given(st.integers(0, 10_000), st.floats(0.001, 100), st.floats(0.001, 1000))
def test_jitter_stays_below_the_doubled_base_and_the_cap(
    attempt: int, base: float, cap: float
) -> None:
    assert full_jitter(attempt, base, cap, lambda low, _: low) == 0
    assert full_jitter(attempt, base, cap, lambda _, high: high) <= cap
    assert 0 <= full_jitter(attempt, base, cap) <= cap


def test_jitter_doubles_with_each_attempt() -> None:
    highest = [full_jitter(attempt, 1.0, 10.0, lambda _, high: high) for attempt in range(6)]

    assert highest == [1, 2, 4, 8, 10, 10]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"0", 0),
        (b"120", 120),
        ("120", 120),
        (b" 7\t", 7),
        (b"0.25", 0.25),
        (b"3.", 3),
        (b"+5", 5),
        (b"-1", 0),
        (b"-0.5", 0),
        (b"86400", DAY),
        (b"86401", DAY),
        (b"9" * 5000, DAY),
        (b"-" + b"9" * 5000, 0),
    ],
)
def test_seconds(value: bytes | str, seconds: float) -> None:
    assert asked(value) == seconds


@pytest.mark.parametrize(
    "date",
    [
        b"Fri, 06 Nov 2026 08:50:37 GMT",
        b"Friday, 06-Nov-26 08:50:37 GMT",
        b"Fri Nov  6 08:50:37 2026",
    ],
    ids=["IMF-fixdate", "RFC 850", "asctime"],
)
def test_the_three_forms_of_a_date(date: bytes, far_east: None) -> None:
    assert asked(date) == 60


@pytest.mark.parametrize(
    "garbage",
    [
        *(b"", b" ", b"soon", b"1e3", b"1_000", b"0x10", b"12 s", b"1,5", b".", b"--1", b"nan"),
        *(b"inf", b"Infinity", b"Fri, 06 Nov", b"Fri, 99 Nov 2026 08:50:37 GMT"),
        *(b"\xff\xfe", b"\xb2", "١٢", b"Fri, 06 Nov 99999999999999999999 08:50:37 GMT"),
    ],
)
def test_garbage_is_none(garbage: bytes | str) -> None:
    assert asked(garbage) is None


@given(st.integers(-10 * DAY, 10 * DAY))
def test_a_date_is_what_lies_between_it_and_now(seconds: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)

    assert asked(date) == min(max(0, seconds), LONGEST_RETRY_AFTER)


DATE_PARTS = st.sampled_from(
    ["Fri,", "Fri", "06", "Nov", "2026", "-", ":", "08:50:37", "08.50", "GMT", "+99999", "-0000"]
)


@given(
    st.binary(max_size=40)
    | st.text(max_size=40)
    | st.from_regex(r"[+-]?[0-9]{0,400}(\.[0-9]{0,9})?", fullmatch=True)
    | st.lists(DATE_PARTS | st.text(max_size=3), max_size=8).map(" ".join),
    st.floats(-1e12, 1e12),
)
@example("9" * 400, 0.0)
def test_whatever_is_sent_the_wait_is_bounded(value: bytes | str, now: float) -> None:
    seconds = parse_retry_after(value, now)

    assert seconds is None or 0 <= seconds <= LONGEST_RETRY_AFTER
