from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.simulated.prefix import BLOCK_TOKENS, PrefixCache

BLOCK = BLOCK_TOKENS * 4


def prompt(*blocks: int, rest: int = 40) -> bytes:
    return b"".join(bytes([number]) * BLOCK for number in blocks) + b"z" * rest


def test_a_growing_conversation_finds_its_beginning() -> None:
    cache = PrefixCache(100)
    first = cache.look_up("m", prompt(1, 2))
    assert (first.prompt, first.cached, first.stored) == (2 * 512 + 10, 0, 1024)
    second = cache.look_up("m", prompt(1, 2, 3))
    assert (second.cached, second.stored) == (1024, 512)


def test_the_same_block_behind_another_beginning_is_not_found() -> None:
    cache = PrefixCache(100)
    cache.look_up("m", prompt(1, 2))
    assert cache.look_up("m", prompt(3, 2)).cached == 0
    assert cache.look_up("other model", prompt(1, 2)).cached == 0


def test_the_last_token_is_always_computed() -> None:
    cache = PrefixCache(100)
    whole = prompt(1, 2, rest=0)
    cache.look_up("m", whole)
    assert cache.look_up("m", whole).cached == 512


def test_a_prompt_longer_than_the_cache_keeps_its_beginning() -> None:
    cache = PrefixCache(2)
    cache.look_up("m", prompt(1, 2, 3, 4))
    assert cache.look_up("m", prompt(1, 2, 3, 4)).cached == 1024


def test_tails_leave_before_beginnings() -> None:
    cache = PrefixCache(3)
    cache.look_up("m", prompt(1, 2))
    cache.look_up("m", prompt(5, 6))
    assert cache.look_up("m", prompt(1, 9)).cached == 512


def test_no_blocks_no_cache() -> None:
    cache = PrefixCache(0)
    cache.look_up("m", prompt(1))
    assert cache.look_up("m", prompt(1)).cached == 0


@given(
    st.integers(0, 5),
    st.lists(st.lists(st.integers(0, 3), max_size=8), max_size=30),
)
def test_it_is_bounded_and_its_figures_add_up(bound: int, prompts: list[list[int]]) -> None:
    cache = PrefixCache(bound)
    for blocks in prompts:
        found = cache.look_up("m", prompt(*blocks))
        assert found.cached + found.stored < found.prompt or not found.prompt
        assert len(cache._blocks) <= bound
    figures = cache.statistics()
    assert figures.misses - figures.evictions == figures.blocks <= bound
