from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.conversations.operations import Known, decide, stamp
from fairlead.conversations.projection import Projection, advance, take
from fairlead.conversations.records import (
    SYSTEM_BRANCH,
    Head,
    NewMessage,
    PageQuery,
    Range,
    Said,
    Transcript,
)
from fairlead.conversations.turns import MAX_COMPARED, branch_page, paths
from support.threads import Desk, again, answered, said, turn

DESK = Desk()
LONG = "a whole file " * 30


class Session:
    """A session's thread as a store projects it."""

    def __init__(self) -> None:
        self.projection = Projection(Head("thread", "team"), {}, {}, [])
        self.digests: dict[str, str] = {}
        self.kept: list[str] = []
        """Digests of the messages whose content is in the log."""

    @property
    def transcript(self) -> Transcript:
        rows = self.projection.rows.values()
        places = tuple((row.sequence, row.branch, row.digest, row.content_event) for row in rows)
        return Transcript(places, tuple(self.projection.branches))

    def take(
        self,
        prompt: Sequence[NewMessage],
        *answer: NewMessage,
        system: Sequence[NewMessage] = (),
    ) -> int:
        """Record a turn; how many messages it adds."""
        head = self.projection.head
        operation = DESK.record(turn(map(again, prompt), *answer, system=map(again, system)))
        there = head if head.version else None
        drafts = decide(operation, there, Known(transcript=self.transcript))
        count = 0
        for event in stamp(drafts, operation, there, "here", head.version):
            if isinstance(event.change, Said):
                count += 1
                self.kept += [event.change.digest] if event.content is not None else []
            take(self.projection, advance(head, event))
        return count

    def view(self, branch: int) -> list[str]:
        """The digests of a branch from its first message to its last."""
        (path,) = [path for path in paths(self.transcript) if path.branch == branch]
        return path.digests

    @property
    def latest(self) -> list[str]:
        """The branch that was added to last."""
        return self.view(self.projection.head.branch)

    @property
    def read(self) -> list[int]:
        return [row.branch for row in self.projection.rows.values()]


def digests(*messages: NewMessage) -> list[str]:
    return [message.digest for message in messages]


def talk(count: int, start: int = 0, size: int = 1) -> list[NewMessage]:
    """Questions and answers, each different."""
    return [
        said(f"{number} " * size, ("user", "assistant")[number % 2])
        for number in range(start, start + count)
    ]


# ---- any prompts whatever

messages = st.builds(
    said,
    st.sampled_from(["a", "b", "c", "continue", LONG, LONG + "2"]),
    st.sampled_from(["user", "assistant"]),
)
prompts = st.lists(messages, max_size=8)
turns = st.lists(st.tuples(prompts, messages), min_size=1, max_size=12)


@given(turns)
def test_the_branch_written_last_is_what_was_sent_and_answered(
    happened: list[tuple[list[NewMessage], NewMessage]],
) -> None:
    session = Session()
    for prompt, answer in happened:
        added = session.take(prompt, answer)
        sent = digests(*prompt, answer)
        views = [path.digests for path in paths(session.transcript)]
        assert sent in views or any(view[: len(sent)] == sent for view in views)
        if added:
            assert session.latest == sent
        assert session.take(prompt, answer) == 0


@given(turns)
def test_earlier_branches_stay_as_they_were_but_for_what_is_added(
    happened: list[tuple[list[NewMessage], NewMessage]],
) -> None:
    session = Session()
    before: dict[int, list[str]] = {}
    for prompt, answer in happened:
        session.take(prompt, answer)
        now = {path.branch: path.digests for path in paths(session.transcript)}
        for branch, view in before.items():
            assert now[branch][: len(view)] == view
        before = now


@given(turns)
def test_a_long_content_that_is_known_is_not_kept_again(
    happened: list[tuple[list[NewMessage], NewMessage]],
) -> None:
    session = Session()
    for prompt, answer in happened:
        known = {row.digest for row in session.projection.rows.values()}
        kept = len(session.kept)
        session.take(prompt, answer)
        long = {one.digest for one in (*prompt, answer) if len(one.content) > 300}
        assert not known & long & set(session.kept[kept:])


@given(st.lists(st.integers(1, 4), max_size=10))
def test_a_conversation_that_goes_on_adds_what_is_new(steps: list[int]) -> None:
    session, prompt = Session(), talk(1)
    for step in steps:
        answer, *more = talk(step, len(prompt))
        there = len(session.read)
        assert session.take(prompt, answer) == len(prompt) + 1 - there
        prompt += [answer, *more]
    assert session.projection.branches == []


