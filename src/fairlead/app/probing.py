"""Asks servers for their health and load over HTTP, on connections of its own."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from fairlead.core.clock import Clock
from fairlead.core.lifecycle import Resource
from fairlead.errors import UpstreamBrokenError
from fairlead.gateway.legs import make_leg
from fairlead.gateway.legs.base import Leg, LegOptions, LegReply, LegRequest
from fairlead.settings import UpstreamSettings
from fairlead.traffic.balancer import SessionAwareLoadBalancer
from fairlead.traffic.base import LoadReport
from fairlead.traffic.probes import Prober, Target
from fairlead.traffic.reports import read_report

MAX_PAGE = 4 * 1024 * 1024
"""Bytes of a metrics page."""
_TIMEOUT = 5.0


class _Question(msgspec.Struct, frozen=True):
    """What one server is asked, and over which connections."""

    target: bytes
    options: LegOptions
    leg: Leg


class Probing(Resource):
    """Keeps the balancer told of health and load where the settings name a place to ask.

    The connections are not those of the requests: a server whose places are all taken is busy,
    which must not look like sickness.
    """

    def __init__(self, balancer: SessionAwareLoadBalancer, interval: float, clock: Clock) -> None:
        self._clock = clock
        self._health: dict[str, _Question] = {}
        self._metrics: dict[str, _Question] = {}
        self._prober = Prober(
            self._is_healthy,
            self._report,
            on_probe=balancer.probed,
            on_report=balancer.reported,
            interval=interval,
            clock=clock,
        )

    async def _open(self) -> None:
        await self._prober.open()

    async def _close(self) -> None:
        await self._prober.close()
        for question in (*self._health.values(), *self._metrics.values()):
            await question.leg.close()

    async def update(self, upstreams: Sequence[UpstreamSettings]) -> None:
        """Ask these from now on."""
        health, metrics = {}, {}
        for one in upstreams:
            if one.health_url is not None:
                before = self._health.get(one.name)
                health[one.name] = await self._ask_at(one.health_url, one.leg_options(), before)
            if one.metrics_url is not None and (options := one.metrics_leg_options()):
                before = self._metrics.get(one.name)
                metrics[one.name] = await self._ask_at(one.metrics_url, options, before)
        old = [*self._health.values(), *self._metrics.values()]
        kept = {id(one.leg) for one in (*health.values(), *metrics.values())}
        # In one step: what asks meanwhile must find what it asks for.
        self._health, self._metrics = health, metrics
        names = {**health, **metrics}
        self._prober.update([Target(name, name in health, name in metrics) for name in names])
        for question in old:
            if id(question.leg) not in kept:
                await question.leg.close()

    def error(self, name: str) -> str:
        """Why the last question to a server failed; empty where it did not."""
        return self._prober.statistics().errors.get(name, "")

    async def _ask_at(self, url: str, options: LegOptions, before: _Question | None) -> _Question:
        patient = msgspec.structs.replace(
            options,
            max_connections=2,
            connect_timeout=_TIMEOUT,
            first_byte_timeout=_TIMEOUT,
            idle_timeout=_TIMEOUT,
        )
        target = (urlsplit(url).path or "/").encode()
        if before is not None and (before.target, before.options) == (target, patient):
            return before  # a TLS context costs 20 ms of everybody's time
        leg = make_leg(patient, self._clock)
        await leg.open()
        return _Question(target, patient, leg)

    async def _is_healthy(self, name: str) -> bool:
        reply = await self._ask(self._health[name])
        reply.close()
        return 200 <= reply.status < 300

    async def _report(self, name: str) -> LoadReport:
        reply = await self._ask(self._metrics[name])
        try:
            if reply.status != 200:
                raise UpstreamBrokenError(name, f"its metrics answered {reply.status}")
            return read_report(await _page(reply, name))
        finally:
            reply.close()

    async def _ask(self, question: _Question) -> LegReply:
        headers = [(b"accept", b"text/plain, */*;q=0.1"), (b"accept-encoding", b"identity")]
        return await question.leg.send(LegRequest(b"GET", question.target, headers, b""))


async def _page(reply: LegReply, name: str) -> bytes:
    page = bytearray()
    while piece := await reply.read():
        page += piece
        if len(page) > MAX_PAGE:
            raise UpstreamBrokenError(name, "its metrics are longer than 4 MiB")
    return bytes(page)
