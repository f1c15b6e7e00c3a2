from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fairlead.core.identity import Principal
from fairlead.gateway.base import UsageRecord

PRINCIPAL = Principal(tenant="red", user="ann", team="red", verified=True)
DEFAULTS: dict[str, Any] = {
    "request_id": "req-1",
    "principal": PRINCIPAL,
    "method": "POST",
    "path": "/v1/messages",
    "shape": "anthropic",
    "model": "claude-x",
    "upstream": "up-1",
    "status": 200,
    "cache": "miss",
    "cache_detail": "",
    "seconds": 0.2,
    "first_byte": 0.05,
    "queued": 0.02,
    "request_bytes": 1000,
    "response_bytes": 200,
    "input_tokens": 30,
    "output_tokens": 12,
}


@pytest.fixture
def usage() -> Callable[..., UsageRecord]:
    """Makes the record of an ended request; keywords replace what is usual."""

    def make(**changes: Any) -> UsageRecord:
        return UsageRecord(**(DEFAULTS | changes))

    return make
