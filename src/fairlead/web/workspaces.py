"""`/api/workspaces`: directories of the node's machine, their files, searches, dependencies."""

# Without postponed annotations: FastAPI could not resolve those that name a local dependency.
import asyncio
import re
from collections.abc import AsyncIterator, Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from fairlead.core.identity import Principal
from fairlead.errors import ClientGoneError, ForbiddenError, RequestError
from fairlead.web.answers import UNCHANGED, Described, is_named, json_answer, strong_tags
from fairlead.web.base import NodeView, WorkspaceView
from fairlead.web.workspaceforms import (
    AskedSearch,
    DependencyReport,
    FileReport,
    GivenWorkspace,
    Lines,
    MatchList,
    PathList,
    WorkspaceList,
    WorkspaceReport,
    WrittenReport,
    file_report,
    workspace_report,
)
from fairlead.workspace.base import Content, TextRange
from fairlead.workspace.content import is_binary
from fairlead.workspace.globs import MAX_PATTERN
from fairlead.workspace.registry import MAX_PAGE
from fairlead.workspace.search import SearchQuery

T = TypeVar("T")

MAX_PATHS = 100_000

_DESCRIBED = Described(
    {
        400: "The path can be none, or the body is no JSON text",
        401: "Who asks is not known",
        403: "It leads out of the workspace, or may not be read, written or registered",
        404: "There is none for this caller",
        409: "It is a directory where a file is meant, or the other way round",
        412: "The file has changed since the caller read it",
        413: "The file, or the workspace, is too large",
        415: "It is no text, or the body has a coding",
        416: "The range is not within the file",
        422: "The request does not fit",
        428: "If-Match is missing",
        503: "Too much is going on, or the directory is away; try again",
        507: "The disk is full; nothing was written",
    }
)
_READ = (400, 401, 403, 404, 409, 413, 415, 422, 503)
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
# A file may be anything: no browser takes it for a page of this node's.
_HARMLESS = {"x-content-type-options": "nosniff", "content-security-policy": "sandbox"}

Id = Annotated[
    str, Path(alias="id", min_length=1, max_length=100, description="The workspace's id or name")
]
FilePath = Annotated[str, Path(alias="path", description="From the workspace's root, with /")]
Hidden = Annotated[bool, Query(description="Also names that begin with a dot")]
Ignored = Annotated[bool, Query(description="Also files that .gitignore names")]
LineNumber = Annotated[int | None, Query(ge=1, le=2**31 - 1)]


async def _caller(request: Request) -> Principal:
    return node_of(request).identify(request.scope["headers"])


def node_of(request: Request) -> NodeView:
    """The node that answers."""
    node: NodeView = request.app.state.node
    return node


Caller = Annotated[Principal, Depends(_caller)]


async def _workspace(request: Request, caller: Caller, name: Id) -> AsyncIterator[WorkspaceView]:
    async with node_of(request).workspaces.lease(caller, name) as opened:
        yield opened


Opened = Annotated[WorkspaceView, Depends(_workspace)]

router = APIRouter(prefix="/api/workspaces", tags=["workspaces"])
"""A workspace of another tenant does not exist for the caller."""


# ---- workspaces


@router.post(
    "",
    status_code=201,
    responses=_DESCRIBED.answers(201, WorkspaceReport, 400, 401, 403, 409, 422, 503, 507)
    | _DESCRIBED.answers(200, WorkspaceReport),
)
async def register_workspace(given: GivenWorkspace, caller: Caller, request: Request) -> Response:
    """Make a directory a workspace of the caller's tenant; 200 where it is one already."""
    workspaces = node_of(request).workspaces
    workspace, is_new = await workspaces.register(caller, given.path, given.name)
    headers = {"location": f"/api/workspaces/{workspace.id}"}
    return json_answer(workspace_report(workspace), 201 if is_new else 200, headers)


