"""Where requests go: a session's own place, the best one, the next one."""

from __future__ import annotations

import asyncio
import doctest
from collections import Counter

import pytest

import fairlead.traffic.balancer
from fairlead.errors import UpstreamError
from fairlead.traffic.balancer import SessionAwareLoadBalancer
from fairlead.traffic.base import BalancerOptions, LoadReport, Server
from support.balancing import Bench


def test_the_example_in_the_docstring_is_true() -> None:
    results = doctest.testmod(fairlead.traffic.balancer)

    assert (results.attempted > 0, results.failed) == (True, 0)


def test_a_session_goes_where_it_was_whatever_the_score_says() -> None:
    bench = Bench()
    home = bench.ask("s").server
    bench.balancer.reported(home, LoadReport(cpu=1.0, memory_free=0.0))

    assert {bench.ask("s").server for _ in range(10)} == {home}
    assert home not in {bench.ask(f"t{n}").server for n in range(10)}


@pytest.mark.parametrize(("status", "written"), [(200, 1), (302, 1), (400, 0), (500, 0)])
def test_a_place_is_written_by_success_only(status: int, written: int) -> None:
    bench = Bench()
    bench.ask("s", status)

    assert bench.balancer.statistics().sessions == written


def test_the_callers_own_errors_harm_no_place() -> None:
    bench = Bench()
    home = bench.ask("s").server
    bench.ask("s", 400)

    assert bench.ask("s").server == home


def test_the_table_is_bounded_and_forgets_with_time() -> None:
    bench = Bench(max_sessions=10, session_ttl=60.0)
    for number in range(30):
        bench.ask(f"s{number}")
    assert bench.balancer.statistics().sessions == 10
    assert sum(s.sessions for s in bench.balancer.statistics().servers) == 10

    bench.wait(61)
    bench.ask("new")
    assert bench.balancer.statistics().sessions < 10


def test_a_session_has_a_place_per_model() -> None:
    bench = Bench(4)
    places = [("large", ["a", "b"]), ("small", ["c", "d"])]
    homes = {}
    for model, among in places:
        assignment = bench.balancer.choose("s", model, among)
        assignment.answered(200, None)
        assignment.end()
        homes[model] = assignment.server
    bench.balancer.reported(homes["large"], LoadReport(cpu=0.5))
    bench.balancer.reported(homes["small"], LoadReport(cpu=0.5))

    for model, among in places:
        assert bench.balancer.choose("s", model, among).server == homes[model]


def test_without_a_session_requests_are_spread_and_nothing_is_kept() -> None:
    bench = Bench()
    counts = Counter(bench.ask("").server for _ in range(300))

    assert bench.balancer.statistics().sessions == 0
    assert len(counts) == 3
    assert min(counts.values()) > 60


def test_where_there_is_no_choice_nothing_is_kept() -> None:
    bench = Bench()
    assert bench.ask("s", only="b").server == "b"

    assert bench.balancer.statistics().sessions == 0


def test_the_place_of_a_session_is_an_account() -> None:
    bench = Bench(1, accounts=4)
    home = bench.ask("s").account
    held = bench.balancer.choose("s", "m")

    assert held.account == home
    assert {bench.ask("s").account for _ in range(10)} == {home}


def test_among_equal_servers_the_least_used_account_is_taken() -> None:
    bench = Bench(1, accounts=4)
    held = [bench.balancer.choose(f"s{n}", "m").account for n in range(8)]

    assert Counter(held) == {0: 2, 1: 2, 2: 2, 3: 2}


def test_region_and_capability_decide_first_choices() -> None:
    servers = [
        Server(name="plain"),
        Server(name="near", region="here"),
        Server(name="gpu", capabilities=frozenset({"gpu"})),
    ]
    balancer = SessionAwareLoadBalancer(servers, options=BalancerOptions(region="here"))

    assert balancer.choose("s", "m").server == "near"
    assert balancer.choose("t", "m", capabilities=("gpu",)).server == "gpu"
    assert balancer.choose("u", "m", capabilities=("quantum",)).server == "near"


