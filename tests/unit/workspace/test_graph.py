"""Edges from uses to definitions, and that a graph kept up to date is as one made anew."""

from __future__ import annotations

from math import isclose

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.workspace.base import FileAnalysis
from fairlead.workspace.graph import MAX_DEFINERS, ReferenceGraph, name_weight
from support.analyses import analysis, any_tree, graph_of


def test_an_edge_leads_to_the_definition() -> None:
    graph = graph_of(
        {"a.py": analysis(uses={"load_page": 4, "print": 9}), "b.py": analysis("load_page")}
    )

    assert graph.edges == {"a.py": {"b.py": 2 * name_weight("load_page")}, "b.py": {}}
    assert list(graph.definers("load_page")) == ["b.py"]
    assert list(graph.definers("print")) == []
    assert graph.popularity["load_page"] == 1


def test_definers_share_the_weight() -> None:
    files = {f"{name}.py": analysis("load_page") for name in "bcde"}
    graph = graph_of(files | {"a.py": analysis(uses={"load_page": 1})})

    assert graph.edges["a.py"] == dict.fromkeys(files, name_weight("load_page") / 4)


def test_a_name_that_all_define_leads_nowhere() -> None:
    files = {f"{number}.py": analysis("load_page") for number in range(MAX_DEFINERS)}
    graph = graph_of(files | {"a.py": analysis(uses={"load_page": 1})})
    assert len(graph.edges["a.py"]) == MAX_DEFINERS

    graph.update({"one-more.py": analysis("load_page")})

    assert graph.edges["a.py"] == {}


def test_what_a_file_defines_itself_it_means() -> None:
    graph = graph_of(
        {"a.py": analysis("load_page", uses={"load_page": 1}), "b.py": analysis("load_page")}
    )

    assert graph.edges == {"a.py": {}, "b.py": {}}


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("load_page", "load"),
        ("PageCache", "Page"),
        ("load", "ab"),
        ("load_page", "_load_page"),
    ],
)
def test_long_and_public_names_weigh_more(better: str, worse: str) -> None:
    assert name_weight(better) > name_weight(worse)


def test_an_edit_moves_the_edges_of_others() -> None:
    user = analysis(uses={"load_page": 1})
    graph = graph_of({"a.py": user, "b.py": analysis("load_page"), "c.py": analysis("run")})
    version, untouched = graph.version, graph.edges["c.py"]

    graph.update({"b.py": analysis("other"), "c.py": analysis("run", "load_page")})

    assert list(graph.edges["a.py"]) == ["c.py"]
    assert graph.version > version
    graph.update({"b.py": None})
    assert "b.py" not in graph.files
    assert graph.edges["c.py"] is not untouched


def test_edges_are_replaced_and_never_changed_in_place() -> None:
    graph = graph_of({"a.py": analysis(uses={"load_page": 1}), "b.py": analysis("load_page")})
    before, copy = graph.edges["a.py"], dict(graph.edges["a.py"])

    graph.update({"c.py": analysis("load_page")})

    assert before == copy
    assert graph.edges["a.py"] is not before


def test_no_change_is_no_new_version() -> None:
    graph = graph_of({"a.py": analysis("x")})
    version = graph.version

    graph.update({})

    assert graph.version == version


def test_a_file_that_was_never_there_may_go() -> None:
    graph = graph_of({"a.py": analysis("x")})

    graph.update({"b.py": None})

    assert list(graph.files) == ["a.py"]


def test_definitions_come_back_as_they_were() -> None:
    found = analysis("load_page", "run")

    assert graph_of({"a.py": found}).files["a.py"].definitions == found.definitions


@settings(max_examples=50)
@given(
    start=any_tree,
    changes=st.lists(
        st.tuples(any_tree, st.integers(0, 3)),
        max_size=4,
    ),
)
def test_kept_up_to_date_is_as_made_anew(
    start: dict[str, FileAnalysis], changes: list[tuple[dict[str, FileAnalysis], int]]
) -> None:
    graph, files = graph_of(start), dict(start)
    for new, gone in changes:
        left_out = [path for path in sorted(files) if path not in new][:gone]
        files = {path: found for path, found in files.items() if path not in left_out} | new
        graph.update({**new, **dict.fromkeys(left_out)})

    assert_same(graph, graph_of(files))


def assert_same(graph: ReferenceGraph, fresh: ReferenceGraph) -> None:
    assert graph.popularity == fresh.popularity
    assert graph.stems.keys() == fresh.stems.keys()
    assert graph.edges.keys() == fresh.edges.keys()
    for path, edges in fresh.edges.items():
        assert edges.keys() == graph.edges[path].keys()
        assert all(isclose(graph.edges[path][one], weight) for one, weight in edges.items())
    for stem, files in fresh.stems.items():
        assert graph.stems[stem] == files
