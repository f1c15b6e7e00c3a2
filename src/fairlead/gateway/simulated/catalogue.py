"""The listed models in both APIs' forms: `GET /v1/models` and `/v1/models/{id}`."""

from __future__ import annotations

from typing import Any

from fairlead.errors import RequestError
from fairlead.gateway.simulated.options import SimulatedOptions
from fairlead.gateway.simulated.shape import encode

# Nobody released them; a fixed date keeps the answer the same from run to run.
_CREATED = 1_700_000_000
_CREATED_AT = "2023-11-14T22:13:20Z"


def list_models(options: SimulatedOptions, family: str) -> bytes:
    """All listed models, on one page."""
    models = [_model(options, family, name) for name in options.models]
    if family == "anthropic":
        ends = {"first_id": options.models[0], "last_id": options.models[-1]}
        return encode({"data": models, "has_more": False, **ends})
    return encode({"object": "list", "data": models})


def get_model(options: SimulatedOptions, family: str, name: str) -> bytes:
    """One listed model; `RequestError` 404 for any other name."""
    if name in options.models:
        return encode(_model(options, family, name))
    if family == "anthropic":
        raise RequestError(404, f"model: {name}")
    message = f"The model '{name}' does not exist; listed: {', '.join(options.models)}"
    raise RequestError(404, message, param="model", code="model_not_found")


def _model(options: SimulatedOptions, family: str, name: str) -> dict[str, Any]:
    if family == "anthropic":
        return {
            "type": "model",
            "id": name,
            "display_name": f"Simulated: {name}",
            "created_at": _CREATED_AT,
            "lifecycle": "active",
        }
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": options.name}
