"""`fairlead threads` on a real file: what it prints, moves and mends, and its exit statuses."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import apsw
import msgspec
import pytest
import typer
from rich.console import Console

from fairlead.cli import main
from fairlead.cli.transcript import message_text, safe, show
from fairlead.conversations.records import Message
from fairlead.conversations.sqlite import SqliteThreadStore
from support.threads import START, Desk, answered, begun, said, turn, wrote

T = TypeVar("T")
EVIL = "\x1b]0;owned\x07 \x9b31m [bold]markup[/bold] \u202e"


@pytest.fixture(autouse=True)
def excepthook() -> Iterator[None]:
    """The command line puts its own in place."""
    before = sys.excepthook
    yield
    sys.excepthook = before


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command, and gives what it printed."""

    def call(*arguments: str, status: int = 0) -> str:
        command = typer.main.get_command(main.app)
        with pytest.raises(SystemExit) as caught:
            command(["threads", *arguments, "--data-dir", "data"], prog_name="fairlead")
        told = capsys.readouterr()
        assert int(caught.value.code or 0) == status, told
        return told.out + told.err

    return call


def on_file(work: Callable[[SqliteThreadStore], Awaitable[T]]) -> T:
    """What comes of `work` on the store of the node."""
    folder = Path("data")
    folder.mkdir(exist_ok=True)

    async def go() -> T:
        async with SqliteThreadStore(folder / "threads.sqlite") as store:
            return await work(store)

    return asyncio.run(go())


@pytest.fixture
def thread() -> str:
    """One about signing keys, beside another user's."""

    async def fill(store: SqliteThreadStore) -> str:
        ann = Desk("local", "ann")
        name = await begun(store, ann, "how do I rotate keys?", title="signing keys")
        await wrote(store, ann.add(name, answered("run keys rotate", "large-1")))
        await begun(store, Desk("local", "bob"), "other", title="of bob")
        return name

    return on_file(fill)


def test_list_and_search(thread: str, run: Callable[..., str]) -> None:
    listed = run("list")
    assert "signing keys" in listed
    assert "of bob" in listed
    assert "2 messages" in listed
    assert "of bob" not in run("list", "--user", "ann")
    assert run("list", "--tenant", "other") == ""
    found = json.loads(run("list", "--json", "--limit", "1", "--order", "title"))["threads"]
    assert [one["title"] for one in found] == ["of bob"]

    assert "#2: run keys rotate" in run("search", "rotate", "RUN")
    (hit,) = json.loads(run("search", "rotate", "--json"))["threads"]
    assert hit["id"] == thread
    assert run("search", "nowhere") == ""
    assert "at most" in run("search", "?", status=1)


def test_show(thread: str, run: Callable[..., str]) -> None:
    shown = run("show", thread)
    assert "\x1b" not in shown
    for text in ("signing keys", thread, "user #1", "how do I", "assistant #2", "large-1"):
        assert text in shown
    messages = json.loads(run("show", thread, "--json"))["messages"]
    assert [one["content"] for one in messages] == ["how do I rotate keys?", "run keys rotate"]
    assert "there is no thread" in run("show", "nonsense", status=1)
    assert "there is no thread" in run("show", thread, "--user", "bob", status=1)
    assert "there is no branch" in run("show", thread, "--branch", "1", status=1)
    assert "exclude" in run("show", thread, "--branch", "0", "--all", status=2)


def test_show_a_branch(run: Callable[..., str]) -> None:
    async def fill(store: SqliteThreadStore) -> str:
        ann = Desk("local")
        first = said("a question")
        await wrote(store, ann.record(turn([first], answered("way one"), system=[said("obey")])))
        return (
            await wrote(store, ann.record(turn([first, answered("way one"), said("more")])))
        ).head.id

    async def fork(store: SqliteThreadStore) -> None:
        ann = Desk("local")
        ann.time += 60_000
        await wrote(store, ann.record(turn([said("a question"), answered("way two")])))

    name = on_file(fill)
    on_file(fork)
    shown = run("show", name)
    assert "way two" in shown
    assert "way one" not in shown
    assert "branch 1 of 2" in shown
    main_way = run("show", name, "--branch", "0")
    assert "way one" in main_way
    assert "way two" not in main_way
    everything = run("show", name, "--all")
    for text in ("obey", "way one", "way two", "branch 1"):
        assert text in everything
    assert "--all shows" not in everything


def test_a_long_thread_is_shown_whole(run: Callable[..., str]) -> None:
    async def fill(store: SqliteThreadStore) -> str:
        return await begun(store, Desk("local"), *(f"number {one}" for one in range(450)))

    name = on_file(fill)
    assert len(json.loads(run("show", name, "--json"))["messages"]) == 450


def test_stored_escapes_do_not_reach_the_terminal(run: Callable[..., str]) -> None:
    async def fill(store: SqliteThreadStore) -> str:
        ann = Desk("local", f"ann{EVIL}")
        name = await begun(store, ann, EVIL, title=f"title{EVIL}")
        call = {"function": {"name": f"rm{EVIL}", "arguments": EVIL}}
        await wrote(
            store,
            ann.add(
                name, said(EVIL, f"tool{EVIL}", metadata={"model": EVIL, "tool_calls": [call]})
            ),
        )
        return name

    name = on_file(fill)
    for shown in (run("show", name), run("list"), run("search", "owned")):
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown)
        assert "\\x1b]0;owned\\x07" in shown
        assert "[bold]markup[/bold]" in shown
    assert not {"\x1b", "\x07", "\x9b"} & set(run("show", name, "--json"))


