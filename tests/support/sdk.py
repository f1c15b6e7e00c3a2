"""The official SDKs, one client straight at an upstream and one at a node before it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel

from fairlead.gateway.simulated import SimulatedServer
from support.wire import until

C = TypeVar("C")

_MOMENTS = {"created", "created_at", "completed_at"}
_IDS = re.compile(r"\b(chatcmpl-|resp_|msg_|req_)[0-9a-f]{16,}")
_OWN_FIELDS = {"date", "connection", "keep-alive", "transfer-encoding", "cache-status"}
_OWN_FIELDS |= {"x-fairlead-cache-key"}


def normal(value: Any) -> Any:
    """`value` as plain data, without what differs from one answer to the next: ids, moments."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_unset=True, warnings=False)
    if isinstance(value, dict):
        return {key: 0 if key in _MOMENTS else normal(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [normal(item) for item in value]
    return _IDS.sub(r"\1…", value) if isinstance(value, str) else value


class _Answered(Protocol):
    @property
    def headers(self) -> Any: ...


def fields(response: _Answered) -> dict[str, str]:
    """An answer's header fields, without those that the node may add or change.

    Where the upstream has set no request id, the node sets one, which is no difference in content.
    """
    kept = {name.lower(): text for name, text in response.headers.items()}
    if "request-id" in kept:
        kept.pop("x-request-id", None)
    return {name: normal(text) for name, text in kept.items() if name not in _OWN_FIELDS}


async def collect(stream: AsyncIterable[Any]) -> list[Any]:
    """Everything that comes."""
    return [event async for event in stream]


class Pair(Generic[C]):
    """The same client twice: `direct` asks the upstream, `node` asks the node."""

    def __init__(self, upstream: SimulatedServer, direct: C, node: C) -> None:
        self.upstream = upstream
        self.direct = direct
        self.node = node

    async def same(self, scenario: Callable[[C], Awaitable[Any]]) -> Any:
        """What `scenario` returns with both clients, which must not differ.

        Nor may what the upstream was asked: methods, paths, bodies byte for byte, outcomes.
        """
        results = []
        for client in (self.direct, self.node):
            before = self.asked
            result = normal(await scenario(client))
            await until(lambda: self.upstream.statistics().active == 0, "the upstream is idle")
            visits = self.upstream.statistics().last[before - self.asked :]
            seen = [(one.method, one.path, one.sha256, one.status, one.outcome) for one in visits]
            results.append((result, seen))
        direct, through = results
        assert through == direct
        return direct[0]

    @property
    def asked(self) -> int:
        """How many requests the upstream has had."""
        return sum(self.upstream.statistics().requests.values())
