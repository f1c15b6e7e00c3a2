"""The FastAPI side of a node: `/api`, health, metrics and the description; `/v1` is not here."""

from __future__ import annotations

from fastapi.responses import RedirectResponse
from starlette.routing import Route

from fairlead.web import problems
from fairlead.web.base import NodeView
from fairlead.web.cache import cache_router
from fairlead.web.description import DescribedApi, docs_assets, docs_router
from fairlead.web.gate import McpGate
from fairlead.web.health import health_router
from fairlead.web.repomap import router as repomap_router
from fairlead.web.rim import Rim
from fairlead.web.threads import router as threads_router
from fairlead.web.upstreams import upstreams_router
from fairlead.web.workspaces import router as workspaces_router


def create_api(node: NodeView) -> DescribedApi:
    """The ASGI application for everything outside `/v1`.

    It keeps no state but `node`; opening and closing that is the caller's business.
    """
    app = DescribedApi(
        title="Fairlead",
        version=node.version,
        description="Makes AI coding assistants fast, cheap and dependable.",
        docs_url=None,
        redoc_url=None,
    )
    app.state.node = node
    problems.install(app)
    app.add_middleware(Rim)
    app.include_router(health_router(node))
    app.include_router(cache_router(node))
    app.include_router(upstreams_router(node))
    app.include_router(threads_router)
    app.include_router(workspaces_router)
    app.include_router(repomap_router)
    app.router.routes.append(Route("/mcp", endpoint=McpGate(node), include_in_schema=False))
    app.include_router(docs_router())
    app.mount("/docs/assets", docs_assets())

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("/docs")

    return app
