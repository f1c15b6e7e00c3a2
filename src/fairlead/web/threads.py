"""`/api/threads`: conversations, within what the caller may see."""

# Without postponed annotations: FastAPI could not resolve those that name a local dependency.
import re
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from fairlead.conversations.database import MAX_SEARCH, ConversationDatabase
from fairlead.conversations.inputs import MAX_MESSAGES
from fairlead.conversations.records import Head, Order, PageQuery, Scope, Viewer
from fairlead.errors import RequestError
from fairlead.web.answers import UNCHANGED, Described, is_named, json_answer, strong_tags
from fairlead.web.base import NodeView
from fairlead.web.threadforms import (
    Added,
    GivenMessage,
    GivenMetadata,
    GivenThread,
    MessageList,
    Placed,
    SearchList,
    SeveralMessages,
    ThreadList,
    ThreadReport,
    hit_report,
    message_report,
    thread_report,
)

_MAX_CURSOR = 2_000
_MAX_SEQUENCE = 2**31 - 1
_VERSION = re.compile(r"[0-9]{1,18}")

_DESCRIBED = Described(
    {
        400: "The body is no JSON text, or the cursor none of ours",
        401: "Who asks is not known",
        403: "The thread is shared with the caller to read, not to change",
        404: "There is no such thread for this caller",
        412: "The thread has changed since the caller read it",
        413: "The message is too large",
        422: "The request does not fit",
        428: "If-Match is missing",
        503: "The database is away or has too much to do; nothing is lost, try again",
        507: "The disk is full; nothing was stored, try again later",
    }
)
_READ = (401, 404, 422, 503)
_WRITE = (400, 401, 403, 404, 412, 413, 422, 503, 507)

Id = Annotated[str, Path(alias="id", min_length=1, max_length=64, description="The thread's id")]
Cursor = Annotated[str | None, Query(max_length=_MAX_CURSOR, description="A page's `next`")]
Limit = Annotated[int, Query(ge=1, le=MAX_MESSAGES)]
Sequence = Annotated[int | None, Query(ge=0, le=_MAX_SEQUENCE)]


_answers, _problems = _DESCRIBED.answers, _DESCRIBED.problems


# ---- who asks, and whom


async def _caller(request: Request) -> Viewer:
    principal = _node(request).identify(request.scope["headers"])
    return Viewer(principal.tenant, principal.user, principal.team)


async def _database(request: Request) -> ConversationDatabase:
    return _node(request).threads


def _node(request: Request) -> NodeView:
    node: NodeView = request.app.state.node
    return node


Caller = Annotated[Viewer, Depends(_caller)]
Database = Annotated[ConversationDatabase, Depends(_database)]

router = APIRouter(prefix="/api/threads", tags=["threads"])
"""Every operation is limited to the caller's own threads and those shared in their tenant."""


# ---- operations


