"""Which files matter: those that others use, and those that the focus speaks of."""

from __future__ import annotations

import os
import subprocess
import sys
from math import isclose

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.workspace.base import Definition, FileAnalysis
from fairlead.workspace.focus import NOTHING, Focus, focus_of
from fairlead.workspace.graph import ReferenceGraph
from fairlead.workspace.rank import Ranker, definition_scores, relevance
from support.analyses import analysis, any_tree, graph_of

FILES = {
    "shop/cart.py": analysis("ShoppingCart", "total_price", uses={"convert_money": 3}),
    "shop/money.py": analysis("convert_money", "ExchangeRate"),
    "shop/page.py": analysis("render_page", uses={"ShoppingCart": 1, "convert_money": 1}),
    "shop/mail.py": analysis("send_mail", uses={"convert_money": 2}),
    "tests/test_mail.py": analysis("test_send", uses={"send_mail": 5}),
    "README.md": analysis(language=None),
    **{f"extra/{number}.py": analysis(f"extra_{number}") for number in range(10)},
}


# Prints rankings; the import path comes as arguments.
_PROGRAM = """
import sys
sys.path[:0] = sys.argv[1:]
from fairlead.workspace.focus import focus_of
from fairlead.workspace.rank import Ranker
from support.analyses import analysis, graph_of
files = {}
for n in range(60):
    uses = {f"load_{m}": m + 1 for m in range(n % 5)} | {f"page_{n + 1}": 1}
    files[f"{n}.py"] = analysis(f"load_{n % 7}", f"page_{n}", uses=uses)
for words in ([], ["load page 3 5"], ["page_7 and load_2"]):
    print(Ranker(graph_of(files)).rank(focus_of(words, files)).files)
"""


def order(*entries: str) -> list[str]:
    graph = graph_of(FILES)
    return [path for path, _ in Ranker(graph).rank(focus_of(entries, FILES)).files]


def test_what_others_use_matters_most() -> None:
    assert order()[0] == "shop/money.py"
    assert order().index("shop/mail.py") < order().index("tests/test_mail.py")


@pytest.mark.parametrize(
    ("entry", "first"),
    [
        ("shop/page.py", "shop/page.py"),
        ("tests/*", "tests/test_mail.py"),
        ("README.md", "README.md"),
        ("send_mail", "shop/mail.py"),
        ("ExchangeRate", "shop/money.py"),
        ("the totals of prices", "shop/cart.py"),
        ("rendering", "shop/page.py"),
    ],
)
def test_focus_comes_first(entry: str, first: str) -> None:
    assert order(entry)[0] == first


def test_what_the_focus_uses_is_raised() -> None:
    assert order("shop/page.py")[:3] == ["shop/page.py", "shop/money.py", "shop/cart.py"]
    assert order("tests/test_mail.py")[1] == "shop/mail.py"


def test_a_focus_that_means_nothing_is_none() -> None:
    assert order("of the zzz") == order()


def test_a_word_that_most_files_have_says_nothing() -> None:
    assert "extra" in graph_of(FILES).stems
    assert relevance(graph_of(FILES), Focus(words=frozenset({"extra"}))) == {}
    # Among a handful of files it does.
    few = {"a.py": analysis("extra_1"), "b.py": analysis("extra_2"), "c.py": analysis()}
    assert relevance(graph_of(few), Focus(words=frozenset({"extra"}))).keys() == {"a.py", "b.py"}


def test_two_words_stand_out_from_one() -> None:
    files = {
        "both.py": analysis("strange_thing"),
        "one.py": analysis("strange_other"),
        "two.py": analysis("other_thing"),
        **{f"x{n}.py": analysis(f"x{n}") for n in range(20)},
    }
    found = relevance(graph_of(files), focus_of(["strange thing"], files))

    assert found["one.py"] == found["two.py"]
    assert found["both.py"] > 2.5 * found["one.py"]


def test_rare_words_count_more() -> None:
    files = {f"{number}.py": analysis("common_word") for number in range(9)}
    files |= {"rare.py": analysis("strange_thing"), **{f"x{n}": analysis() for n in range(20)}}
    found = relevance(graph_of(files), focus_of(["common strange"], files))

    assert max(found, key=lambda path: found[path]) == "rare.py"


def test_ranks_add_up_to_one_and_are_sorted() -> None:
    ranks = [rank for _, rank in Ranker(graph_of(FILES)).rank(NOTHING).files]

    assert isclose(sum(ranks), 1.0, abs_tol=1e-6)
    assert ranks == sorted(ranks, reverse=True)


def test_equal_files_are_in_the_order_of_their_paths() -> None:
    files = {name: analysis() for name in ("bb", "c", "a")}

    assert [path for path, _ in Ranker(graph_of(files)).rank(NOTHING).files] == ["a", "bb", "c"]


def test_an_empty_tree() -> None:
    assert Ranker(ReferenceGraph()).rank(focus_of(["x"], [])).files == ()


def test_files_in_focus_that_are_not_there() -> None:
    found = Ranker(graph_of(FILES)).rank(Focus(files=frozenset({"gone.py"})))

    assert len(found.files) == len(FILES)


@settings(max_examples=50)
@given(
    start=any_tree,
    changes=st.lists(st.tuples(any_tree, st.integers(0, 3)), max_size=3),
    words=st.sets(st.sampled_from(["pag", "cach", "head", "run"])),
)
def test_after_edits_as_if_it_had_always_been_so(
    start: dict[str, FileAnalysis],
    changes: list[tuple[dict[str, FileAnalysis], int]],
    words: set[str],
) -> None:
    # Enough others, so that a change is patched in rather than all made anew.
    files = {f"other/{number}": analysis() for number in range(60)} | start
    focus = Focus(words=frozenset(words))
    graph = graph_of(files)
    ranker = Ranker(graph)
    ranker.rank(focus)
    for new, gone in changes:
        left_out = [path for path in sorted(start) if path in files and path not in new][:gone]
        files = {path: found for path, found in files.items() if path not in left_out} | new
        graph.update({**new, **dict.fromkeys(left_out)})
        ranker.rank(focus)

    found = dict(ranker.rank(focus).files)

    for path, rank in Ranker(graph_of(files)).rank(focus).files:
        assert isclose(found.pop(path), rank, abs_tol=1e-9)
    assert not found


def test_same_order_whatever_the_hash_seed() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", _PROGRAM, *sys.path],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(outputs) == 1


def test_which_definition_of_a_file_matters() -> None:
    definitions = [
        Definition("plain", "function", 1, 0, "def plain():"),
        Definition("load_page", "function", 2, 0, "def load_page():"),
        Definition("_hidden", "function", 3, 0, "def _hidden():"),
        Definition("Inner", "class", 4, 2, "class Inner:"),
        Definition("plain", "function", 5, 0, "def plain():"),
    ]
    plain, load, hidden, inner, again = definition_scores(definitions, {"plain": 1}, NOTHING)

    assert load > plain > inner > hidden
    assert inner < definition_scores(definitions, {}, NOTHING)[0]
    assert plain == again
    named = definition_scores(definitions, {}, Focus(names=frozenset({"_hidden"})))
    assert named[2] > named[0]
    spoken = definition_scores(definitions, {}, Focus(words=frozenset({"inn"})))
    assert spoken[3] > spoken[0]
