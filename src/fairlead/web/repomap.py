"""`/api/assets/repomap`: the map of a workspace's repository, with its entity tag."""

# Without postponed annotations: FastAPI could not resolve those that name a local dependency.
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from fairlead.web.answers import UNCHANGED, Described, is_named, json_answer
from fairlead.web.workspaceforms import MapFileReport, MapReport
from fairlead.web.workspaces import Caller, node_of, while_connected
from fairlead.workspace.base import RepositoryMap
from fairlead.workspace.focus import MAX_ENTRIES
from fairlead.workspace.render import MAX_TOKENS, MIN_TOKENS

_DESCRIBED = Described(
    {
        401: "Who asks is not known",
        404: "There is no such workspace for this caller",
        409: "Several workspaces have this name",
        413: "The workspace has too many files",
        422: "The request does not fit",
        503: "Too much is going on, or the directory is away; try again",
    }
)

router = APIRouter(prefix="/api/assets", tags=["workspaces"])


@router.get(
    "/repomap",
    responses=_DESCRIBED.answers(200, MapReport, 401, 404, 409, 413, 422, 503) | UNCHANGED,
)
async def read_map(
    caller: Caller,
    request: Request,
    workspace: Annotated[
        str | None, Query(min_length=1, max_length=100, description="Id or name; the only one")
    ] = None,
    tokens: Annotated[int, Query(ge=MIN_TOKENS, le=MAX_TOKENS)] = 2_000,
    focus: Annotated[
        list[str] | None,
        Query(max_length=MAX_ENTRIES, description="Files, identifiers or words that matter now"),
    ] = None,
    form: Annotated[Literal["text", "json"] | None, Query(alias="format")] = None,
) -> Response:
    """The most important signatures in at most `tokens` tokens: text, or JSON if so accepted."""
    entries = [entry for given in focus or () for entry in given.split(",")]
    async with node_of(request).workspaces.lease(caller, workspace) as opened:
        made = await while_connected(request, opened.repository.map(tokens, entries))
    as_json = form == "json" or (
        form is None and "application/json" in request.headers.get("accept", "")
    )
    # Both forms are of one text, but each is an answer of its own.
    tag = f'{made.etag[:-1]}-json"' if as_json else made.etag
    headers = {"etag": tag, "vary": "accept", "cache-control": "no-cache"}
    if is_named(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=headers)
    if as_json:
        return json_answer(_report(made), headers=headers)
    return Response(made.text, headers=headers, media_type="text/plain")


def _report(made: RepositoryMap) -> MapReport:
    return MapReport(
        made.text,
        made.tokens,
        made.counted,
        [MapFileReport(one.path, one.rank, one.definitions) for one in made.files],
        made.total_files,
        {str(reason): count for reason, count in made.skipped.items()},
        made.broken,
    )