def test_a_report_counts_while_it_is_fresh_and_only_where_it_is_more() -> None:
    bench = Bench(2)
    bench.balancer.reported("a", LoadReport(running=20, waiting=5))
    assert bench.of("a").load == 25
    assert {bench.ask(f"s{n}").server for n in range(20)} == {"b"}

    bench.wait(15.1)
    assert (bench.of("a").load, bench.of("a").report) == (0, None)
    assert {bench.ask(f"t{n}").server for n in range(20)} == {"a", "b"}


def test_two_balancers_agree_on_fresh_sessions() -> None:
    first, second = Bench(5, accounts=3), Bench(5, accounts=3)
    second.balancer.update(
        [Server(name=name, accounts=3) for name in reversed(second.names)],
    )

    for number in range(200):
        one, other = (bench.ask(f"s{number}") for bench in (first, second))
        assert (one.server, one.account) == (other.server, other.account)


def test_a_place_with_too_much_to_do_is_passed_over_for_that_request_only() -> None:
    bench = Bench()
    home = bench.ask("s").server
    held = [bench.balancer.choose("", "m", [home]) for _ in range(20)]

    elsewhere = bench.ask("s")
    assert elsewhere.server != home
    assert {bench.ask("s").server for _ in range(5)} == {elsewhere.server}
    for assignment in held:
        assignment.end()

    assert bench.ask("s").server == home
    assert (bench.balancer.statistics().spills, bench.balancer.statistics().moved_sessions) == (
        6,
        0,
    )


def test_few_requests_never_count_as_too_many() -> None:
    bench = Bench()
    home = bench.ask("s").server

    placed = [bench.balancer.choose("s", "m").server for _ in range(5)]

    assert placed == [home] * 5
    assert bench.balancer.statistics().spills == 0


def test_first_choices_keep_to_the_bound_too() -> None:
    balancer = SessionAwareLoadBalancer(
        [Server(name="near", region="here"), Server(name="far")],
        options=BalancerOptions(region="here", load_slack=0),
    )

    placed = Counter(balancer.choose(f"s{n}", "m").server for n in range(100))

    assert placed == {"near": 62, "far": 38}


def test_a_hundred_first_requests_of_one_session_go_to_one_place() -> None:
    bench = Bench(4, accounts=2, load_slack=1000)
    placed = [bench.balancer.choose("s", "m") for _ in range(100)]

    assert len({(assignment.server, assignment.account) for assignment in placed}) == 1
    for assignment in placed:
        assignment.end()
    assert bench.balancer._sessions.gatherings == 0


def test_a_session_without_a_place_stays_together_while_any_of_its_requests_runs() -> None:
    bench = Bench(3)
    first, second = (bench.balancer.choose("s", "m") for _ in range(2))
    first.end()
    bench.balancer.reported(second.server, LoadReport(cpu=1.0))

    assert bench.balancer.choose("s", "m").server == second.server


def test_a_hundred_first_requests_of_one_session_keep_to_the_bound() -> None:
    bench = Bench(4)
    placed = [bench.balancer.choose("s", "m") for _ in range(100)]
    counts = Counter(assignment.server for assignment in placed)

    assert [assignment.server for assignment in placed[:5]] == [placed[0].server] * 5
    assert max(counts.values()) <= 1.25 * 25 + 1
    for assignment in placed:
        assignment.answered(200, None)
        assignment.end()
    assert len({bench.ask("s").server for _ in range(10)}) == 1
    assert bench.balancer.statistics().sessions == 1
    assert bench.balancer.statistics().moved_sessions == 0


def test_when_its_place_fails_a_sessions_requests_meet_again_at_another() -> None:
    bench = Bench(5, load_slack=1000)
    home = bench.ask("s").server
    running = [bench.balancer.choose("s", "m") for _ in range(50)]
    again = []
    for assignment in running:
        assignment.failed(sent=False)
        assignment.end()
        again.append(bench.balancer.again(assignment))

    (place,) = {assignment.server for assignment in again}
    assert place != home
    for assignment in again:
        assignment.answered(200, None)
        assignment.end()
    assert bench.ask("s").server == place
    assert bench.balancer.statistics().moved_sessions == 1


