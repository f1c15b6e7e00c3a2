"""Ejection, its limit, trials, slow start and probes."""

from __future__ import annotations

import pytest

from fairlead.errors import UpstreamDrainingError
from fairlead.traffic.base import Server
from support.balancing import Bench


def eject(bench: Bench, name: str) -> None:
    """Let a server fail until it is ejected."""
    bench.break_off(name, times=5)
    assert bench.of(name).health == "ejected"


def test_five_failures_in_a_row_eject() -> None:
    bench = Bench()
    bench.break_off("a", times=4)
    assert bench.of("a").health == "healthy"

    bench.break_off("a")

    assert bench.of("a").health == "ejected"
    assert "a" not in {bench.ask(f"s{n}").server for n in range(50)}


def test_a_success_between_begins_the_count_anew() -> None:
    bench = Bench()
    bench.break_off("a", times=4)
    bench.ask(only="a")
    bench.break_off("a", times=4)

    assert bench.of("a").health == "healthy"


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_statuses_of_a_sick_server_eject(status: int) -> None:
    bench = Bench()
    for _ in range(5):
        bench.ask(status=status, only="a")

    assert bench.of("a").health == "ejected"
    assert (bench.of("a").failed, bench.of("a").served) == (5, 0)


@pytest.mark.parametrize("status", [200, 400, 404, 429, 501, 529])
def test_other_statuses_do_not(status: int) -> None:
    bench = Bench()
    bench.break_off("a", times=4)
    for _ in range(5):
        bench.ask(status=status, only="a")
    bench.break_off("a", times=4)

    assert bench.of("a").health == "healthy"


def test_answers_that_begin_well_and_break_eject_too() -> None:
    bench = Bench()
    for _ in range(5):
        assignment = bench.balancer.choose("", "m", ["a"])
        assignment.answered(200, None)
        assignment.failed(sent=True)
        assignment.end()

    assert bench.of("a").health == "ejected"
    assert (bench.of("a").failed, bench.of("a").served, bench.of("a").unreachable) == (5, 0, 0)


def test_a_failure_whose_body_breaks_counts_once() -> None:
    bench = Bench()
    for _ in range(4):
        assignment = bench.balancer.choose("", "m", ["a"])
        assignment.answered(503, None)
        assignment.failed(sent=True)
        assignment.end()

    assert bench.of("a").failed == 4
    assert bench.of("a").health == "healthy"


@pytest.mark.parametrize(("count", "most"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)])
def test_at_most_half_are_ejected(count: int, most: int) -> None:
    bench = Bench(count)
    for name in bench.names:
        bench.break_off(name, times=10)

    ejected = [name for name in bench.names if bench.of(name).health == "ejected"]
    assert ejected == bench.names[:most]


def test_where_all_are_ejected_or_should_be_all_are_tried() -> None:
    bench = Bench(4)
    for name in bench.names:
        bench.break_off(name, times=5)

    assert {bench.ask(f"s{n}", 503).server for n in range(50)} == set(bench.names)


def test_where_all_of_a_requests_own_are_ejected_they_are_tried() -> None:
    bench = Bench(4)
    eject(bench, "a")
    eject(bench, "b")

    assert bench.balancer.choose("s", "m", ["a", "b"]).server in {"a", "b"}
    assert {bench.ask(f"s{n}").server for n in range(50)} == {"c", "d"}


def test_after_its_time_one_request_at_a_time_tries_it() -> None:
    bench = Bench(2)
    eject(bench, "a")
    bench.wait(29.9)
    assert bench.of("a").health == "ejected"
    bench.wait(0.1)
    assert bench.of("a").health == "trial"

    placed = [bench.balancer.choose(f"s{n}", "m") for n in range(40)]

    trials = [assignment for assignment in placed if assignment.server == "a"]
    assert len(trials) == 1
    trials[0].end()
    more = [bench.balancer.choose(f"t{n}", "m") for n in range(40)]
    assert [assignment.server for assignment in more].count("a") == 1


def test_a_failed_trial_ejects_for_longer_up_to_a_limit() -> None:
    bench = Bench(2)
    eject(bench, "a")
    for seconds in (30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300):
        bench.wait(seconds - 0.1)
        assert bench.of("a").health == "ejected"
        bench.wait(0.1)
        assert bench.of("a").health == "trial"
        bench.break_off("a")

    assert bench.of("a").ejections == 12


def test_a_good_trial_brings_it_back_slowly() -> None:
    bench = Bench(2, slow_start=10.0, load_slack=0, load_factor=1.0)
    eject(bench, "a")
    bench.wait(30)
    bench.ask(only="a")
    assert bench.of("a").health == "slow-start"

    early = [bench.balancer.choose(f"s{n}", "m") for n in range(60)]
    assert 3 <= [assignment.server for assignment in early].count("a") <= 7
    for assignment in early:
        assignment.end()

    bench.wait(10)
    assert bench.of("a").health == "healthy"
    late = [bench.balancer.choose(f"t{n}", "m") for n in range(60)]
    assert 28 <= [assignment.server for assignment in late].count("a") <= 32