def test_export_and_import(thread: str, run: Callable[..., str]) -> None:
    run("export", "all.jsonl")
    assert Path("all.jsonl").stat().st_mode & 0o777 == 0o600
    assert not Path("all.jsonl.partial").exists()
    data = Path("all.jsonl").read_text()
    assert run("export") == data
    one = run("export", "-", "--thread", thread)
    assert one.count("\n") < data.count("\n")
    assert "there is no thread" in run("export", "one", "--thread", "x", status=1)
    assert not Path("one").exists()

    Path("data").rename("before")
    count = data.count("\n") - 1
    assert f"{count} events read, {count} of them new" in run("import", "all.jsonl")
    assert Path("data").stat().st_mode & 0o777 == 0o700
    assert run("export") == data
    assert f"{count} events read, 0 of them new" in run("import", "all.jsonl")
    Path("bad.jsonl").write_text(f"{data}rubbish\n")
    assert f"line {count + 2}" in run("import", "bad.jsonl", status=1)


def test_import_from_standard_input(
    thread: str, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = run("export", "--thread", thread)
    stdin = io.TextIOWrapper(io.BytesIO(data.encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert "0 of them new" in run("import", "-")


def test_verify_and_rebuild(thread: str, run: Callable[..., str]) -> None:
    assert run("verify") == "all is well\n"
    connection = apsw.Connection("data/threads.sqlite")
    connection.execute("UPDATE conversations SET title = ? WHERE user_id = 'ann'", (EVIL,))
    connection.close()
    told = run("verify", status=1)
    assert f"local/{thread}: title is" in told
    assert "\x1b" not in told
    (found,) = json.loads(run("verify", "--json", status=1))
    assert found["thread"] == thread
    assert run("verify", "--tenant", "other") == "all is well\n"
    assert run("rebuild") == "2 threads rebuilt\n"
    assert run("verify") == "all is well\n"


def test_backup(thread: str, run: Callable[..., str]) -> None:
    run("backup", "copy.sqlite")
    assert "exists already" in run("backup", "copy.sqlite", status=1)
    Path("data").rename("before")
    Path("data").mkdir()
    Path("copy.sqlite").rename("data/threads.sqlite")
    assert thread in run("list")


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["search", "x"],
        ["show", "x"],
        ["export"],
        ["verify"],
        ["rebuild"],
        ["backup", "x"],
    ],
)
def test_where_no_thread_was_kept_yet(run: Callable[..., str], arguments: list[str]) -> None:
    assert "no threads.sqlite is there" in run(*arguments, status=2)
    assert not Path("data").exists()


def printed(content: Any, role: str = "assistant", **metadata: Any) -> str:
    raw = msgspec.Raw(msgspec.json.encode(content))
    return message_text(Message("id", 1, role, START, raw, metadata)).plain


LONG = "\n".join(f"line {number}" for number in range(1, 21))


@pytest.mark.parametrize(
    ("content", "metadata", "texts"),
    [
        (
            [{"type": "text", "text": "one"}, {"type": "output_text", "text": "two"}],
            {},
            ["one\ntwo"],
        ),
        ([{"type": "tool_use", "name": "ls", "input": {"a": 1}}], {}, ['→ ls({"a":1})']),
        ({"type": "function_call", "name": "f", "arguments": "x" * 200}, {}, ["→ f(xxx", "x…)"]),
        (None, {"tool_calls": [{"function": {"name": "g", "arguments": "{}"}}]}, ["→ g({})"]),
        ([{"type": "tool_result", "content": LONG}], {}, ["line 8\n… 12 lines more"]),
        ([{"type": "thinking", "thinking": "hm"}], {}, ["\nhm"]),
        ({"type": "reasoning", "summary": [{"type": "x", "text": "so"}]}, {}, ["\nso"]),
        ([{"type": "image", "source": {"data": "AAAA"}}], {}, ["[image]"]),
        ({"odd": 1}, {"partial": True, "error": "gone"}, ['{"odd":1}', "broke off", "gone"]),
        ([1, [2]], {"reasoning_content": "why"}, ["why\n1\n[2]"]),
    ],
)
def test_messages_of_every_api(content: object, metadata: dict[str, Any], texts: list[str]) -> None:
    shown = printed(content, **metadata)
    for text in texts:
        assert text in shown


def test_a_tools_message_is_folded() -> None:
    assert "line 8\n… 12 lines more" in printed(LONG, "tool")
    assert "line 20" in printed(LONG, "user")


def test_a_narrow_terminal_and_a_pipe() -> None:
    text = message_text(Message("id", 1, "user", START, msgspec.Raw(b'"%s"' % (b"ab " * 40)), {}))
    narrow, pipe = io.StringIO(), io.StringIO()
    show(Console(file=narrow, width=20, force_terminal=True), [text])
    show(Console(file=pipe, width=20), [text, text])
    assert "\x1b[" in narrow.getvalue()
    assert len(narrow.getvalue().splitlines()) > 6
    assert "\x1b[" not in pipe.getvalue()
    assert len(pipe.getvalue().splitlines()) == 5


def test_what_is_safe_stays() -> None:
    assert safe("a\tb\r\nc é 日本 👍") == "a\tb\nc é 日本 👍"
    assert safe("\r\ud800\u2028") == "\\x0d\\ud800\\u2028"
