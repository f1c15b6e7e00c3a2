"""The session table: bounded by number and by idle time."""

from __future__ import annotations

from fairlead.traffic.base import BalancerOptions, Server
from fairlead.traffic.health import EjectionLimit
from fairlead.traffic.member import Account, Member
from fairlead.traffic.sessions import SessionTable, session_key


def accounts(count: int) -> list[Account]:
    """The accounts of one server."""
    server = Server(name="a", accounts=count)
    return Member(server, BalancerOptions(), EjectionLimit()).accounts


def test_the_least_recently_served_goes_first() -> None:
    (place,) = accounts(1)
    table = SessionTable(2, ttl=60)
    table.served("one", place, None, 0)
    table.served("two", place, None, 1)
    table.served("one", place, None, 2)
    table.served("three", place, None, 3)

    assert table.home("one", 3) is place
    assert table.home("two", 3) is None
    assert table.home("three", 3) is place
    assert (len(table), place.member.sessions) == (2, 2)


def test_a_session_expires_by_idle_time_and_being_served_refreshes_it() -> None:
    (place,) = accounts(1)
    table = SessionTable(10, ttl=60)
    table.served("s", place, None, 0)
    table.served("s", place, None, 50)

    assert table.home("s", 110) is place
    assert table.home("s", 110.5) is None
    assert (len(table), place.member.sessions) == (0, 0)


def test_an_expired_place_does_not_come_back() -> None:
    old, new = accounts(2)
    table = SessionTable(10, ttl=60)
    table.served("s", old, None, 0)

    assert table.home("s", 100) is None
    table.served("s", new, None, 100)
    assert table.home("s", 100) is new


def test_expired_entries_are_removed_by_those_that_come() -> None:
    (place,) = accounts(1)
    table = SessionTable(1000, ttl=60)
    for number in range(100):
        table.served(f"old {number}", place, None, 0)
    for number in range(50):
        table.served(f"new {number}", place, None, 61)

    assert len(table) == 50


def test_memory_is_flat_however_many_sessions_come() -> None:
    (place,) = accounts(1)
    table = SessionTable(500, ttl=1e9)
    for number in range(50_000):
        table.gather(f"{number}", place)
        table.served(f"{number}", place, None, number)
        table.disperse(f"{number}")

    assert (len(table), table.gatherings, place.member.sessions) == (500, 0, 500)


def test_a_place_is_taken_over_only_from_the_one_that_was_left() -> None:
    first, second, third = accounts(3)
    table = SessionTable(10, ttl=60)
    table.served("s", first, None, 0)
    table.served("s", second, None, 0)
    assert table.home("s", 0) is first

    table.served("s", second, first, 0)
    table.served("s", third, first, 0)
    assert table.home("s", 0) is second
    assert table.moved == 1


def test_requests_gather_as_long_as_one_of_them_runs() -> None:
    first, second = accounts(2)
    table = SessionTable(10, ttl=60)
    table.gather("s", first)
    table.gather("s", second)
    table.disperse("s")
    assert table.gathering("s") is second

    table.disperse("s")
    assert table.gathering("s") is None
    assert table.gatherings == 0


def test_keys_are_per_model_and_bounded_whatever_callers_send() -> None:
    keys = {session_key(s, m) for s in ("a", "b", "x" * 10_000) for m in ("", "m", "y" * 10_000)}

    assert len(keys) == 9
    assert max(map(len, keys)) <= 100
    assert session_key("", "m") == ""
