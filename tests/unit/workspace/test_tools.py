"""Tools for models: their schemas, their refusals, and answers whose rest can be asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from fairlead.errors import RequestError
from fairlead.workspace.base import Content, DependencyGraph, RepositoryMap, Stamp, TextRange
from fairlead.workspace.content import lines_of
from fairlead.workspace.globs import GlobResult
from fairlead.workspace.search import Match, SearchQuery, SearchResult
from fairlead.workspace.tools import MAX_ANSWER, MAX_LINES, MAX_PATHS, checked_call, tools

STAMP = Stamp(1, 2, 3, 4, 5)


@dataclass
class Place:
    """A workspace that says what it is told to."""

    text: str = ""
    paths: Sequence[str] = ()
    matches: Sequence[Match] = ()
    uses: dict[str, Sequence[str]] = field(default_factory=dict)
    written: list[tuple[str, bytes, str | None, bool]] = field(default_factory=list)

    @property
    def files(self) -> Place:
        return self

    @property
    def repository(self) -> Place:
        return self

    async def read_text(
        self, path: str, first: int | None = None, last: int | None = None
    ) -> TextRange:
        return lines_of(Content(path, self.text.encode(), STAMP, "d"), first, last)

    async def glob(
        self, pattern: str, *, hidden: bool = False, ignored: bool = False, limit: int = 1_000
    ) -> GlobResult:
        return GlobResult(tuple(self.paths[:limit]), len(self.paths) <= limit)

    async def search(self, query: SearchQuery) -> SearchResult:
        return SearchResult(tuple(self.matches[: query.limit]), len(self.matches) <= query.limit)

    async def write(
        self, path: str, data: bytes, *, if_match: str | None = None, if_none_match: bool = False
    ) -> Content:
        self.written.append((path, data, if_match, if_none_match))
        return Content(path, data, STAMP, "new")

    async def map(self, tokens: int = 2_000, focus: Sequence[str] = ()) -> RepositoryMap:
        return RepositoryMap(f"map of {tokens} about {list(focus)}", 9, "x", (), 7, {}, 0, '"e"')

    async def dependencies(self, paths: Sequence[str] = ()) -> DependencyGraph:
        return DependencyGraph(self.uses, {"a": ["os"]}, '"e"')


async def ask(place: Place, tool: str, **arguments: Any) -> str:
    return await checked_call(tool, arguments, writable=True).run(place)


def test_every_tool_says_what_it_takes() -> None:
    for tool in tools(writable=True, several=True):
        assert tool.schema["type"] == "object"
        assert "workspace" in tool.schema["properties"]
        assert len(tool.description) > 40
        assert "\n" not in tool.description
    assert all(
        "workspace" not in one.schema["properties"] for one in tools(writable=True, several=False)
    )
    assert "write_file" not in {tool.name for tool in tools(writable=False, several=True)}


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("read_file", {}, "`path`"),
        ("read_file", {"path": 5}, r"\$\.path"),
        ("read_file", {"path": "a", "first": 0}, r"\$\.first"),
        ("read_file", {"path": "a", "lines": 1}, "lines"),
        ("search", {"query": ""}, r"\$\.query"),
        ("search", {"query": "x", "context": 11}, r"\$\.context"),
        ("repo_map", {"tokens": 10**9}, r"\$\.tokens"),
        ("repo_map", {"focus": "words"}, r"\$\.focus"),
        ("delete_file", {}, "read_file, list_files"),
    ],
)
def test_what_does_not_fit_is_named(tool: str, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        checked_call(tool, arguments, writable=True)


def test_writing_is_refused_where_it_is_not_allowed() -> None:
    with pytest.raises(RequestError, match="there is no tool 'write_file'"):
        checked_call("write_file", {"path": "a", "content": ""}, writable=False)


@pytest.mark.parametrize("width", [10, 100])
async def test_a_file_is_read_on_to_its_end(width: int) -> None:
    lines = [f"{number:0{width}}\n" for number in range(MAX_LINES + 500)]
    place, first, read = Place("".join(lines)), 1, []
    while True:
        answer = await ask(place, "read_file", path="a", first=first)
        text, _, note = answer.rpartition("[")
        assert len(text) <= MAX_ANSWER
        read.append(text)
        if not (following := re.search(r"first=(\d+)", note)):
            break
        first = int(following[1])
    assert "".join(read) == "".join(lines)
    assert len(read) > 1


async def test_a_part_of_a_file_promises_no_more_than_was_asked_for() -> None:
    answer = await ask(Place("1\n2\n3\n"), "read_file", path="a", first=2, last=2)
    assert answer == '2\n[a: lines 2 to 2 of 3, etag "d"]'
    assert (await ask(Place("no end"), "read_file", path="a")).startswith(
        "no end\n[a: lines 1 to 1"
    )
    assert (await ask(Place(""), "read_file", path="a")).startswith("[a: lines 1 to 0 of 0")
    with pytest.raises(RequestError, match="too long"):
        await ask(Place("x" * (MAX_ANSWER + 1)), "read_file", path="a")


async def test_paths_are_listed_on_to_their_end() -> None:
    paths = [f"{number:04}.py" for number in range(2 * MAX_PATHS + 1)]
    place, skip, listed = Place(paths=paths), 0, []
    while True:
        *shown, note = (await ask(place, "list_files", skip=skip)).splitlines()
        listed += shown
        if not (following := re.search(r"skip=(\d+)", note)):
            break
        skip = int(following[1])
    assert listed == paths
    assert await ask(place, "list_files", skip=9_999) == "[no more files]"
    assert await ask(Place(), "list_files") == "[no files]"


async def test_matches_are_shown_with_their_lines_around() -> None:
    match = Match("a.py", 5, 1, 1, "five", ("three", "four"), ("six",))
    answer = await ask(Place(matches=[match]), "search", query="five", context=2)
    assert answer.splitlines() == [
        *("a.py-3- three", "a.py-4- four", "a.py:5: five", "a.py-6- six"),
        "[matches 1 to 1 of 1]",
    ]


async def test_more_matches_than_are_shown_say_so() -> None:
    matches = [Match("a.py", number, 1, 1, "x") for number in range(1, 151)]
    first = await ask(Place(matches=matches), "search", query="x")
    assert first.endswith("[matches 1 to 100 of 101 or more; the next with skip=100]")
    second = await ask(Place(matches=matches), "search", query="x", skip=100)
    assert second.endswith("[matches 101 to 150 of 150]")


async def test_maps_and_dependencies() -> None:
    place = Place(uses={"a": ["b"], "c": ["a"]})
    assert (await ask(place, "repo_map", tokens=100, focus=["x"])).startswith("map of 100 about")
    assert (await ask(place, "dependencies", path="a")).splitlines() == [
        *("uses b", "uses os, not in here", "used by c", "[dependencies 1 to 3 of 3]")
    ]
    assert (await ask(place, "dependencies")).startswith("a: b\nc: a\n")


async def test_a_file_is_replaced_only_with_its_etag() -> None:
    place = Place()
    await ask(place, "write_file", path="a", content="é")
    answer = await ask(place, "write_file", path="a", content="", etag='"d"')
    assert place.written == [("a", "é".encode(), None, True), ("a", b"", '"d"', False)]
    assert answer == '[a: 0 bytes written, etag "new"]'