def test_sessions_of_an_ejected_server_move_for_good() -> None:
    bench = Bench(3)
    home = bench.ask("s").server
    bench.break_off(home, times=5)
    place = bench.ask("s").server
    bench.wait(30)
    bench.ask("t", only=home)
    bench.wait(60)

    assert place != home
    assert bench.of(home).health == "healthy"
    assert bench.ask("s").server == place


def test_an_update_keeps_what_is_known_of_those_that_stay() -> None:
    bench = Bench(3)
    homes = {f"s{n}": bench.ask(f"s{n}").server for n in range(60)}
    held = bench.balancer.choose("held", "m", ["a"])
    bench.break_off("b", times=5)

    bench.balancer.update([Server(name=name, capacity=50) for name in "abd"])

    assert (bench.of("a").in_flight, bench.of("b").health) == (1, "ejected")
    stay = {session: home for session, home in homes.items() if home == "a"}
    assert {session: bench.ask(session).server for session in stay} == stay
    assert "c" not in {bench.ask(session).server for session in homes}
    held.end()
    assert bench.of("a").in_flight == 0


def test_a_server_that_comes_starts_slowly() -> None:
    bench = Bench(1, load_slack=0, load_factor=1.0)
    bench.balancer.update([Server(name="a"), Server(name="b")])
    assert (bench.of("a").health, bench.of("b").health) == ("healthy", "slow-start")

    placed = Counter(bench.balancer.choose(f"s{n}", "m").server for n in range(110))

    assert placed == {"a": 100, "b": 10}


def test_assignments_to_removed_servers_and_accounts_end_harmlessly() -> None:
    bench = Bench(2, accounts=2)
    held = [bench.balancer.choose(f"s{n}", "m") for n in range(20)]
    bench.balancer.update([Server(name="a", accounts=1)])

    for assignment in held:
        stays = (assignment.server, assignment.account) == ("a", 0)
        assert assignment.valid == stays
        assignment.answered(200, None)
        assignment.end()
    assert bench.of("a").in_flight == 0
    assert {(bench.ask(f"s{n}").server, bench.ask(f"s{n}").account) for n in range(20)} == {
        ("a", 0)
    }


def test_a_drain_by_hand_outlives_an_update_unless_the_configuration_says_so() -> None:
    bench = Bench(2)
    bench.balancer.set_state("a", "draining")
    bench.balancer.update([Server(name="a", capacity=10), Server(name="b", state="draining")])
    assert (bench.of("a").state, bench.of("b").state) == ("draining", "draining")

    bench.balancer.update([Server(name="a"), Server(name="b")])
    assert (bench.of("a").state, bench.of("b").state) == ("draining", "active")


def test_what_comes_after_the_end_changes_nothing() -> None:
    bench = Bench()
    assignment = bench.balancer.choose("s", "m")
    assignment.end()
    before = bench.balancer.statistics()

    assignment.answered(200, None)
    assignment.failed(sent=True)
    assignment.refused()
    assignment.end()

    assert bench.balancer.statistics() == before


def test_no_known_server_is_an_error_that_names_them() -> None:
    with pytest.raises(UpstreamError, match="x, y"):
        Bench().balancer.choose("s", "m", ["x", "y"])
    with pytest.raises(UpstreamError, match="none"):
        SessionAwareLoadBalancer().choose("s")


def test_two_servers_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        SessionAwareLoadBalancer([Server(name="a"), Server(name="a")])


@pytest.mark.parametrize(
    "options",
    [
        {"load_factor": 0.9},
        {"max_sessions": 0},
        {"ejection_time": 0.0},
        {"retry_budget": -0.1},
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        BalancerOptions(**options)


def test_strangers_are_told_so() -> None:
    with pytest.raises(TypeError, match="not an assignment"):
        Bench().balancer.again("a")


def test_closing_forgets_the_sessions() -> None:
    bench = Bench()

    async def use() -> None:
        async with bench.balancer:
            bench.ask("s")

    asyncio.run(use())

    assert bench.balancer.statistics().sessions == 0
