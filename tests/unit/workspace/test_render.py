"""Maps as text: within the budget, broad, the same every time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.errors import RequestError
from fairlead.workspace.base import Definition, FileAnalysis
from fairlead.workspace.focus import NOTHING, focus_of
from fairlead.workspace.graph import ReferenceGraph
from fairlead.workspace.rank import Ranker
from fairlead.workspace.render import (
    MAX_FROM_FILE,
    MAX_SIGNATURE,
    MAX_TOKENS,
    MIN_TOKENS,
    Rendered,
    check_tokens,
    render,
)
from fairlead.workspace.tokens import APPROXIMATE, TokenCounter, approximate, token_counter
from support.analyses import analysis, any_tree, graph_of

ESTIMATED = TokenCounter(APPROXIMATE, approximate)
COUNTERS = [token_counter(), ESTIMATED]

CART = FileAnalysis(
    "python",
    (
        Definition("Cart", "class", 1, 0, "class Cart:"),
        Definition("__init__", "method", 2, 1, "def __init__(self):"),
        Definition("Line", "class", 5, 1, "class Line:"),
        Definition("price_of_line", "method", 6, 2, "def price_of_line(self) -> int:"),
        Definition("total", "function", 9, 0, "def total(cart):"),
    ),
)


def rendered(
    graph: ReferenceGraph, tokens: int, *entries: str, counter: TokenCounter = ESTIMATED
) -> Rendered:
    return render(Ranker(graph).rank(focus_of(entries, graph.files)), graph, tokens, counter)


def test_a_map() -> None:
    graph = graph_of({"cart.py": CART, "README.md": analysis(language=None)})
    found = rendered(graph, 1000, "cart.py", counter=token_counter())

    assert found.text == (
        "cart.py:\n"
        " class Cart:\n"
        "  def __init__(self):\n"
        "  class Line:\n"
        "   def price_of_line(self) -> int:\n"
        " def total(cart):\n"
        "README.md\n"
    )
    assert [(file.path, file.definitions) for file in found.files] == [
        ("cart.py", 5),
        ("README.md", 0),
    ]
    assert found.tokens == token_counter().count(found.text)


def test_a_definition_stands_below_those_around_it() -> None:
    files = {"cart.py": CART, **{f"{number}.py": analysis("other") for number in range(50)}}
    text = rendered(graph_of(files), 30, "price_of_line").text

    assert text.startswith(
        "cart.py:\n class Cart:\n  class Line:\n   def price_of_line(self) -> int:\n"
    )
    assert "__init__" not in text


def test_breadth_before_depth() -> None:
    files = {
        f"{number}.py": analysis(*(f"function_{number}_{line}" for line in range(40)))
        for number in range(20)
    }
    found = rendered(graph_of(files), 400)

    assert len(found.files) == 20
    assert max(file.definitions for file in found.files) <= 3


def test_the_best_file_does_not_push_out_the_others() -> None:
    many = [f"function_{line}" for line in range(40)]
    files = {f"{n}.py": analysis("other", uses=dict.fromkeys(many, 9)) for n in range(30)}
    found = rendered(graph_of({"best.py": analysis(*many), **files}), 200)

    assert found.files[0].path == "best.py"
    assert found.files[0].definitions > 3
    assert len(found.files) > 5


def test_one_file_does_not_fill_a_map() -> None:
    graph = graph_of({"one.py": analysis(*(f"function_{line}" for line in range(200)))})

    assert rendered(graph, MAX_TOKENS).files[0].definitions == MAX_FROM_FILE


def test_long_signatures_are_cut() -> None:
    long = FileAnalysis(
        "python", (Definition("f", "function", 1, 0, f"def f({'argument, ' * 30})"),)
    )
    line = rendered(graph_of({"a.py": long}), 1000).text.splitlines()[1]

    assert line.endswith("…")
    assert len(line) <= MAX_SIGNATURE + 2


def test_a_signature_is_one_line() -> None:
    split = FileAnalysis("python", (Definition("f", "function", 1, 0, "def f(\n    a,\r\n\tb)"),))

    assert rendered(graph_of({"a.py": split}), 100).text == "a.py:\n def f( a, b)\n"


@pytest.mark.parametrize("name", ["a\nb.py", "a\x1b[2J.py", "a\udcff.py", "a\u2028b.py"])
def test_a_path_is_one_line_of_text(name: str) -> None:
    found = rendered(graph_of({name: analysis("run")}), 100, counter=token_counter())

    assert found.text.encode().count(b"\n") == 2
    assert "\ufffd" in found.text
    assert found.files[0].path == name


def test_what_does_not_fit_makes_room_for_what_does() -> None:
    files = {"x" * 800 + "/used.py": analysis("load_page"), "b.py": analysis(uses={"load_page": 9})}

    assert rendered(graph_of(files), MIN_TOKENS).text == "b.py\n"


def test_an_empty_repository() -> None:
    assert rendered(ReferenceGraph(), 1000) == Rendered("", 0, [])


@pytest.mark.parametrize("counter", COUNTERS, ids=repr)
@pytest.mark.parametrize("tokens", [64, 200, 1000, 5000])
def test_the_budget_is_used(counter: TokenCounter, tokens: int) -> None:
    files = {
        f"package/module_{number}.py": analysis(
            *(f"function_{number}_{line}" for line in range(40)), uses={f"function_{number}_3": 2}
        )
        for number in range(100)
    }
    found = rendered(graph_of(files), tokens, counter=counter)

    assert 0.8 * tokens < found.tokens <= tokens
    assert found.tokens == counter.count(found.text)


def test_a_counter_whose_parts_are_less_than_their_sum() -> None:
    # No tokenizer is so bad: the text has twice the tokens of its parts.
    odd = TokenCounter("odd", lambda text: len(text) * (2 if text.count(":") > 1 else 1))
    files = {f"{number}.py": analysis("run") for number in range(100)}
    found = rendered(graph_of(files), 500, counter=odd)

    assert 0 < found.tokens <= 500


@settings(max_examples=60)
@given(files=any_tree, tokens=st.integers(1, 300), words=st.text(max_size=20))
@pytest.mark.parametrize("counter", COUNTERS, ids=repr)
def test_never_over_the_budget(
    counter: TokenCounter, files: dict[str, FileAnalysis], tokens: int, words: str
) -> None:
    graph = graph_of(files)
    found = rendered(graph, tokens, words, counter=counter)

    assert counter.count(found.text) == found.tokens <= tokens
    assert found == rendered(graph_of(files), tokens, words, counter=counter)
    assert {file.path for file in found.files} <= files.keys()
    lines = found.text.splitlines()
    assert sum(not line.startswith(" ") for line in lines) == len(found.files)
    assert sum(file.definitions for file in found.files) + len(found.files) == len(lines)


@settings(max_examples=30)
@given(files=any_tree)
def test_with_room_for_all_every_file_is_there(files: dict[str, FileAnalysis]) -> None:
    found = rendered(graph_of(files), MAX_TOKENS)

    assert {file.path for file in found.files} == files.keys()
    ranks = [file.rank for file in found.files]
    assert ranks == sorted(ranks, reverse=True)


@pytest.mark.parametrize("tokens", [MIN_TOKENS - 1, 0, -1, MAX_TOKENS + 1])
def test_budgets_that_are_none(tokens: int) -> None:
    with pytest.raises(RequestError, match="between 64 and 100,000") as caught:
        check_tokens(tokens)
    assert (caught.value.status, caught.value.param) == (422, "tokens")


def test_budgets() -> None:
    assert (check_tokens(MIN_TOKENS), check_tokens(MAX_TOKENS)) == (64, 100_000)
    assert not NOTHING
