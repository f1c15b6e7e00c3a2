"""Glob patterns: what they match, what they refuse, and that none of them takes for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import RequestError
from fairlead.workspace.globs import MAX_PATTERN, compile_glob

PATHS = ["a.py", "src/a.py", "src/b/a.py", "src/b/c/a.ts", "x.py/y", "[a].py", "a,b.py", "src"]


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("*.py", ["a.py", "[a].py", "a,b.py"]),
        ("**", PATHS),
        ("**/*.py", ["a.py", "src/a.py", "src/b/a.py", "[a].py", "a,b.py"]),
        ("src/**", ["src/a.py", "src/b/a.py", "src/b/c/a.ts"]),
        ("src/*", ["src/a.py"]),
        ("src/**/a.*", ["src/a.py", "src/b/a.py", "src/b/c/a.ts"]),
        ("**/b/**/a.ts", ["src/b/c/a.ts"]),
        ("**/b/**", ["src/b/a.py", "src/b/c/a.ts"]),
        ("{src,x.py}/{a.py,y}", ["src/a.py", "x.py/y"]),
        ("src/{b/{c,d},e}/*", ["src/b/c/a.ts"]),
        ("?.py", ["a.py"]),
        ("[ab].py", ["a.py"]),
        ("[!b].py", ["a.py"]),
        ("[[]a[]].py", ["[a].py"]),
        ("\\[a\\].py", ["[a].py"]),
        ("a\\,b.py", ["a,b.py"]),
        ("[a-c]*", ["a.py", "a,b.py"]),
        ("./src//a.py", ["src/a.py"]),
        ("src/a*a.py", []),
        ("A.py", []),
    ],
)
def test_what_a_pattern_matches(pattern: str, matching: list[str]) -> None:
    glob = compile_glob(pattern)
    assert [path for path in PATHS if glob.matches(path)] == matching


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("", "empty"),
        ("/etc/*", "absolute"),
        ("../*", r"'\.\.'"),
        ("a/../b", r"'\.\.'"),
        ("a\0b", "NUL"),
        ("[a", r"\[ is not closed"),
        ("[]", r"\[ is not closed"),
        ("{a", r"\{ is not closed"),
        ("a}", r"\} closes nothing"),
        ("[z-a]", "goes down"),
        ("a\\", "at the end"),
        ("x" * (MAX_PATTERN + 1), "characters"),
        ("{a,b}" * 7, "more than 64"),
    ],
)
def test_what_is_no_pattern_is_refused_with_a_reason(pattern: str, complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint) as refused:
        compile_glob(pattern)
    assert (refused.value.status, refused.value.param) == (422, "pattern")


@pytest.mark.parametrize(
    ("pattern", "base"),
    [
        ("*.py", ""),
        ("src/*.py", "src"),
        ("src/a.py", "src"),
        ("src/b/**/x", "src/b"),
        ("{src/a,src/b}/*", "src"),
        ("s?c/*", ""),
    ],
)
def test_the_directory_below_which_everything_lies(pattern: str, base: str) -> None:
    assert compile_glob(pattern).base == base


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 60 + "b", "a" * 250),
        ("**/" * 100 + "b", "a/" * 1000 + "a"),
        ("**/a/" * 60 + "b", "a/" * 1000 + "a"),
        ("{a,*}" * 6 + "b", "a" * 250),
        ("?*" * 60 + "b", "a" * 250),
    ],
)
def test_no_pattern_takes_for_ever(pattern: str, path: str) -> None:
    assert not compile_glob(pattern).matches(path)


PARTS = st.sampled_from(["a", "b", "ab", "*", "?", "a*", "*b", "a*b*", "**", "[ab]", "[!a]"])
NAMES = st.lists(st.sampled_from(["a", "b", "ab", "abb", "ba"]), min_size=1, max_size=5)


@given(st.lists(PARTS, min_size=1, max_size=5), NAMES)
def test_patterns_match_as_a_slow_matcher_says(pattern: list[str], names: list[str]) -> None:
    found = compile_glob("/".join(pattern)).matches("/".join(names))
    assert found == _matches(pattern, names)


def _matches(pattern: list[str], names: list[str]) -> bool:
    if not pattern:
        return not names
    first, rest = pattern[0], pattern[1:]
    if first == "**":
        if not rest:
            return bool(names)
        return any(_matches(rest, names[skip:]) for skip in range(len(names) + 1))
    return bool(names) and _name(first, names[0]) and _matches(rest, names[1:])


def _name(pattern: str, name: str) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(_name(pattern[1:], name[skip:]) for skip in range(len(name) + 1))
    if pattern[0] == "[":
        inner, rest = pattern[1 : pattern.index("]")], pattern[pattern.index("]") + 1 :]
        fits = bool(name) and ((name[0] in inner) != inner.startswith("!"))
    else:
        fits, rest = bool(name) and pattern[0] in {"?", name[0]}, pattern[1:]
    return fits and _name(rest, name[1:])
