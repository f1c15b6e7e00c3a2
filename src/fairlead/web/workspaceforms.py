"""Workspaces and what is in them, as `/api/workspaces` takes and gives it."""

# Without postponed annotations: FastAPI could not resolve those that name a local dependency.
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from fairlead.web.threadforms import moment
from fairlead.workspace.base import FileInfo
from fairlead.workspace.globs import MAX_PATTERN
from fairlead.workspace.registry import MAX_NAME, Workspace
from fairlead.workspace.search import MAX_CONTEXT, MAX_LIMIT, MAX_QUERY, Match


class GivenWorkspace(BaseModel):
    """A directory to register."""

    model_config = ConfigDict(extra="forbid")

    path: Annotated[
        str, Field(min_length=1, max_length=4_096, description="Absolute, on the node's machine")
    ]
    name: Annotated[
        str | None, Field(min_length=1, max_length=MAX_NAME, description="The directory's own")
    ] = None


class AskedSearch(BaseModel):
    """What to find."""

    q: Annotated[str, Field(min_length=1, max_length=MAX_QUERY, description="Text, in one line")]
    regex: Annotated[bool, Field(description="`q` is a regular expression (Rust's)")] = False
    ignore_case: bool = False
    glob: Annotated[
        str | None,
        Field(min_length=1, max_length=MAX_PATTERN, description="Only in such files: `*.go`"),
    ] = None
    hidden: Annotated[bool, Field(description="Also names that begin with a dot")] = False
    ignored: Annotated[bool, Field(description="Also files that .gitignore names")] = False
    context: Annotated[int, Field(ge=0, le=MAX_CONTEXT, description="Lines around")] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 200


class WorkspaceReport(msgspec.Struct):
    """A workspace; its time in UTC (RFC 3339)."""

    id: str
    name: str
    path: str
    user_id: str
    """Who has registered it."""
    created: str


class WorkspaceList(msgspec.Struct):
    """A page of workspaces; `next` is the cursor of the page behind."""

    workspaces: Sequence[WorkspaceReport]
    next: str | None


class FileReport(msgspec.Struct):
    """What a path leads to."""

    path: str
    kind: str
    """`file`, `directory` or `other`."""
    size: int
    """Bytes."""
    modified: str
    mode: str
    """Permission bits, as `chmod` takes them: `0644`."""


class Lines(msgspec.Struct):
    """Lines of a text file, both ends included, numbered from 1."""

    path: str
    text: str
    encoding: str
    first: int
    last: int
    lines: int
    """Of the whole file."""


class WrittenReport(msgspec.Struct):
    """A file that was written."""

    path: str
    size: int


class PathList(msgspec.Struct):
    """Sorted paths; not complete where there are more than were asked for."""

    paths: Sequence[str]
    complete: bool


class MatchList(msgspec.Struct):
    """Lines that were found, in the order of paths and lines."""

    matches: Sequence[Match]
    complete: bool
    """false: there may be more, beyond the limit or the time that a search may take."""


class DependencyReport(msgspec.Struct):
    """File → files that it uses, and imports that lead to no file of the workspace."""

    uses: Mapping[str, Sequence[str]]
    unresolved: Mapping[str, Sequence[str]]


class MapFileReport(msgspec.Struct):
    """A file of a map: how much it matters, and how many of its definitions are shown."""

    path: str
    rank: float
    definitions: int


class MapReport(msgspec.Struct):
    """A repository map."""

    text: str
    tokens: int
    counted: str
    """The tokenizer's name, or `approximate`."""
    files: Sequence[MapFileReport]
    total_files: int
    skipped: Mapping[str, int]
    broken: int
    """Files with errors of syntax."""


_, SCHEMAS = msgspec.json.schema_components(
    (
        *(WorkspaceReport, WorkspaceList, FileReport, Lines, WrittenReport, PathList, MatchList),
        *(DependencyReport, MapReport),
    ),
    ref_template="#/components/schemas/{name}",
)
"""The forms that are given, for the API's description."""


def workspace_report(workspace: Workspace) -> WorkspaceReport:
    """A workspace."""
    created = moment(workspace.created)
    return WorkspaceReport(workspace.id, workspace.name, workspace.path, workspace.user_id, created)


def file_report(info: FileInfo) -> FileReport:
    """What a path leads to."""
    modified = moment(info.stamp.modified_ns // 1_000_000)
    return FileReport(info.path, info.kind, info.stamp.size, modified, f"{info.mode:04o}")
