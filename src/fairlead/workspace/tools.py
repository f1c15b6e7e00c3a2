"""The workspace as tools for a model: what each takes, and what it answers (in words).

Answers are bounded, and one that leaves something out says how to ask for the rest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from fairlead.errors import RequestError
from fairlead.workspace.base import Content, DependencyGraph, RepositoryMap, TextRange
from fairlead.workspace.globs import GlobResult
from fairlead.workspace.search import Match, SearchQuery, SearchResult

MAX_ANSWER = 60_000
"""Characters of an answer."""
MAX_LINES = 2_000
"""Lines of a file in one answer."""
MAX_PATHS = 500
MAX_MATCHES = 100
"""In one answer."""
MAX_LISTED = 100_000
"""Paths that a pattern may match; those beyond cannot be asked for."""
MAX_FOUND = 1_000
"""Matches of a search; those beyond cannot be asked for."""

Path = Annotated[
    str, Meta(description="From the root of the workspace, with /: src/main.py", max_length=4_096)
]
Workspace = Annotated[
    str | None,
    Meta(description="Name or id of the workspace; may be left out where there is only one"),
]
Skip = Annotated[int, Meta(description="Leave out so many from the beginning", ge=0)]
Hidden = Annotated[bool, Meta(description="Also files whose names begin with a dot")]


class Files(Protocol):
    """What the tools need of `FileSystemCache`."""

    async def read_text(
        self, path: str, first: int | None = None, last: int | None = None
    ) -> TextRange:
        """Lines of a file."""
        ...

    async def glob(
        self, pattern: str, *, hidden: bool = False, ignored: bool = False, limit: int = 1_000
    ) -> GlobResult:
        """Paths that match."""
        ...

    async def search(self, query: SearchQuery) -> SearchResult:
        """Lines that match."""
        ...

    async def write(
        self, path: str, data: bytes, *, if_match: str | None = None, if_none_match: bool = False
    ) -> Content:
        """Replace or create a file."""
        ...


class Repository(Protocol):
    """What the tools need of `RepositoryAnalysisCache`."""

    async def map(self, tokens: int = 2_000, focus: Sequence[str] = ()) -> RepositoryMap:
        """The map of the repository."""
        ...

    async def dependencies(self, paths: Sequence[str] = ()) -> DependencyGraph:
        """Which files use which."""
        ...


class Opened(Protocol):
    """A workspace that is ready."""

    @property
    def files(self) -> Files:
        """Its files."""
        ...

    @property
    def repository(self) -> Repository:
        """Its symbols."""
        ...


class _Arguments(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    workspace: Workspace = None


class ReadFile(_Arguments):
    """Read a text file, or some of its lines. The answer ends with the file's etag, which
    write_file needs to replace it."""

    path: Path
    first: Annotated[int, Meta(description="First line to read, from 1", ge=1)] = 1
    last: Annotated[int, Meta(description="Last line to read", ge=1)] | None = None


class ListFiles(_Arguments):
    """List the files that match a glob pattern, sorted, without those that .gitignore names."""

    pattern: Annotated[
        str, Meta(description="** is any directories: **/*.py, src/**/test_*.{js,ts}")
    ] = "**"
    hidden: Hidden = False
    skip: Skip = 0


class Search(_Arguments):
    """Find lines of text in all files, as ripgrep does, without files that .gitignore names."""

    query: Annotated[str, Meta(description="The text to find", min_length=1, max_length=2_000)]
    regex: Annotated[bool, Meta(description="The query is a regular expression")] = False
    ignore_case: bool = False
    glob: Annotated[str | None, Meta(description="Only in files that match: **/*.go")] = None
    hidden: Hidden = False
    context: Annotated[int, Meta(description="Lines to show around each", ge=0, le=10)] = 0
    skip: Skip = 0


class RepoMap(_Arguments):
    """Show the most important definitions of the repository under their files' names. Use it first,
    to see where things are."""

    tokens: Annotated[int, Meta(description="Size of the answer", ge=64, le=16_000)] = 2_000
    focus: Annotated[
        list[str],
        Meta(description="Files, identifiers or words that the task is about", max_length=100),
    ] = []


class Dependencies(_Arguments):
    """Show which files a file uses and which files use it; without a path, what every file uses."""

    path: Path | None = None
    skip: Skip = 0


class WriteFile(_Arguments):
    """Write a whole text file. A new file needs no etag; one that exists is only replaced with the
    etag that read_file gave, so that nobody's change is lost."""

    path: Path
    content: Annotated[str, Meta(description="All of the new text")]
    etag: Annotated[str | None, Meta(description="Of the version that is replaced")] = None


class Tool(msgspec.Struct, frozen=True):
    """A tool as a model is told of it."""

    name: str
    description: str
    schema: Mapping[str, Any]
    """Of its arguments (JSON Schema)."""
    is_read_only: bool


class Call(msgspec.Struct, frozen=True):
    """A tool and what it was given, checked."""

    tool: str
    workspace: str | None
    run: Callable[[Opened], Awaitable[str]]


def tools(*, writable: bool, several: bool) -> list[Tool]:
    """The tools; `several`: there may be more than one workspace to choose from."""
    names = [name for name in _TOOLS if writable or name != _WRITING]
    return [_tool(name, several=several) for name in names]


