"""`/healthz`, `/readyz`, `/metrics`."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from fairlead.web.base import NodeView


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"]
    version: str


class CheckResult(BaseModel):
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    essential: bool


class Readiness(BaseModel):
    """Whether the node takes requests, and what was looked at."""

    status: Literal["ready", "degraded", "unready"]
    checks: list[CheckResult]


def health_router(node: NodeView) -> APIRouter:
    """What orchestrators and scrapers call; open to everybody who reaches the port."""
    router = APIRouter(tags=["health"])
    probe = {"GET": True, "HEAD": False}

    async def healthz() -> Alive:
        """Is the process alive: always 200."""
        return Alive(status="ok", version=node.version)

    async def readyz(response: Response) -> Readiness:
        """Does the node take requests: 200, or 503 while it cannot.

        `degraded` is ready too: something is away that costs time or models, but not the service.
        """
        result = readiness(node)
        response.status_code = 503 if result.status == "unready" else 200
        return result

    async def metrics(request: Request) -> Response:
        """All metrics, as Prometheus text or, if `Accept` asks for it, OpenMetrics text."""
        exposition = await node.render_metrics(request.headers.get("accept", ""))
        # Set as a header, because a media type would get a second charset.
        return Response(exposition.body, headers={"content-type": exposition.content_type})

    for method, described in probe.items():
        router.add_api_route("/healthz", healthz, methods=[method], include_in_schema=described)
        router.add_api_route(
            "/readyz",
            readyz,
            methods=[method],
            include_in_schema=described,
            responses={503: {"model": Readiness, "description": "Not ready"}},
        )
    text: dict[str, Any] = {"content": {"text/plain": {}, "application/openmetrics-text": {}}}
    router.add_api_route("/metrics", metrics, response_class=Response, responses={200: text})
    return router


def readiness(node: NodeView) -> Readiness:
    """What the node's checks add up to."""
    checks = [
        CheckResult(name=check.name, ok=check.ok, detail=check.detail, essential=check.essential)
        for check in node.checks()
    ]
    failed = [check for check in checks if not check.ok]
    if any(check.essential for check in failed):
        return Readiness(status="unready", checks=checks)
    return Readiness(status="degraded" if failed else "ready", checks=checks)
