"""Retries are a share of the requests, whatever fails."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.traffic.budget import RetryBudget


def test_the_burst_is_there_from_the_start_and_then_a_tenth() -> None:
    budget = RetryBudget(0.125, 2)
    assert [budget.withdraw() for _ in range(3)] == [True, True, False]

    for _ in range(7):
        budget.deposit()
    assert not budget.withdraw()
    budget.deposit()
    assert budget.withdraw()

    assert (budget.made, budget.denied) == (3, 2)


def test_no_more_than_the_burst_is_saved_up() -> None:
    budget = RetryBudget(1.0, 3)
    for _ in range(100):
        budget.deposit()

    assert [budget.withdraw() for _ in range(4)] == [True, True, True, False]


@given(st.lists(st.booleans(), max_size=300), st.integers(0, 5))
def test_retries_never_exceed_burst_and_share(steps: list[bool], burst: int) -> None:
    budget = RetryBudget(0.1, burst)
    requests = 0
    for is_request in steps:
        if is_request:
            requests += 1
            budget.deposit()
        else:
            budget.withdraw()
        assert budget.made <= burst + 0.1 * requests + 1e-9