@router.get("/list", responses=_answers(200, ThreadList, 400, *_READ))
async def list_threads(
    caller: Caller,
    database: Database,
    order: Order = "last_activity",
    scope: Scope = "team",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Threads, newest first or by title: one's own (`user`), those `shared`, or both (`team`)."""
    page = await database.list(caller, order=order, scope=scope, limit=limit, cursor=cursor)
    return json_answer(ThreadList([thread_report(head) for head in page.threads], page.next))


@router.get("/search", responses=_answers(200, SearchList, 400, *_READ))
async def search_threads(
    caller: Caller,
    database: Database,
    q: Annotated[str, Query(min_length=1, max_length=MAX_SEARCH, description="Words")],
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Response:
    """Threads with a title or a message that holds all the words, best first, with snippets."""
    page = await database.search(caller, q, limit=limit, cursor=cursor)
    return json_answer(SearchList([hit_report(hit) for hit in page.hits], page.next))


@router.get("/{id}", responses=_answers(200, ThreadReport, *_READ) | UNCHANGED)
async def read_thread(thread: Id, caller: Caller, database: Database, request: Request) -> Response:
    """A thread without its messages."""
    head = await database.read(caller, thread)
    if is_named(request.headers.get("if-none-match"), f'"{head.version}"'):
        return Response(status_code=304, headers=_etag(head))
    return _thread(head)


@router.get("/{id}/messages", responses=_answers(200, MessageList, *_READ))
async def read_messages(
    thread: Id,
    caller: Caller,
    database: Database,
    after: Sequence = None,
    before: Sequence = None,
    branch: Sequence = None,
    limit: Limit = 100,
) -> Response:
    """A page of messages in ascending order: the latest, or those after or before a sequence.

    With `branch` only what that branch consists of, in its own order.
    """
    query = PageQuery(limit, after, before, branch)
    page = await database.messages(caller, thread, query)
    messages = [message_report(message) for message in page.messages]
    return json_answer(MessageList(messages, page.next, page.previous), headers=_etag(page.head))


@router.post("", status_code=201, responses=_answers(201, ThreadReport, *_WRITE))
async def create_thread(given: GivenThread, caller: Caller, database: Database) -> Response:
    """Begin a thread; without a title it gets the first line of what its user says."""
    messages = [message.taken() for message in given.messages]
    written = await database.create(caller, title=given.title, messages=messages)
    location = {"location": f"/api/threads/{written.head.id}"}
    return _thread(written.head, 201, location)


@router.put("/{id}", responses=_answers(200, ThreadReport, *_WRITE, 428))
async def replace_metadata(
    thread: Id,
    given: GivenMetadata,
    caller: Caller,
    database: Database,
    request: Request,
) -> Response:
    """Replace title and sharing, if the thread still is what `If-Match` says (its ETag)."""
    if request.headers.get("if-match") is None:
        message = 'send If-Match with the ETag of the thread, or "*" to overwrite it'
        raise RequestError(428, message, param="if-match", code="precondition_required")
    written = await database.update(
        caller,
        thread,
        title=given.title,
        is_shared=given.is_shared,
        expected_version=_expected(request),
    )
    return _thread(written.head)


@router.delete("/{id}", status_code=204, responses=_problems(*_WRITE))
async def delete_thread(
    thread: Id, caller: Caller, database: Database, request: Request
) -> Response:
    """Delete a thread with everything that was said in it."""
    await database.delete(caller, thread, expected_version=_expected(request))
    return Response(status_code=204)


@router.post("/{id}/messages", status_code=201, responses=_answers(201, Added, *_WRITE))
async def add_messages(
    thread: Id,
    given: GivenMessage | SeveralMessages,
    caller: Caller,
    database: Database,
) -> Response:
    """Add one message, or several at once; answered after their commit."""
    several = given.messages if isinstance(given, SeveralMessages) else [given]
    written = await database.append(caller, thread, [message.taken() for message in several])
    placed = [Placed(name, sequence) for name, sequence in written.messages]
    return json_answer(Added(placed, written.head.version), 201, _etag(written.head))


@router.post("/{id}/share", responses=_answers(200, ThreadReport, *_WRITE))
async def share_thread(thread: Id, caller: Caller, database: Database) -> Response:
    """Let everyone of the tenant read and find the thread."""
    return _thread((await database.share(caller, thread, True)).head)


@router.delete("/{id}/share", responses=_answers(200, ThreadReport, *_WRITE))
async def unshare_thread(thread: Id, caller: Caller, database: Database) -> Response:
    """Keep the thread for its owner alone."""
    return _thread((await database.share(caller, thread, False)).head)


# ---- answers


def _thread(head: Head, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return json_answer(thread_report(head), status, _etag(head) | (headers or {}))


def _etag(head: Head) -> dict[str, str]:
    return {"etag": f'"{head.version}"'}


def _expected(request: Request) -> int | None:
    """The version that `If-Match` asks for (RFC 9110 section 13.1.1); None for any."""
    given = request.headers.get("if-match")
    if given is None or given.strip() == "*":
        return None
    # One that is weak or not of ours matches no version; of several there can be but one.
    strong = [tag[1:-1] for tag in strong_tags(given) if _VERSION.fullmatch(tag[1:-1])]
    if len(strong) > 1:
        message = "If-Match names several versions: send the one that was read"
        raise RequestError(422, message, param="if-match", code="invalid")
    return int(strong[0]) if strong else -1
