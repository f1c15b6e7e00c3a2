"""`/api/upstreams`: the servers behind this node, and draining them."""

# Without postponed annotations: FastAPI could not resolve those that name a local dependency.
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict

from fairlead.core.identity import Principal
from fairlead.errors import RequestError
from fairlead.traffic.admission import QueueStatistics
from fairlead.web.base import NodeView, UpstreamView
from fairlead.web.problems import MEDIA_TYPE


class _FromRecord(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Report(_FromRecord):
    """What the server says of itself, where it is asked; fractions are 0 to 1."""

    running: int | None
    waiting: int | None
    cpu: float | None
    memory_free: float | None
    prefix_hit_rate: float | None


class Queue(BaseModel):
    """The queue before the server. Seconds, tasks, tasks per second."""

    limit: int
    min_limit: int
    max_limit: int
    running: int
    waiting: dict[str, int]
    admitted: dict[str, int]
    refused: dict[str, dict[str, int]]
    drain_rate: float
    first_byte: float


class UpstreamReport(BaseModel):
    """One server, as the process that answers sees it."""

    name: str
    group: str
    shape: str
    base_url: str
    models: list[str]
    state: Literal["active", "draining"]
    health: str
    load: int
    in_flight: int
    sessions: int
    served: int
    failed: int
    ejections: int
    resting_models: int
    resting_seconds: float
    accounts_set_aside: int
    probe_error: str
    report: Report | None
    queue: Queue


class Upstreams(BaseModel):
    """Servers in the order of the configuration."""

    upstreams: list[UpstreamReport]


class Change(BaseModel):
    """What to do with an upstream."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["active", "draining"]


def upstreams_router(node: NodeView) -> APIRouter:
    """Every caller may look; draining is the operator's, who is on this machine."""
    problem: dict[str, Any] = {
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    }
    router = APIRouter(
        prefix="/api/upstreams",
        tags=["upstreams"],
        responses={401: {"description": "Who asks is not known", **problem}},
    )

    async def caller(request: Request) -> Principal:
        return node.identify(request.scope["headers"])

    @router.get("", dependencies=[Depends(caller)])
    async def list_upstreams() -> Upstreams:
        """Each server: health, load, sessions, queue and limit."""
        return _reports(node.upstreams())

    @router.put(
        "/{name}",
        responses={
            400: {"description": "The body is not text", **problem},
            403: {"description": "The caller is not the operator", **problem},
            404: {"description": "There is no such upstream", **problem},
            422: {"description": "The request does not fit", **problem},
        },
    )
    async def change_upstream(
        name: Annotated[str, Path(min_length=1, max_length=80)],
        change: Change,
        principal: Annotated[Principal, Depends(caller)],
        request: Request,
    ) -> Upstreams:
        """Drain an upstream (it takes nothing new, what runs may finish), or bring it back.

        `name` is a configured entry or one of its servers. It lasts until the node restarts, or
        until a reloaded configuration has another state for it than before.
        """
        if principal.verified or not _is_local(request):
            raise RequestError(403, "only the node's operator may change upstreams, from loopback")
        return _reports(node.set_upstream_state(name, change.state))

    return router


def _is_local(request: Request) -> bool:
    # An address that is none is a test's or a socket file's: on this machine as well.
    try:
        return request.client is None or ip_address(request.client.host).is_loopback
    except ValueError:
        return True


def _reports(views: Sequence[UpstreamView]) -> Upstreams:
    return Upstreams(upstreams=[_report(view) for view in views])


def _report(view: UpstreamView) -> UpstreamReport:
    server = view.server
    return UpstreamReport(
        name=view.name,
        group=view.group,
        shape=view.shape,
        base_url=view.base_url,
        models=list(view.models),
        state=server.state,
        health=server.health,
        load=server.load,
        in_flight=server.in_flight,
        sessions=server.sessions,
        served=server.served,
        failed=server.failed,
        ejections=server.ejections,
        resting_models=server.resting,
        resting_seconds=server.rest,
        accounts_set_aside=server.accounts_set_aside,
        probe_error=view.probe_error,
        report=None if server.report is None else Report.model_validate(server.report),
        queue=_queue(view.queue),
    )


def _queue(queue: QueueStatistics) -> Queue:
    classes = queue.classes
    return Queue(
        limit=queue.limit,
        min_limit=queue.min_limit,
        max_limit=queue.max_limit,
        running=queue.running,
        waiting={name: one.waiting for name, one in classes.items()},
        admitted={name: one.admitted for name, one in classes.items()},
        refused={name: one.refused for name, one in classes.items()},
        drain_rate=queue.drain_rate,
        first_byte=queue.first_byte,
    )