@router.get("", responses=_DESCRIBED.answers(200, WorkspaceList, 401, 422, 503))
async def list_workspaces(
    caller: Caller,
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    cursor: Annotated[str, Query(max_length=100, description="A page's `next`")] = "",
) -> Response:
    """The workspaces of the caller's tenant, the oldest first."""
    page = await node_of(request).workspaces.page(caller, cursor, limit)
    following = page[-1].id if len(page) == limit else None
    return json_answer(WorkspaceList([workspace_report(one) for one in page], following))


@router.delete("/{id}", status_code=204, responses=_DESCRIBED.problems(401, 404, 422, 503, 507))
async def forget_workspace(workspace: Id, caller: Caller, request: Request) -> Response:
    """Forget a workspace; its files stay as they are. Only its id names it here."""
    await node_of(request).workspaces.remove(caller, workspace)
    return Response(status_code=204)


# ---- files


@router.get(
    "/{id}/files/{path:path}",
    responses=_DESCRIBED.answers(200, Lines, *_READ, 416)
    | {206: {"description": "The part that Range asks for"}}
    | UNCHANGED,
)
async def read_file(
    path: FilePath,
    opened: Opened,
    request: Request,
    first: LineNumber = None,
    last: LineNumber = None,
) -> Response:
    """A file's bytes (with `Range` a part of them), or with `first` or `last` its lines as JSON."""
    if first is not None or last is not None:
        lines = await opened.files.read_text(path, first, last)
        return json_answer(_lines(lines), headers={"etag": lines.etag})
    content = await opened.files.read(path)
    headers = {"etag": content.etag, "accept-ranges": "bytes", **_HARMLESS}
    if is_named(request.headers.get("if-none-match"), content.etag):
        return Response(status_code=304, headers=headers)
    return _bytes(content, request, headers)


router.add_api_route(
    "/{id}/files/{path:path}", read_file, methods=["HEAD"], include_in_schema=False
)


@router.put(
    "/{id}/files/{path:path}",
    status_code=201,
    responses=_DESCRIBED.answers(201, WrittenReport, *_READ, 412, 428, 507)
    | _DESCRIBED.answers(200, WrittenReport),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
        }
    },
)
async def write_file(path: FilePath, opened: Opened, request: Request) -> Response:
    """Write a whole file at once; one that exists only with its ETag in `If-Match`."""
    node = node_of(request)
    if not node.workspaces.settings.writable:
        raise ForbiddenError("this node writes no files: see workspaces.writable")
    data = await _body(request, node.workspaces.settings.max_file_bytes)
    given = request.headers.get("if-match")
    is_new = given is None
    try:
        written = await opened.files.write(
            path, data, if_match=_expected(given), if_none_match=is_new
        )
    except RequestError as error:
        if error.status != 412 or not is_new or "if-none-match" in request.headers:
            raise
        message = "the file exists: send If-Match with the ETag of what you have read"
        raise RequestError(428, message, param="if-match", code="precondition_required") from error
    report = WrittenReport(written.path, len(written.data))
    return json_answer(report, 201 if is_new else 200, {"etag": written.etag})


@router.get("/{id}/stat/{path:path}", responses=_DESCRIBED.answers(200, FileReport, *_READ))
async def stat_file(path: FilePath, opened: Opened) -> Response:
    """What a path leads to: kind, size, time, permissions. An empty path is the root."""
    return json_answer(file_report(await opened.files.stat(path)))


# ---- finding


@router.get("/{id}/glob", responses=_DESCRIBED.answers(200, PathList, *_READ))
async def find_paths(
    opened: Opened,
    pattern: Annotated[str, Query(min_length=1, max_length=MAX_PATTERN)],
    hidden: Hidden = False,
    ignored: Ignored = False,
    limit: Annotated[int, Query(ge=1, le=MAX_PATHS)] = 1_000,
) -> Response:
    """Paths of files that match a glob pattern (`**/*.py`), sorted; `.gitignore` is obeyed."""
    found = await opened.files.glob(pattern, hidden=hidden, ignored=ignored, limit=limit)
    return json_answer(PathList(found.paths, found.is_complete))