# ---- what assistants do


def test_an_answer_that_is_asked_for_again_is_a_branch() -> None:
    session, prompt = Session(), talk(5)
    session.take(prompt, answered("one"))
    assert session.take(prompt, answered("two")) == 1
    assert session.view(0) == digests(*prompt, answered("one"))
    assert session.latest == digests(*prompt, answered("two"))
    assert session.take([*prompt, answered("one"), said("on")], answered("x")) == 2
    assert session.projection.head.branch == 0


def test_an_answer_that_comes_back_a_little_changed_costs_one_message() -> None:
    session, prompt = Session(), talk(20, size=200)
    session.take(prompt[:-2], prompt[-2])
    changed = [*prompt[:-2], said("18 but shorter", "assistant"), prompt[-1]]
    assert session.take(changed, answered("sure")) == 3
    assert session.latest == digests(*changed, answered("sure"))


def test_sub_agents_in_turns_are_branches_of_their_own() -> None:
    session = Session()
    first, second = talk(1), talk(1, 1_000)
    for prompt, start in ((first, 0), (second, 1_000)) * 9:
        answer, question = talk(2, start + len(prompt))
        assert session.take(prompt, answer) == 2
        prompt += [answer, question]
    assert len(session.projection.branches) == 1
    assert session.view(0) == digests(*first[:-1])
    assert session.view(1) == digests(*second[:-1])


def test_a_fork_between_interleaved_branches_shares_only_its_own_path() -> None:
    session = Session()
    first, second = talk(1), talk(1, 1_000)
    for prompt, start in ((first, 0), (second, 1_000)) * 4:
        answer, question = talk(2, start + len(prompt))
        session.take(prompt, answer)
        prompt += [answer, question]
    forked = [*first[:5], said("another way")]
    assert session.take(forked, answered("fine")) == 2
    assert session.latest == digests(*forked, answered("fine"))
    # 1 and 2 began the first branch, 3 and 4 the second, then each got two in turn.
    assert session.projection.branches[-1].basis == ((1, 2), (5, 6), (9, 9))


def test_a_prompt_that_lost_its_oldest_messages_adds_what_is_new() -> None:
    session, prompt = Session(), talk(41)
    session.take(prompt[:-2], prompt[-2])
    trimmed = prompt[20:]
    assert session.take(trimmed, answered("sure")) == 2
    assert session.latest == digests(*trimmed, answered("sure"))
    assert session.take([*trimmed, answered("sure"), said("on")], answered("end")) == 2
    assert len(session.projection.branches) == 1


def test_a_summary_in_the_place_of_old_messages_is_one_message_more() -> None:
    session, prompt = Session(), talk(41)
    session.take(prompt[:-1], answered("so far"))
    short = [said("Summary: it went well."), *prompt[30:-1], answered("so far"), said("go on")]
    assert session.take(short, answered("sure")) == 3
    assert session.latest == digests(*short, answered("sure"))
    assert session.projection.branches[0].basis == ((42, 42), (31, 41))


def test_a_message_that_changes_near_the_beginning_does_not_repeat_the_rest() -> None:
    session, history = Session(), talk(1)
    for number in range(10):
        files = said(f"files as they are at {number} " * 40)
        answer, question = talk(2, len(history))
        prompt = [said("rules " * 60), files, *history]
        added = session.take(prompt, answer)
        assert added == (4 if number == 0 else 3)
        assert session.latest == digests(*prompt, answer)
        history += [answer, question]


def test_a_reminder_at_the_end_of_each_prompt_is_kept_once() -> None:
    session, history, reminder = Session(), talk(1), said("remember the rules " * 20, "system")
    for number in range(5):
        answer, question = talk(2, len(history))
        added = session.take([*history, reminder], answer)
        assert added == (3 if number == 0 else 2)
        assert session.latest == digests(*history, reminder, answer)
        history += [answer, question]


def test_a_short_message_that_is_said_again_is_another_message() -> None:
    session = Session()
    session.take([said("go")], answered("one"))
    assert session.take([said("go"), answered("one"), said("go")], answered("two")) == 2
    changed = [said("new rules"), said("go"), answered("one"), said("go"), answered("two")]
    assert session.take([*changed, said("go")], answered("three")) == 3
    assert session.latest == digests(*changed, said("go"), answered("three"))