def test_health_over_time_shortens_the_next_ejection() -> None:
    bench = Bench(2)
    eject(bench, "a")
    bench.wait(30)
    bench.break_off("a")
    bench.wait(60)
    bench.ask(only="a")
    bench.wait(601)

    eject(bench, "a")

    bench.wait(30)
    assert bench.of("a").health == "trial"


def test_what_was_sent_before_the_ejection_says_nothing_after_it() -> None:
    bench = Bench(2)
    before = [bench.balancer.choose("", "m", ["a"]) for _ in range(10)]
    eject(bench, "a")

    before[0].answered(200, None)
    assert bench.of("a").health == "ejected"
    bench.wait(30)
    for assignment in before[1:]:
        assignment.failed(sent=True)
    assert bench.of("a").health == "trial"
    assert bench.of("a").ejections == 1


def test_what_was_sent_before_the_ejection_says_nothing_after_the_return_either() -> None:
    bench = Bench(2)
    before = [bench.balancer.choose("", "m", ["a"]) for _ in range(10)]
    eject(bench, "a")
    bench.wait(30)
    bench.ask(only="a")
    for assignment in before:
        assignment.failed(sent=True)

    assert bench.of("a").health == "slow-start"


def test_failures_while_all_are_tried_do_not_lengthen_an_ejection() -> None:
    bench = Bench(2)
    eject(bench, "a")
    bench.break_off("a", times=20)

    assert bench.of("a").ejections == 1
    bench.ask(only="a")
    assert bench.of("a").health == "slow-start"


def test_a_probe_may_end_an_ejection_into_a_trial_not_further() -> None:
    bench = Bench(2)
    eject(bench, "a")

    bench.balancer.probed("a", ok=True)

    assert bench.of("a").health == "trial"


def test_failing_probes_count_and_good_ones_pardon_only_them() -> None:
    bench = Bench(2)
    bench.break_off("a", times=3)
    bench.balancer.probed("a", ok=False)
    bench.balancer.probed("a", ok=True)
    bench.balancer.probed("a", ok=False)
    assert bench.of("a").health == "healthy"

    bench.balancer.probed("a", ok=False)

    assert bench.of("a").health == "ejected"


def test_a_failing_probe_is_a_failed_trial_unless_one_is_under_way() -> None:
    bench = Bench(2)
    eject(bench, "a")
    bench.balancer.probed("a", ok=False)
    assert bench.of("a").ejections == 1
    bench.wait(30)
    trial = bench.balancer.choose("s", "m", ["a"])
    bench.balancer.probed("a", ok=False)
    assert bench.of("a").ejections == 1

    trial.end()
    bench.balancer.probed("a", ok=False)

    assert bench.of("a").ejections == 2


def test_probes_and_reports_of_a_removed_server_are_harmless() -> None:
    bench = Bench(2)
    bench.balancer.update([Server(name="a")])

    bench.balancer.probed("b", ok=False)

    assert [s.name for s in bench.balancer.statistics().servers] == ["a"]


def test_fewer_servers_bring_back_what_is_more_than_half() -> None:
    bench = Bench(4)
    eject(bench, "a")
    bench.wait(1)
    eject(bench, "b")

    bench.balancer.update([Server(name=name) for name in "abc"])

    assert [bench.of(name).health for name in "abc"] == ["slow-start", "ejected", "healthy"]


def test_a_removed_server_that_goes_on_failing_takes_nobodys_place() -> None:
    bench = Bench(4)
    running = [bench.balancer.choose("", "m", ["a"]) for _ in range(5)]
    bench.balancer.update([Server(name=name) for name in "bcd"])
    for assignment in running:
        assignment.failed(sent=True)
        assignment.end()

    eject(bench, "b")


def test_draining_takes_nothing_new_and_comes_back_slowly() -> None:
    bench = Bench(2)
    home = bench.ask("s").server
    running = bench.balancer.choose("s", "m")
    bench.balancer.set_state(home, "draining")

    assert not running.valid
    assert bench.ask("s").server != home
    with pytest.raises(UpstreamDrainingError):
        bench.balancer.choose("s", "m", [home])

    bench.balancer.set_state(home, "active")
    assert running.valid
    assert (bench.of(home).state, bench.of(home).health) == ("active", "slow-start")


def test_an_unknown_server_has_no_state() -> None:
    with pytest.raises(KeyError, match="known: a, b"):
        Bench(2).balancer.set_state("z", "draining")


def test_an_assignment_is_valid_unless_its_server_went_out_after_it() -> None:
    bench = Bench(2)
    before = bench.balancer.choose("s", "m", ["a"])
    eject(bench, "a")
    bench.wait(30)
    trial = bench.balancer.choose("s", "m", ["a"])

    assert (before.valid, trial.valid) == (False, True)
    bench.balancer.update([Server(name="b")])
    assert not trial.valid
