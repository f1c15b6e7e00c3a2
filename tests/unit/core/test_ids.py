"""Identifiers: unique, valid, and in the order of their time."""

from __future__ import annotations

import re
import uuid

from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.ids import request_id, uuid7

MILLISECONDS = st.integers(0, 2**48 - 1)


@given(MILLISECONDS)
def test_a_uuid7_is_valid_and_tells_its_time(now_ms: int) -> None:
    made = uuid7(now_ms)

    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == now_ms


@given(MILLISECONDS, MILLISECONDS)
def test_uuid7s_sort_by_time(first: int, second: int) -> None:
    if first < second:
        assert str(uuid7(first)) < str(uuid7(second))


def test_uuid7s_of_one_millisecond_differ() -> None:
    assert len({uuid7(1) for _ in range(2000)}) == 2000


def test_all_random_bits_are_used() -> None:
    ones = zeros = 0
    for _ in range(400):
        value = uuid7(0).int
        ones |= value
        zeros |= ~value & (1 << 128) - 1

    fixed = 0xFFFF_FFFF_FFFF << 80 | 0xF << 76 | 0b11 << 62
    assert ones & zeros == (1 << 128) - 1 ^ fixed


def test_request_ids_differ_and_are_safe_in_a_header() -> None:
    made = [request_id() for _ in range(500)]

    assert len(set(made)) == 500
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in made)


def test_the_present_is_the_default() -> None:
    assert abs((uuid7().int >> 80) - int(request_id()[:12], 16)) < 60_000
