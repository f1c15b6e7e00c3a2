"""`fairlead threads`: conversations that a node has kept, while it runs or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fairlead.cli.threadstore import AsJson, Config, DataDir, Place, print_json
from fairlead.cli.threadupkeep import backup, export_threads, import_threads, rebuild, verify

if TYPE_CHECKING:
    from fairlead.conversations.database import ConversationDatabase
    from fairlead.conversations.records import Head, Hit, Message, Viewer

_PAGE = 200

# ruff: noqa: PLC0415 - what the commands work with loads late, so that `--help` stays fast

Tenant = Annotated[str, typer.Option(help="Whose threads.")]
User = Annotated[
    str | None,
    typer.Option(help="Only what this user may see.", show_default="everything of the tenant"),
]
Limit = Annotated[int, typer.Option(help="At most so many, 1 to 1,000.")]

threads = typer.Typer(no_args_is_help=True, help="List, show, search, move and mend threads.")


@threads.command("list")
def list_threads(
    order: Annotated[
        Literal["last_activity", "created", "title"], typer.Option(help="What comes first.")
    ] = "last_activity",
    limit: Limit = 50,
    as_json: AsJson = False,
    tenant: Tenant = "local",
    user: User = None,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """List threads, the latest first."""
    from fairlead.web.threadforms import ThreadList, thread_report

    async def read() -> Sequence[Head]:
        async with _database(Place(config, data_dir)) as database:
            page = await database.list(_viewer(tenant, user), order=order, limit=limit)
            return page.threads

    heads = asyncio.run(read())
    if as_json:
        print_json(ThreadList([thread_report(head) for head in heads], None))
    else:
        from fairlead.cli.transcript import heading

        _show([heading(head) for head in heads])


@threads.command()
def search(
    words: Annotated[list[str], typer.Argument(help="All of them are in what is found.")],
    limit: Limit = 20,
    as_json: AsJson = False,
    tenant: Tenant = "local",
    user: User = None,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Find threads by their words, the best first."""
    from fairlead.web.threadforms import SearchList, hit_report

    async def read() -> Sequence[Hit]:
        async with _database(Place(config, data_dir)) as database:
            page = await database.search(_viewer(tenant, user), " ".join(words), limit=limit)
            return page.hits

    hits = asyncio.run(read())
    if as_json:
        print_json(SearchList([hit_report(hit) for hit in hits], None))
    else:
        from fairlead.cli.transcript import hit_text

        _show([hit_text(hit) for hit in hits])


@threads.command()
def show(
    thread: Annotated[str, typer.Argument(help="Its id.")],
    branch: Annotated[
        int | None, typer.Option(help="A branch.", show_default="the one added to last")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All messages, of every branch, as they came.")
    ] = False,
    as_json: AsJson = False,
    tenant: Tenant = "local",
    user: User = None,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Print what was said in a thread."""
    if everything and branch is not None:
        raise typer.BadParameter("--all and --branch exclude each other")

    async def read() -> tuple[Head, int | None, list[Message]]:
        async with _database(Place(config, data_dir)) as database:
            viewer = _viewer(tenant, user)
            head = await database.read(viewer, thread)
            shown = None if everything else _branch(head, branch)
            return head, shown, await _messages(database, viewer, thread, shown)

    head, shown, messages = asyncio.run(read())
    if as_json:
        from fairlead.web.threadforms import MessageList, message_report

        print_json(MessageList([message_report(one) for one in messages], None, None))
    else:
        from fairlead.cli.transcript import transcript

        _show(transcript(head, shown, messages))


threads.command("export")(export_threads)
threads.command("import")(import_threads)
threads.command()(rebuild)
threads.command()(verify)
threads.command()(backup)


@asynccontextmanager
async def _database(place: Place) -> AsyncIterator[ConversationDatabase]:
    from fairlead.conversations.database import ConversationDatabase

    async with ConversationDatabase(place.store()) as database:
        yield database


def _viewer(tenant: str, user: str | None) -> Viewer:
    from fairlead.conversations.records import Viewer

    return Viewer(tenant, user)


def _branch(head: Head, wanted: int | None) -> int:
    from fairlead.errors import NotFoundError

    if wanted is None:
        return head.branch
    if not 0 <= wanted <= head.branches:
        raise NotFoundError("branch", str(wanted))
    return wanted


async def _messages(
    database: ConversationDatabase, viewer: Viewer, thread: str, branch: int | None
) -> list[Message]:
    from fairlead.conversations.records import PageQuery

    found: list[Message] = []
    after: int | None = 0
    while after is not None:
        query = PageQuery(limit=_PAGE, after=after, branch=branch)
        page = await database.messages(viewer, thread, query)
        found += page.messages
        after = page.next
    return found


def _show(texts: Sequence[Any]) -> None:
    from rich.console import Console

    from fairlead.cli.transcript import show as print_texts

    print_texts(Console(highlight=False), texts)
