"""Whether, where and when a request is tried again, and who rests or is set aside."""

from __future__ import annotations

import msgspec
import pytest

from fairlead.errors import UpstreamKeyError, UpstreamRestingError
from fairlead.traffic.assignment import ServerAssignment
from fairlead.traffic.base import LoadReport, Server
from support.balancing import Bench


def again(
    bench: Bench, assignment: ServerAssignment, status: int, retry_after: float | None = None
) -> ServerAssignment | None:
    """What follows an answer."""
    assignment.answered(status, retry_after)
    assignment.end()
    return bench.balancer.again(assignment)


def place(assignment: ServerAssignment) -> tuple[str, int]:
    """Server and account."""
    return assignment.server, assignment.account


@pytest.mark.parametrize("status", [200, 400, 404, 413, 500, 501])
def test_other_answers_stand(status: int) -> None:
    bench = Bench(accounts=2)

    assert again(bench, bench.balancer.choose("s", "m"), status) is None


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_sick_servers_answer_goes_elsewhere_at_most_twice(status: int) -> None:
    bench = Bench(4, accounts=2)
    tries = [bench.balancer.choose("s", "m")]
    while following := again(bench, tries[-1], status):
        tries.append(following)

    assert len({assignment.server for assignment in tries}) == 3
    assert [assignment.delay for assignment in tries] == [0, 0, 0]
    assert bench.balancer.statistics().retries == 2


@pytest.mark.parametrize("sent", [False, True])
def test_a_failed_connection_goes_elsewhere(sent: bool) -> None:
    bench = Bench(2)
    first = bench.balancer.choose("s", "m")
    first.failed(sent=sent)

    second = bench.balancer.again(first)

    assert second.server != first.server
    assert bench.of(first.server).unreachable == (not sent)


def test_where_there_is_no_other_server_what_it_met_stands() -> None:
    bench = Bench(1, accounts=3)
    assert again(bench, bench.balancer.choose("s", "m"), 503) is None
    assert bench.balancer.statistics().retries == 0


def test_an_ejected_server_is_no_other_server() -> None:
    bench = Bench(2)
    bench.break_off("a", times=5)
    first = bench.balancer.choose("s", "m")

    assert first.server == "b"
    assert again(bench, first, 502) is None


def test_a_full_queue_sends_to_every_other_server_once_and_costs_no_retry() -> None:
    bench = Bench(5, max_retries=0, retry_burst=0)
    home = bench.ask("s").server
    tries: list[ServerAssignment] = []
    following: ServerAssignment | None = bench.balancer.choose("s", "m")
    while following:
        tries.append(following)
        following.refused()
        following.end()
        following = bench.balancer.again(following)

    assert sorted(assignment.server for assignment in tries) == bench.names
    assert bench.balancer.statistics().retries == 0
    assert bench.ask("s").server == home


def test_a_session_whose_first_place_was_full_stays_where_it_was_served() -> None:
    bench = Bench(5)
    first = bench.balancer.choose("s", "m")
    first.refused()
    second = bench.balancer.again(first)
    first.end()
    second.answered(200, None)
    second.end()

    assert bench.ask("s").server == second.server


def test_a_full_queue_leaves_the_session_its_place() -> None:
    bench = Bench(3)
    home = bench.ask("s").server
    first = bench.balancer.choose("s", "m")
    first.refused()
    first.end()
    second = bench.balancer.again(first)
    second.answered(200, None)
    second.end()

    assert second.server != home
    assert bench.ask("s").server == home


@pytest.mark.parametrize("session", ["", "s"])
@pytest.mark.parametrize("status", [401, 429])
def test_another_account_of_the_same_server_comes_first(session: str, status: int) -> None:
    for number in range(10):
        bench = Bench(6, accounts=2)
        first = bench.balancer.choose(session and f"{session}{number}", "m")
        bench.balancer.reported(first.server, LoadReport(running=3))

        assert again(bench, first, status).server == first.server


def test_after_429_another_account_then_another_server_with_back_off() -> None:
    bench = Bench(2, accounts=2, max_retries=10)
    tries = [bench.balancer.choose("s", "m")]
    while following := again(bench, tries[-1], 429):
        tries.append(following)

    assert [place(t)[0] for t in tries] == [tries[0].server] * 2 + [tries[2].server] * 2
    assert len({place(t) for t in tries}) == 4
    assert [t.delay for t in tries] == pytest.approx([0, 0.05, 0.1, 0.2])


def test_a_429_leaves_the_session_its_place() -> None:
    bench = Bench(2, accounts=2)
    home = place(bench.ask("s"))
    other = again(bench, bench.balancer.choose("s", "m"), 429)
    other.answered(200, None)
    other.end()

    assert place(bench.ask("s")) == home


def test_after_529_the_same_account_twice_then_it_stands() -> None:
    bench = Bench(3, accounts=2, max_retries=5)
    tries = [bench.balancer.choose("s", "m")]
    for retry_after in (3.0, 60.0):
        tries.append(again(bench, tries[-1], 529, retry_after))

    assert [t.delay for t in tries] == [0, 3.0, 10.0]
    assert {place(t) for t in tries} == {place(tries[0])}
    assert again(bench, tries[-1], 529) is None