def checked_call(name: str, arguments: Mapping[str, Any], *, writable: bool) -> Call:
    """The call that is asked for; raises `RequestError` naming the argument that is wrong."""
    if name not in _TOOLS or (name == _WRITING and not writable):
        known = ", ".join(tool.name for tool in tools(writable=writable, several=True))
        raise RequestError(404, f"there is no tool {name!r}; there are {known}", code="tool")
    kind, run = _TOOLS[name]
    try:
        given = msgspec.convert(arguments, kind)
    except msgspec.ValidationError as error:
        raise RequestError(422, f"{name}: {error}", code="arguments") from error
    return Call(name, given.workspace, lambda opened: run(opened, given))


def _tool(name: str, *, several: bool) -> Tool:
    kind, _ = _TOOLS[name]
    _, components = msgspec.json.schema_components([kind])
    schema = components[kind.__name__]
    description = " ".join(schema.pop("description").split())
    if not several:
        del schema["properties"]["workspace"]
    schema.pop("title")
    return Tool(name, description, schema, name != _WRITING)


# ---- what they do


async def _read_file(opened: Opened, given: ReadFile) -> str:
    last = given.first + MAX_LINES - 1
    if given.last is not None:
        last = min(last, given.last)
    found = await opened.files.read_text(given.path, given.first, last)
    text, shown = _whole_lines(found.text)
    end = found.first + shown - 1
    about = f"{found.path}: lines {found.first} to {end} of {found.lines}, etag {found.etag}"
    if not shown and found.text:
        raise RequestError(413, f"line {found.first} of {found.path} is too long to be shown")
    wanted = min(found.lines, given.last or found.lines)
    more = f"; the next begin with first={end + 1}" if end < wanted else ""
    gap = "" if text.endswith("\n") or not text else "\n"
    return f"{text}{gap}[{about}{more}]"


def _whole_lines(text: str) -> tuple[str, int]:
    """As many whole lines of the text as fit into an answer, and their number."""
    lines, size = [], 0
    for line in text.splitlines(keepends=True):
        size += len(line)
        if size > MAX_ANSWER:
            break
        lines.append(line)
    return "".join(lines), len(lines)


async def _list_files(opened: Opened, given: ListFiles) -> str:
    found = await opened.files.glob(given.pattern, hidden=given.hidden, limit=MAX_LISTED)
    return _page(found.paths, given.skip, MAX_PATHS, "file", is_complete=found.is_complete)


async def _search(opened: Opened, given: Search) -> str:
    query = SearchQuery(
        given.query,
        is_regex=given.regex,
        ignore_case=given.ignore_case,
        glob=given.glob,
        hidden=given.hidden,
        context=given.context,
        limit=min(given.skip + MAX_MATCHES + 1, MAX_FOUND),
    )
    found = await opened.files.search(query)
    lines = [_match_text(match) for match in found.matches]
    return _page(lines, given.skip, MAX_MATCHES, "match", is_complete=found.is_complete)


def _match_text(match: Match) -> str:
    lines = [
        *(f"{match.path}-{match.line - n}- {text}" for n, text in _numbered_back(match.before)),
        f"{match.path}:{match.line}: {match.text}",
        *(f"{match.path}-{match.line + n}- {text}" for n, text in enumerate(match.after, 1)),
    ]
    return "\n".join(lines)


def _numbered_back(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    return ((len(lines) - number, text) for number, text in enumerate(lines))


async def _repo_map(opened: Opened, given: RepoMap) -> str:
    found = await opened.repository.map(given.tokens, given.focus)
    return f"{found.text}\n[{len(found.files)} of {found.total_files} files, {found.tokens} tokens]"


async def _dependencies(opened: Opened, given: Dependencies) -> str:
    graph = await opened.repository.dependencies()
    if given.path is None:
        lines = [f"{path}: {', '.join(uses)}" for path, uses in graph.uses.items()]
        return _page(lines, given.skip, MAX_PATHS, "file", is_complete=True)
    used = [f"uses {path}" for path in graph.uses.get(given.path, ())]
    outside = [f"uses {name}, not in here" for name in graph.unresolved.get(given.path, ())]
    users = [f"used by {path}" for path, uses in graph.uses.items() if given.path in uses]
    return _page([*used, *outside, *users], given.skip, MAX_PATHS, "dependency", is_complete=True)


async def _write_file(opened: Opened, given: WriteFile) -> str:
    written = await opened.files.write(
        given.path,
        given.content.encode("utf-8", "surrogatepass"),
        if_match=given.etag,
        if_none_match=given.etag is None,
    )
    return f"[{written.path}: {len(written.data)} bytes written, etag {written.etag}]"


def _page(lines: Sequence[str], skip: int, most: int, noun: str, *, is_complete: bool) -> str:
    """Some of the lines and a note that says what is missing, and how to get it."""
    shown: list[str] = []
    size = 0
    for line in islice(lines, skip, skip + most):
        size += len(line) + 1
        if shown and size > MAX_ANSWER:
            break
        shown.append(line[:MAX_ANSWER])
    end = skip + len(shown)
    several = {"match": "matches", "dependency": "dependencies"}.get(noun, f"{noun}s")
    if not shown:
        return f"[no {several}]" if not skip else f"[no more {several}]"
    total = f"{len(lines)}{'' if is_complete else ' or more'}"
    more = f"; the next with skip={end}" if end < len(lines) else ""
    return "\n".join([*shown, f"[{several} {skip + 1} to {end} of {total}{more}]"])


_WRITING = "write_file"
_TOOLS: Mapping[str, tuple[type[Any], Callable[[Opened, Any], Awaitable[str]]]] = {
    "read_file": (ReadFile, _read_file),
    "list_files": (ListFiles, _list_files),
    "search": (Search, _search),
    "repo_map": (RepoMap, _repo_map),
    "dependencies": (Dependencies, _dependencies),
    _WRITING: (WriteFile, _write_file),
}
