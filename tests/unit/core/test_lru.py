"""The bounded map, against a model of it that keeps a plain list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fairlead.core.lru import Memo, SizedLRU

KEYS = st.integers(0, 7)
MAX_ENTRIES, MAX_BYTES = 4, 40


class AgainstAList(RuleBasedStateMachine):
    """`model` holds (key, value) with the least recently used first."""

    def __init__(self) -> None:
        super().__init__()
        self.lru: SizedLRU[int, bytes] = SizedLRU(MAX_ENTRIES, MAX_BYTES, len)
        self.model: list[tuple[int, bytes]] = []
        self.evictions = 0

    def take(self, key: int) -> bytes | None:
        for index, (known, value) in enumerate(self.model):
            if known == key:
                del self.model[index]
                return value
        return None

    @rule(key=KEYS, size=st.integers(0, MAX_BYTES + 5))
    def put(self, key: int, size: int) -> None:
        kept = self.lru.put(key, bytes(size))
        self.take(key)
        assert kept == (size <= MAX_BYTES)
        if kept:
            self.model.append((key, bytes(size)))
        while (
            len(self.model) > MAX_ENTRIES or sum(len(value) for _, value in self.model) > MAX_BYTES
        ):
            self.model.pop(0)
            self.evictions += 1

    @rule(key=KEYS)
    def get(self, key: int) -> None:
        value = self.take(key)
        if value is not None:
            self.model.append((key, value))
        assert self.lru.get(key) == value

    @rule(key=KEYS)
    def pop(self, key: int) -> None:
        assert self.lru.pop(key) == self.take(key)

    @precondition(lambda self: len(self.model) > 2)
    @rule()
    def clear(self) -> None:
        self.lru.clear()
        self.model.clear()

    @invariant()
    def same(self) -> None:
        assert list(self.lru.items()) == self.model
        assert len(self.lru) == len(self.model)
        assert self.lru.bytes == sum(len(value) for _, value in self.model)
        assert self.lru.evictions == self.evictions
        assert all((key in self.lru) == any(key == k for k, _ in self.model) for key in range(8))


TestAgainstAList = AgainstAList.TestCase


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20), st.integers())))
def test_a_memo_forgets_the_oldest_first(steps: list[tuple[bool, int, int]]) -> None:
    memo: Memo[int, int] = Memo(5)
    model: dict[int, int] = {}
    for write, key, value in steps:
        if write:
            memo.put(key, value)
            if key not in model and len(model) == 5:
                del model[next(iter(model))]
            model[key] = value
        assert memo.get(key) == model.get(key)
        assert len(memo) == len(model) <= 5


def test_items_may_be_walked_while_the_map_changes() -> None:
    lru: SizedLRU[int, bytes] = SizedLRU(10, 10, len)
    for key in range(5):
        lru.put(key, b"x")

    for key, value in lru.items():
        assert lru.pop(key) == value

    assert len(lru) == 0


def test_a_map_without_room_keeps_nothing() -> None:
    lru: SizedLRU[str, bytes] = SizedLRU(0, 10, len)

    assert not lru.put("a", b"")
    assert len(lru) == 0


def test_explains_itself() -> None:
    lru: SizedLRU[str, bytes] = SizedLRU(3, 10, len)
    lru.put("a", b"12345")

    assert repr(lru) == "<SizedLRU 1/3 entries, 5/10 B>"