def test_a_529_that_names_no_time_backs_off_by_chance() -> None:
    bench = Bench(1, max_retries=5)
    first = bench.balancer.choose("s", "m")
    second = again(bench, first, 529)
    third = again(bench, second, 529)

    assert [second.delay, third.delay] == [0.5, 1.0]


def test_a_529_of_a_server_that_was_drained_stands() -> None:
    bench = Bench(2)
    first = bench.balancer.choose("s", "m")
    bench.balancer.set_state(first.server, "draining")

    assert again(bench, first, 529) is None


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_goes_to_another_at_once(status: int) -> None:
    bench = Bench(2, accounts=2, max_retries=10)
    tries = [bench.balancer.choose("s", "m")]
    while following := again(bench, tries[-1], status):
        tries.append(following)

    assert len({place(t) for t in tries}) == 4
    assert tries[0].server == tries[1].server
    assert {t.delay for t in tries} == {0}


def test_the_budget_bounds_retries_and_counts_those_it_denies() -> None:
    bench = Bench(4, retry_burst=3, max_retries=1)
    for number in range(8):
        again(bench, bench.balancer.choose(f"s{number}", "m"), 502)
        for name in bench.names:
            bench.ask("", only=name)
    statistics = bench.balancer.statistics()
    assert statistics.requests == 40
    assert statistics.retries + statistics.retries_denied == 8
    assert statistics.retries <= 3 + 4

    empty = Bench(4, retry_burst=0)
    assert again(empty, empty.balancer.choose("s", "m"), 502) is None
    assert empty.balancer.statistics().retries_denied == 1


def test_load_is_counted_whichever_is_first_the_end_or_the_next_try() -> None:
    for end_first in (True, False):
        bench = Bench(2)
        first = bench.balancer.choose("s", "m")
        first.failed(sent=True)
        if end_first:
            first.end()
        second = bench.balancer.again(first)
        first.end()
        assert (bench.of(first.server).in_flight, bench.of(second.server).in_flight) == (0, 1)
        second.end()
        assert bench.of(second.server).in_flight == 0


@pytest.mark.parametrize("status", [429, 529])
def test_an_account_that_asks_for_it_rests_for_that_model(status: int) -> None:
    bench = Bench(1, accounts=2)
    home = bench.ask("s")
    again(bench, bench.balancer.choose("s", "m"), status, 20.0)

    assert place(bench.ask("s")) != place(home)
    assert place(bench.ask("s", model="other")) is not None
    assert (bench.of("a").resting, bench.of("a").rest) == (1, 20.0)
    bench.wait(20)
    assert place(bench.ask("s")) == place(home)
    assert bench.of("a").resting == 0


def test_a_session_whose_account_rests_goes_to_another_of_the_same_server() -> None:
    bench = Bench(6, accounts=2)
    for number in range(10):
        home = bench.ask(f"s{number}")
        assignment = bench.balancer.choose(f"s{number}", "m")
        assignment.answered(429, 1.0)
        assignment.end()

        assert bench.ask(f"s{number}").server == home.server
        bench.wait(1)


def test_of_two_rests_the_longer_stands() -> None:
    bench = Bench(1)
    running = [bench.balancer.choose("s", "m") for _ in range(3)]
    for assignment, seconds in zip(running, (5.0, 60.0, 10.0), strict=True):
        assignment.answered(429, seconds)

    assert bench.of("a").rest == 60.0


def test_503_rests_the_whole_server_for_that_model() -> None:
    bench = Bench(2, accounts=2)
    home = bench.ask("s").server
    again(bench, bench.balancer.choose("s", "m"), 503, 20.0)

    assert home not in {bench.ask(f"s{n}").server for n in range(20)}
    assert home in {bench.ask(f"s{n}", model="other").server for n in range(20)}


@pytest.mark.parametrize("retry_after", [None, 0.0, -5.0, float("nan")])
def test_without_a_time_nothing_rests(retry_after: float | None) -> None:
    bench = Bench(1)
    again(bench, bench.balancer.choose("s", "m"), 429, retry_after)

    assert bench.of("a").resting == 0


def test_when_all_rest_the_soonest_is_named() -> None:
    bench = Bench(2)
    for name, status, seconds in (("a", 529, 40.0), ("b", 429, 25.0)):
        assignment = bench.balancer.choose("", "m", [name])
        assignment.answered(status, seconds)
        assignment.end()
    bench.wait(5)

    with pytest.raises(UpstreamRestingError, match="'b'") as raised:
        bench.balancer.choose("s", "m")

    assert (raised.value.status, raised.value.retry_after) == (429, 20.0)


def test_nobody_rests_for_longer_than_five_minutes() -> None:
    bench = Bench(1)
    again(bench, bench.balancer.choose("s", "m"), 429, 1e9)
    bench.wait(300)

    assert bench.ask("s").server == "a"


