"""Check of the response cache that the nodes of a region share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fairlead.cli.checks import Check, failed, passed, warned
from fairlead.errors import DependencyMissingError, FairleadError
from fairlead.gateway.base import ResponseStore
from fairlead.settings import Settings

DEADLINE = 10.0
Warn = Callable[..., None]
OpenStore = Callable[[Settings, Warn], ResponseStore]


async def shared_cache(settings: Settings, open_store: OpenStore) -> list[Check]:
    """Whether Redis or Valkey answers, where one is configured; else nothing to say."""
    if settings.cache.backend != "redis" or not settings.cache.persists:
        return []
    name, url = "shared cache", str(settings.cache.url)
    told: list[str] = []
    try:
        store = open_store(settings, lambda text, *args: told.append(text % args if args else text))
        async with asyncio.timeout(DEADLINE):
            await store.open()
            try:
                available = store.statistics().available
            finally:
                await store.close()
    except DependencyMissingError as error:
        return [failed(name, str(error), "install it, or leave cache.url at sqlite")]
    except (FairleadError, TimeoutError) as error:
        told.append(str(error) or "it does not answer in time")
        available = False
    if available:
        return [passed(name, f"{url} answers")]
    reason = told[-1] if told else "it does not answer"
    # A cache only: requests are served without it, so this is no failure of the node.
    return [warned(name, f"{url}: {reason}", "start it, or correct cache.url or its password")]
