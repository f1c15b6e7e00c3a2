"""Shuffle sharding, fair lines and weighted turns, each alone."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fairlead.traffic.fairness import MAX_WORK, FairQueue, Turns, deal

Item = tuple[str, int]


@given(flow=st.text(), queues=st.integers(1, 1024), data=st.data())
def test_a_hand_is_distinct_and_always_the_same(
    flow: str, queues: int, data: st.DataObject
) -> None:
    hand = deal(flow, queues, data.draw(st.integers(1, min(queues, 32))))

    assert len(set(hand)) == len(hand)
    assert all(0 <= card < queues for card in hand)
    assert deal(flow, queues, len(hand)) == hand


def test_a_hand_is_the_same_in_another_process() -> None:
    code = "from fairlead.traffic.fairness import deal; print(deal('alice', 64, 8))"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=15
    )

    assert done.stdout.strip() == str(deal("alice", 64, 8))


def test_hands_are_spread_evenly() -> None:
    flows = 20_000
    cards = Counter(card for n in range(flows) for card in deal(f"user-{n}", 64, 8))
    first = Counter(deal(f"user-{n}", 64, 8)[0] for n in range(flows))

    assert min(cards.values()) > 0.92 * flows * 8 / 64
    assert max(cards.values()) < 1.08 * flows * 8 / 64
    assert max(first.values()) < 1.25 * flows / 64


def test_hands_share_as_many_cards_as_chance_says() -> None:
    hands = [set(deal(f"user-{n}", 64, 8)) for n in range(1000)]
    shared = Counter(len(one & other) for one, other in itertools.pairwise(hands))

    # Hypergeometric: no card shared in 31 % of pairs, one on average, more than four in 0.2 %.
    assert 0.26 < shared[0] / 999 < 0.37
    assert sum(number * count for number, count in shared.items()) / 999 == pytest.approx(
        1, abs=0.1
    )
    assert shared[8] == 0


def fill(queue: FairQueue[Item], flow: str, count: int, hand: tuple[int, ...] = ()) -> None:
    cards = hand or deal(flow, len(queue.lines), min(8, len(queue.lines)))
    for number in range(count):
        queue.push(queue.shortest(cards), (flow, number))


def taken(queue: FairQueue[Item], count: int, work: float = 1.0) -> list[str]:
    flows = []
    for _ in range(count):
        line, (flow, _) = queue.pop()
        queue.settle(line, work)
        flows.append(flow)
    return flows


def test_a_task_joins_the_shortest_line_of_its_hand() -> None:
    queue: FairQueue[Item] = FairQueue(4)
    fill(queue, "a", 3, (0,))
    fill(queue, "b", 1, (1,))

    assert queue.shortest((0, 1)) is queue.lines[1]
    assert queue.shortest((0, 1, 2)) is queue.lines[2]


def test_of_lines_of_equal_length_the_least_served_takes_the_task() -> None:
    queue: FairQueue[Item] = FairQueue(2)
    fill(queue, "a", 4, (0,))
    taken(queue, 2)
    fill(queue, "b", 2, (1,))

    assert queue.shortest((0, 1)) is queue.lines[1]
    assert queue.shortest((1, 0)) is queue.lines[1]


def test_lines_take_turns_and_each_is_first_come_first_served() -> None:
    queue: FairQueue[Item] = FairQueue(3)
    for flow, card in [("a", 0), ("b", 1), ("c", 2)]:
        fill(queue, flow, 3, (card,))
    items = [queue.pop()[1] for _ in range(9)]

    assert [flow for flow, _ in items] == ["a", "b", "c"] * 3
    assert [number for _, number in items] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_a_flow_with_long_tasks_goes_less_often() -> None:
    queue: FairQueue[Item] = FairQueue(2)
    fill(queue, "long", 100, (0,))
    fill(queue, "short", 100, (1,))
    flows = Counter[str]()
    for _ in range(60):
        line, (flow, _) = queue.pop()
        queue.settle(line, 3.0 if flow == "long" else 1.0)
        flows[flow] += 1

    assert flows["short"] == pytest.approx(3 * flows["long"], abs=4)


def test_one_endless_task_counts_as_a_few_average_ones_only() -> None:
    queue: FairQueue[Item] = FairQueue(2)
    fill(queue, "a", 10, (0,))
    fill(queue, "b", 30, (1,))
    line, _ = queue.pop()
    queue.settle(line, 1e9)
    flows = taken(queue, 20)

    # The correction is due at its next turn: one turn, then it lets the other catch up.
    assert flows.count("a") >= 2
    assert flows.index("a", flows.index("a") + 1) <= MAX_WORK + 3


def test_ever_new_flows_do_not_keep_the_others_out() -> None:
    queue: FairQueue[Item] = FairQueue(9)
    fill(queue, "old", 2, (8,))
    taken(queue, 1)
    flows = []
    for n in range(20):
        fill(queue, f"new-{n}", 1, tuple(range(8)))
        flows += taken(queue, 1)

    # Every other line at most twice: where they were even, and once they are ahead by one.
    assert flows.index("old") <= 2 * 8


def test_where_all_tasks_take_the_same_a_new_flow_goes_before_those_that_always_wait() -> None:
    queue: FairQueue[Item] = FairQueue(9)
    for card in range(8):
        fill(queue, f"heavy-{card}", 50, (card,))
    taken(queue, 16)
    fill(queue, "light", 1, (8,))

    assert taken(queue, 1) == ["light"]


def test_quick_tasks_earn_no_place_before_others() -> None:
    queue: FairQueue[Item] = FairQueue(9)
    for card in range(8):
        fill(queue, f"heavy-{card}", 50, (card,))
    lines = [queue.pop()[0] for _ in range(80)]
    for line in lines:
        queue.settle(line, 0.0)
    assert len(set(taken(queue, 8, work=0.0))) == 8
    fill(queue, "light", 1, (8,))

    assert "light" in taken(queue, 9, work=0.0)


def test_a_line_that_was_idle_has_saved_up_nothing() -> None:
    queue: FairQueue[Item] = FairQueue(2)
    fill(queue, "busy", 100, (0,))
    fill(queue, "idle", 1, (1,))
    taken(queue, 50)
    fill(queue, "idle", 10, (1,))

    assert taken(queue, 10) == ["idle", "busy"] * 5


def test_a_line_that_was_idle_has_nothing_to_pay() -> None:
    queue: FairQueue[Item] = FairQueue(2)
    fill(queue, "idle", 1, (1,))
    taken(queue, 1, work=MAX_WORK)
    fill(queue, "busy", 10, (0,))
    fill(queue, "idle", 5, (1,))

    assert taken(queue, 10) == ["busy", "idle"] * 5


def test_the_longest_line_and_its_youngest() -> None:
    queue: FairQueue[Item] = FairQueue(4)
    fill(queue, "a", 2, (0,))
    fill(queue, "b", 4, (1,))
    assert queue.longest is queue.lines[1]
    assert queue.drop(queue.longest) == ("b", 3)
    assert queue.drop(queue.longest) == ("b", 2)
    assert queue.waiting == 4


def test_nothing_waits() -> None:
    queue: FairQueue[Item] = FairQueue(2)
    fill(queue, "a", 1)
    assert queue.clear() == [("a", 0)]
    with pytest.raises(IndexError):
        queue.pop()
    with pytest.raises(KeyError):
        queue.remove(queue.lines[0], ("a", 0))


class Lines(RuleBasedStateMachine):
    """Any order of joining, leaving, going and ending."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: FairQueue[int] = FairQueue(6)
        self.model: list[list[int]] = [[] for _ in range(6)]
        self.running: list[int] = []
        self.numbers = itertools.count()
        self.passed_over: Counter[int] = Counter()

    @rule(card=st.integers(0, 5))
    def push(self, card: int) -> None:
        number = next(self.numbers)
        self.queue.push(self.queue.lines[card], number)
        self.model[card].append(number)

    @precondition(lambda self: any(self.model))
    @rule()
    def pop(self) -> None:
        line, number = self.queue.pop()
        card = list(self.queue.lines).index(line)
        assert self.model[card].pop(0) == number
        self.running.append(card)
        self.passed_over[card] = 0
        for other, waiting in enumerate(self.model):
            self.passed_over[other] = self.passed_over[other] + 1 if waiting else 0
            # Each other line goes once per turn, and a turn comes after MAX_WORK at the latest.
            assert self.passed_over[other] <= 6 * (2 + len(self.running) * MAX_WORK)

    @precondition(lambda self: self.running)
    @rule(pick=st.integers(0, 99), work=st.floats(0, 20))
    def settle(self, pick: int, work: float) -> None:
        card = self.running.pop(pick % len(self.running))
        self.queue.settle(self.queue.lines[card], work)

    @precondition(lambda self: any(self.model))
    @rule(pick=st.integers(0, 99))
    def remove(self, pick: int) -> None:
        card, number = [(c, n) for c, line in enumerate(self.model) for n in line][
            pick % sum(map(len, self.model))
        ]
        self.queue.remove(self.queue.lines[card], number)
        self.model[card].remove(number)

    @precondition(lambda self: any(self.model))
    @rule()
    def drop(self) -> None:
        line = self.queue.longest
        card = list(self.queue.lines).index(line)
        assert self.queue.drop(line) == self.model[card].pop()

    @invariant()
    def everything_adds_up(self) -> None:
        assert [list(line.items) for line in self.queue.lines] == self.model
        assert self.queue.waiting == sum(map(len, self.model))
        assert len(self.queue.longest.items) == max(map(len, self.model))
        assert sum(line.running for line in self.queue.lines) == len(self.running)
        assert len(self.queue._heap) <= 6


