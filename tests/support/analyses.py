"""Analyses of made-up files, for what is built on them."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import strategies as st

from fairlead.workspace.base import Definition, FileAnalysis
from fairlead.workspace.graph import ReferenceGraph

_NAMES = ["load_page", "PageCache", "run", "x", "_hidden_name", "parse_header", "main", "größe"]


def analysis(
    *names: str,
    uses: Mapping[str, int] | None = None,
    language: str | None = "python",
    imports: tuple[str, ...] = (),
) -> FileAnalysis:
    """A file that defines functions of these names, one a line, and uses others."""
    definitions = tuple(
        Definition(name, "function", line, 0, f"def {name}():")
        for line, name in enumerate(names, 1)
    )
    return FileAnalysis(language, definitions, uses or {}, imports)


def graph_of(files: Mapping[str, FileAnalysis]) -> ReferenceGraph:
    """A graph that has only ever known these files."""
    graph = ReferenceGraph()
    graph.update(files)
    return graph


@st.composite
def any_analysis(draw: st.DrawFn) -> FileAnalysis:
    """Definitions at any depth, with any text for a signature, references and imports."""
    definitions = tuple(
        Definition(name, "function", line, depth, signature)
        for line, (name, depth, signature) in enumerate(
            draw(
                st.lists(
                    st.tuples(st.sampled_from(_NAMES), st.integers(0, 4), st.text(max_size=250)),
                    max_size=8,
                )
            ),
            1,
        )
    )
    uses = draw(st.dictionaries(st.sampled_from(_NAMES), st.integers(1, 1000), max_size=6))
    language = draw(st.sampled_from(["python", "php", "go", "rust", None]))
    imports = draw(st.sets(st.sampled_from(["run", "src:run", ".:page_cache", "mod run"])))
    return FileAnalysis(language, definitions, uses, tuple(sorted(imports)))


any_path = st.lists(
    st.sampled_from(["src", "page_cache.py", "run", "größe.py", "a b", "\udcff", "new\nline"]),
    min_size=1,
    max_size=3,
).map("/".join)
"""Paths as file systems allow them."""

any_tree = st.dictionaries(any_path, any_analysis(), max_size=8)
"""Files and their analyses."""
