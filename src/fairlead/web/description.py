"""`/openapi.json` and `/docs`: the API's own description, readable without the internet."""

from __future__ import annotations

from importlib import resources
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from fastapi.openapi.utils import get_openapi
from starlette.staticfiles import StaticFiles

from fairlead.web import threadforms, workspaceforms

_PASSED = (
    "Passed to an upstream that serves the model, byte for byte but for credentials; answered from "
    "the response cache where that is allowed. Body and answer are those of the provider's API."
)
_MODEL_ROUTES = (
    ("post", "/v1/chat/completions", "OpenAI chat completions", _PASSED),
    ("post", "/v1/responses", "OpenAI responses", _PASSED),
    ("post", "/v1/embeddings", "OpenAI embeddings", _PASSED),
    ("get", "/v1/models", "Models", "The models that the upstreams offer; cached for a minute."),
    ("post", "/v1/messages", "Anthropic messages", _PASSED),
    ("post", "/v1/messages/count_tokens", "Anthropic token count", _PASSED),
)
_PROBLEM = {
    "title": "Problem",
    "description": "A problem document (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
_PAGE = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Fairlead API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/assets/swagger-ui.css">
</head>
<body>
<main id="description"></main>
<script src="docs/assets/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
# A validator URL would have the page ask a server on the internet.
_START = b"""SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#description",
  deepLinking: true,
  validatorUrl: null,
});
"""
# Nothing but this node is asked for anything; Swagger UI styles inline and embeds its images.
_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"


class DescribedApi(FastAPI):
    """FastAPI whose description also covers what the bare path under `/v1` serves."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI description; made once."""
        if self.openapi_schema is None:
            schema = get_openapi(
                title=self.title,
                version=self.version,
                description=self.description,
                routes=self.routes,
            )
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            schemas.update(threadforms.SCHEMAS, **workspaceforms.SCHEMAS, Problem=_PROBLEM)
            for method, path, summary, description in _MODEL_ROUTES:
                schema["paths"][path] = {method: _model_operation(method, summary, description)}
            self.openapi_schema = schema
        return self.openapi_schema


def _model_operation(method: str, summary: str, description: str) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "tags": ["models"],
        "summary": summary,
        "description": description,
        "responses": {
            "default": {"description": "The upstream's answer, or an error in its shape"}
        },
    }
    if method == "post":
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    return operation


def docs_router() -> APIRouter:
    """The page and the few lines that start it."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    async def docs() -> Response:
        headers = {"content-security-policy": _POLICY}
        return Response(_PAGE, headers=headers, media_type="text/html")

    @router.get("/docs/start.js")
    async def start() -> Response:
        return Response(_START, media_type="text/javascript")

    return router


def docs_assets() -> StaticFiles:
    """Swagger UI's own files (Apache-2.0), as the package `fastapi-offline` carries them."""
    with resources.as_file(resources.files("fastapi_offline") / "static") as directory:
        return StaticFiles(directory=directory)
