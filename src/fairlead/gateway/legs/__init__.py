"""The upstream leg: HTTP clients behind one narrow contract."""

from __future__ import annotations

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.gateway.legs.base import Leg, LegOptions


def make_leg(options: LegOptions, clock: Clock = SYSTEM_CLOCK) -> Leg:
    """The leg for `options`, not yet open: the lean one, or aiohttp's where a proxy is set."""
    # Imported late: a node without proxies never loads aiohttp.
    if options.proxy is not None:
        from fairlead.gateway.legs.aiohttp import AiohttpLeg  # noqa: PLC0415 - see above

        return AiohttpLeg(options, clock)
    from fairlead.gateway.legs.lean import LeanLeg  # noqa: PLC0415 - see above

    return LeanLeg(options, clock)
