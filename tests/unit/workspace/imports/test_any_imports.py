"""No text of an import, path or manifest does harm, and what is found is in the tree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.workspace.imports import MANIFESTS, TreeIndex, resolve

LANGUAGES = ["python", "javascript", "go", "rust", "java", "c", "ruby"]
_parts = st.sampled_from(
    [
        "a",
        "b",
        "src",
        "index.ts",
        "mod.rs",
        "lib.rs",
        "__init__.py",
        "a.py",
        "C.java",
        "..",
        "",
        "é",
    ]
)
_paths = st.lists(_parts, min_size=1, max_size=5).map("/".join)
_texts = st.one_of(
    st.text(max_size=30),
    st.text("abC.:,/*@~ _", max_size=20),
    st.sampled_from(
        ["static ", "mod ", "crate::", "super::", "self::", "./", "../", "@a/"]
    ).flatmap(lambda start: st.text("ab.:/*", max_size=10).map(lambda rest: start + rest)),
)
_manifest = st.one_of(
    st.binary(max_size=100),
    st.sampled_from(
        [
            b"module a/b\n",
            b'{"name": "a", "main": "../.."}',
            b'{"compilerOptions": {"baseUrl": "../..", "paths": {"*": ["*", "../*"], "": [""]}}}',
            b'[package]\nname = "a"\n',
            b'{"name": "@a"}',
        ]
    ),
)


@pytest.mark.parametrize("language", LANGUAGES)
@given(
    paths=st.sets(_paths, max_size=12),
    path=_paths,
    text=_texts,
    manifests=st.dictionaries(
        st.builds("{}/{}".format, _paths, st.sampled_from(sorted(MANIFESTS))), _manifest, max_size=4
    ),
)
def test_only_files_of_the_tree(
    language: str, paths: set[str], path: str, text: str, manifests: dict[str, bytes]
) -> None:
    tree = paths | {path}
    found = resolve(path, language, text, TreeIndex(tree, manifests))

    assert set(found) <= tree
    assert len(set(found)) == len(found)