def test_a_long_message_that_is_said_again_refers_to_the_first() -> None:
    session = Session()
    session.take([said(LONG)], answered("one"))
    assert session.take([said(LONG), answered("one"), said(LONG)], answered("two")) == 2
    assert session.kept.count(said(LONG).digest) == 1


def test_instructions_are_kept_once_and_outside_of_every_branch() -> None:
    session, prompt = Session(), talk(1)
    one, two = said("obey", "system"), said("obey more", "system")
    assert session.take(prompt, answered("yes"), system=[one, one]) == 3
    assert session.take([*prompt, answered("yes"), said("on")], answered("x"), system=[two]) == 3
    assert session.take(prompt, answered("no"), system=[one, two]) == 1
    assert session.read.count(SYSTEM_BRANCH) == 2
    assert session.latest == digests(*prompt, answered("no"))


def test_nothing_said_is_nothing_added() -> None:
    session = Session()
    session.take([], answered("first"))
    assert session.take([]) == 0
    assert session.projection.branches == []


def test_a_removed_message_is_taken_for_new_when_it_is_sent_again() -> None:
    session, prompt = Session(), talk(5)
    session.take(prompt, answered("one"))
    gone = next(iter(session.projection.rows))
    del session.projection.rows[gone]
    assert session.take([*prompt, answered("one"), said("on")], answered("two")) == 3
    assert session.latest == digests(*prompt, answered("one"), said("on"), answered("two"))


def test_prompts_are_compared_with_the_main_branch_and_the_latest() -> None:
    session, prompt = Session(), talk(3)
    for number in range(MAX_COMPARED + 10):
        session.take(prompt, answered(f"answer {number}"))
    assert len(paths(session.transcript)) == MAX_COMPARED + 1
    added = session.take([*prompt, answered("answer 0"), said("on")], answered("main"))
    assert (added, session.projection.head.branch) == (2, 0)
    # One that is not compared any more begins a branch, without any content twice.
    prompt = [*prompt, answered("answer 1"), said("on with 1")]
    assert session.take(prompt, answered("x")) == 2
    assert session.latest == digests(*prompt, answered("x"))


def test_a_branch_that_goes_on_is_compared_however_old_it_is() -> None:
    session, prompt = Session(), talk(3)
    session.take(prompt, answered("main"))
    session.take(prompt, answered("old"))
    old = [*prompt, answered("old")]
    for number in range(MAX_COMPARED + 10):
        session.take(prompt, answered(f"answer {number}"))
        old.append(said(f"on {number}"))
        assert session.take(old, answered(f"old {number}")) == 2
        old.append(answered(f"old {number}"))


# ---- pages of a branch

BASIS: tuple[Range, ...] = ((9, 9), (2, 3), (6, 6))
PLACES = [(1, 0), (2, 0), (3, 0), (4, -1), (5, 0), (6, 2), (7, 1), (9, 3), (10, 3), (12, 3)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (PageQuery(branch=3), [9, 2, 3, 6, 10, 12]),
        (PageQuery(branch=3, limit=2), [10, 12]),
        (PageQuery(branch=3, limit=2, after=0), [9, 2]),
        (PageQuery(branch=3, limit=2, after=9), [2, 3]),
        (PageQuery(branch=3, limit=9, after=6), [10, 12]),
        (PageQuery(branch=3, limit=9, after=11), [12]),
        (PageQuery(branch=3, limit=9, after=12), []),
        (PageQuery(branch=3, limit=2, before=6), [2, 3]),
        (PageQuery(branch=3, limit=9, before=11), [9, 2, 3, 6, 10]),
        (PageQuery(branch=3, limit=9, before=9), []),
    ],
)
def test_pages_follow_the_branch(query: PageQuery, expected: list[int]) -> None:
    assert branch_page(BASIS, PLACES, query) == expected


def test_a_removed_message_of_the_basis_is_left_out_but_keeps_its_place() -> None:
    places = [place for place in PLACES if place[0] != 3]
    assert branch_page(BASIS, places, PageQuery(branch=3)) == [9, 2, 6, 10, 12]
    assert branch_page(BASIS, places, PageQuery(branch=3, after=3)) == [6, 10, 12]
    assert branch_page(BASIS, places, PageQuery(branch=3, before=3)) == [9, 2]