TestLines = Lines.TestCase
TestLines.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)


def test_classes_go_as_often_as_their_weights_say() -> None:
    turns = Turns((8, 4, 2, 1))
    went = Counter[int]()
    for _ in range(1500):
        index = turns.choose(range(4))
        turns.charge(index, 1.0)
        went[index] += 1

    assert went == {0: 800, 1: 400, 2: 200, 3: 100}


def test_a_class_that_had_nothing_does_not_save_up_turns() -> None:
    turns = Turns((8, 4, 2, 1))
    for _ in range(1000):
        turns.charge(3, 1.0)
    turns.wake(0)
    went = []
    for _ in range(27):
        index = turns.choose([0, 3])
        turns.charge(index, 1.0)
        went.append(index)

    assert went.count(3) == pytest.approx(3, abs=1)


@given(st.randoms(use_true_random=False))
def test_no_class_waits_for_longer_than_one_round(rng: random.Random) -> None:
    turns = Turns((8, 4, 2, 1))
    since = [0, 0, 0, 0]
    for _ in range(300):
        index = turns.choose(range(4))
        turns.charge(index, rng.uniform(0.25, 1.0))
        since = [0 if at == index else count + 1 for at, count in enumerate(since)]
        # The classes above have 14 turns to its one; each turn may count as a quarter.
        assert since[3] <= 4 * 15