def test_rests_are_bounded_though_callers_name_the_models() -> None:
    bench = Bench(1)
    for number in range(3000):
        assignment = bench.balancer.choose("s", f"model {number}")
        assignment.answered(429, 60.0)
        assignment.end()

    assert bench.of("a").resting == 1000


def refuse(bench: Bench, status: int = 401) -> None:
    """The only key of server `a` is refused."""
    assignment = bench.balancer.choose("", "m", ["a"])
    assignment.answered(status, None)
    assignment.end()


def test_a_refused_key_is_set_aside_for_longer_each_time() -> None:
    bench = Bench(1)
    for seconds in (30, 60, 120, 240, 480, 600, 600):
        refuse(bench)
        bench.wait(seconds - 0.1)
        with pytest.raises(UpstreamKeyError, match="'a'"):
            bench.balancer.choose("s", "m")
        bench.wait(0.1)

    trial = bench.balancer.choose("s", "m")
    with pytest.raises(UpstreamKeyError):
        bench.balancer.choose("s", "m")
    trial.answered(200, None)
    trial.end()
    assert bench.of("a").accounts_set_aside == 0
    refuse(bench)
    bench.wait(30)
    assert bench.ask("s").server == "a"


def test_many_refusals_at_once_count_as_one() -> None:
    bench = Bench(1)
    running = [bench.balancer.choose("s", "m") for _ in range(50)]
    for assignment in running:
        assignment.answered(401, None)
        assignment.end()
    bench.wait(30)

    assert bench.ask("s").server == "a"


def test_an_answer_to_what_was_sent_before_does_not_bring_a_key_back() -> None:
    bench = Bench(1)
    before = bench.balancer.choose("s", "m")
    refuse(bench)
    before.answered(200, None)

    assert bench.of("a").accounts_set_aside == 1


def test_a_trial_of_a_key_that_ends_without_an_answer_makes_room() -> None:
    bench = Bench(1)
    refuse(bench)
    bench.wait(30)
    bench.balancer.choose("s", "m").end()

    assert bench.ask("s").server == "a"


def test_403_three_times_in_a_row_sets_the_key_aside_for_that_model_only() -> None:
    bench = Bench(1)
    for status in (403, 403, 200, 403, 403):
        bench.ask("s", status)
    bench.ask("s")
    for _ in range(3):
        refuse(bench, 403)

    with pytest.raises(UpstreamKeyError, match="'a'"):
        bench.balancer.choose("s", "m")
    bench.balancer.choose("s", "another model").end()
    bench.wait(30)
    assert bench.ask("s").server == "a"


def test_a_trial_without_a_result_does_not_keep_a_key_out_for_ever() -> None:
    bench = Bench(1)
    refuse(bench)
    bench.wait(30)
    hangs = bench.balancer.choose("s", "m")
    with pytest.raises(UpstreamKeyError):
        bench.balancer.choose("s", "m")
    bench.wait(10)

    assert bench.ask("s").server == "a"
    hangs.end()


def test_a_new_key_in_the_place_of_a_refused_one_begins_anew() -> None:
    bench = Bench(0)
    old = Server(name="a", account_ids=("old",))
    bench.balancer.update([old])
    late = bench.balancer.choose("s", "m")
    refuse(bench)
    bench.balancer.update([msgspec.structs.replace(old, account_ids=("new",))])
    late.answered(401, None)
    late.end()

    assert [bench.ask("s").server for _ in range(3)] == ["a"] * 3
    assert bench.of("a").accounts_set_aside == 0


def test_where_all_rest_shortly_a_server_of_ones_own_is_called_all_the_same() -> None:
    bench = Bench(0)
    bench.balancer.update(
        [Server(name="a", rests_softly=True), Server(name="b", rests_softly=True)]
    )
    first = bench.balancer.choose("s", "m")
    first.answered(529, 2.0)
    first.end()
    assert bench.ask("t").server != first.server
    second = bench.balancer.choose("t", "m")
    second.answered(529, 60.0)
    second.end()

    assert bench.ask("u").server == first.server


def test_a_session_leaves_an_account_that_is_set_aside() -> None:
    bench = Bench(1, accounts=2)
    home = place(bench.ask("s"))
    other = again(bench, bench.balancer.choose("s", "m"), 401)
    other.answered(200, None)
    other.end()
    bench.wait(3000)

    assert place(bench.ask("s")) == place(other) != home


def test_a_session_leaves_an_account_that_others_found_refused() -> None:
    bench = Bench(2)
    home = bench.ask("s").server
    bench.ask("", 401, only=home)
    elsewhere = bench.ask("s").server
    bench.wait(30)
    bench.ask("", only=home)

    assert elsewhere != home
    assert bench.ask("s").server == elsewhere


def test_new_keys_are_tried_at_once_after_an_update() -> None:
    bench = Bench(1)
    refuse(bench)

    bench.balancer.update([Server(name="a")])

    assert bench.ask("s").server == "a"


def test_a_refused_key_says_nothing_of_the_servers_health() -> None:
    bench = Bench(2, accounts=2)
    for _ in range(20):
        bench.ask("s", 401, only="a")
        bench.wait(700)

    assert bench.of("a").health == "healthy"
