"""Which file uses which: by imports, and by names where a language has none."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given

from fairlead.errors import NotFoundError
from fairlead.workspace.base import DependencyGraph, FileAnalysis
from fairlead.workspace.dependencies import MAX_DEFINERS, dependency_graph
from fairlead.workspace.imports import TreeIndex
from support.analyses import analysis, any_tree, graph_of


def graph(files: dict[str, FileAnalysis], paths: Sequence[str] = ()) -> DependencyGraph:
    return dependency_graph(graph_of(files), TreeIndex(files, {}), paths)


PYTHON = {
    "shop/__init__.py": analysis(),
    "shop/cart.py": analysis("Cart", imports=("os", "shop.money:convert", "shop.cart")),
    "shop/money.py": analysis("convert", uses={"Cart": 1}),
    "tests/test_cart.py": analysis(imports=("shop.cart:Cart", "pytest")),
}


def test_by_imports() -> None:
    found = graph(PYTHON)

    # A file does not use itself, and names alone are nothing where there are imports.
    assert found.uses == {
        "shop/cart.py": ["shop/money.py"],
        "tests/test_cart.py": ["shop/cart.py"],
    }
    assert found.unresolved == {"shop/cart.py": ["os"], "tests/test_cart.py": ["pytest"]}


@pytest.mark.parametrize(
    ("paths", "files"),
    [
        (["shop"], {"shop/cart.py"}),
        (["./shop/"], {"shop/cart.py"}),
        (["shop/cart.py", "tests"], {"shop/cart.py", "tests/test_cart.py"}),
        (["shop/money.py"], set()),
        (["."], {"shop/cart.py", "tests/test_cart.py"}),
    ],
)
def test_of_some_paths(paths: list[str], files: set[str]) -> None:
    assert set(graph(PYTHON, paths).uses) == files


@pytest.mark.parametrize("path", ["sho", "shop/cart", "gone.py", "../shop"])
def test_paths_that_are_not_there(path: str) -> None:
    with pytest.raises(NotFoundError):
        graph(PYTHON, ["shop", path])


def test_the_tag_is_that_of_the_content() -> None:
    assert graph(PYTHON).etag == graph(dict(reversed(PYTHON.items()))).etag
    assert graph(PYTHON).etag != graph(PYTHON, ["shop"]).etag


def test_by_names_where_there_are_no_imports() -> None:
    found = graph(
        {
            "a.php": analysis("render_page", language="php", uses={"load_page": 1, "run": 1}),
            "b.php": analysis("load_page", "run", language="php"),
            "c.kt": analysis("load_page", language="kotlin"),
            "d.php": analysis(language="php", uses={"run": 1, "render_page": 1}),
        }
    )

    # `run` is too short to tell anything, and no language uses another one's names.
    assert found.uses == {"a.php": ["b.php"], "d.php": ["a.php"]}


def test_names_that_too_many_define_tell_nothing() -> None:
    files = {f"{number}.rb": analysis("load_page", language="ruby") for number in range(3)}
    user = {"user.rb": analysis(language="ruby", uses={"load_page": 1})}
    assert len(files) == MAX_DEFINERS
    assert graph(files | user).uses == {"user.rb": sorted(files)}

    files["3.rb"] = analysis("load_page", language="ruby")

    assert graph(files | user).uses == {}


def test_a_file_means_its_own_names() -> None:
    files = {
        "a.rb": analysis("load_page", language="ruby", uses={"load_page": 1}),
        "b.rb": analysis("load_page", language="ruby"),
    }

    assert graph(files).uses == {}


def test_c_and_cpp_share_names_and_headers() -> None:
    found = graph(
        {
            "main.cpp": analysis(language="cpp", imports=("page.h",), uses={"load_page": 1}),
            "page.h": analysis(language="c"),
            "page.c": analysis("load_page", language="c"),
        }
    )

    assert found.uses == {"main.cpp": ["page.c", "page.h"]}


@pytest.mark.parametrize("language", ["go", "java"])
def test_neighbours_need_no_import(language: str) -> None:
    found = graph(
        {
            "shop/cart": analysis(language=language, uses={"Money": 1, "Page": 1}),
            "shop/money": analysis("Money", language=language),
            "web/page": analysis("Page", "Money", language=language),
        }
    )

    assert found.uses == {"shop/cart": ["shop/money"]}


def test_a_name_of_every_package_is_the_neighbour_s() -> None:
    files = {f"{number}/new.go": analysis("NewStore", language="go") for number in range(50)}
    files["7/main.go"] = analysis(language="go", uses={"NewStore": 1})

    assert graph(files).uses == {"7/main.go": ["7/new.go"]}


@given(files=any_tree)
def test_only_files_of_the_tree(files: dict[str, FileAnalysis]) -> None:
    found = graph(files)

    assert found.uses.keys() <= files.keys()
    assert all(path not in used for path, used in found.uses.items())