@router.get("/{id}/search", responses=_DESCRIBED.answers(200, MatchList, *_READ))
async def search_text(
    opened: Opened, request: Request, asked: Annotated[AskedSearch, Query()]
) -> Response:
    """Lines with a text, as ripgrep finds them; ends where the client goes away."""
    query = SearchQuery(
        asked.q,
        is_regex=asked.regex,
        ignore_case=asked.ignore_case,
        glob=asked.glob,
        hidden=asked.hidden,
        ignored=asked.ignored,
        context=asked.context,
        limit=asked.limit,
    )
    found = await while_connected(request, opened.files.search(query))
    return json_answer(MatchList(found.matches, found.is_complete))


@router.get(
    "/{id}/dependencies", responses=_DESCRIBED.answers(200, DependencyReport, *_READ) | UNCHANGED
)
async def read_dependencies(
    opened: Opened,
    request: Request,
    path: Annotated[
        list[str] | None, Query(max_length=100, description="Only what these use")
    ] = None,
) -> Response:
    """Which file uses which: imports that were resolved, and names where a language has none."""
    graph = await while_connected(request, opened.repository.dependencies(path or []))
    headers = {"etag": graph.etag}
    if is_named(request.headers.get("if-none-match"), graph.etag):
        return Response(status_code=304, headers=headers)
    return json_answer(DependencyReport(graph.uses, graph.unresolved), headers=headers)


# ---- requests and answers


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled where the client goes away."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return task.result()
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request, most: int) -> bytes:
    """The body of a write; raises `RequestError` 413 as soon as it is larger than `most`."""
    if request.headers.get("content-encoding", "identity") != "identity":
        message = "send the file as it is, without Content-Encoding"
        raise RequestError(415, message, param="content-encoding", code="coding")
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            message = f"the file is larger than {most:,} bytes (workspaces.max_file_bytes)"
            raise RequestError(413, message, code="too_large")
        pieces.append(piece)
    return b"".join(pieces)


def _expected(given: str | None) -> str | None:
    """The one entity tag of `If-Match`, or `*`; a weak one matches nothing."""
    if given is None or given.strip() == "*":
        return given and "*"
    tags = strong_tags(given)
    if len(tags) > 1:
        message = "If-Match names several versions: send the one that was read"
        raise RequestError(422, message, param="if-match", code="invalid")
    return tags[0] if tags else '""'


def _lines(lines: TextRange) -> Lines:
    return Lines(lines.path, lines.text, lines.encoding, lines.first, lines.last, lines.lines)


def _bytes(content: Content, request: Request, headers: dict[str, str]) -> Response:
    """The whole content, or the single range that is asked for (RFC 9110, 14)."""
    data, kind = content.data, _media_type(content.data)
    wanted = _RANGE.fullmatch(request.headers.get("range", "").strip())
    known = request.headers.get("if-range")
    if wanted is None or not any(wanted.groups()) or (known and known.strip() != content.etag):
        return Response(data, headers=headers, media_type=kind)
    first, last = _bounds(wanted[1], wanted[2], len(data))
    if first > last:
        message = f"the file has {len(data):,} bytes"
        return Response(
            message, 416, {**headers, "content-range": f"bytes */{len(data)}"}, "text/plain"
        )
    headers["content-range"] = f"bytes {first}-{last}/{len(data)}"
    return Response(data[first : last + 1], 206, headers, kind)


def _bounds(first: str, last: str, size: int) -> tuple[int, int]:
    if not first:
        return max(0, size - int(last[:20])), size - 1 if int(last[:20]) else -1
    return int(first[:20]), min(int(last[:20]) if last else size, size - 1)


def _media_type(data: bytes) -> str:
    if is_binary(data):
        return "application/octet-stream"
    try:
        data.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    return "text/plain"
