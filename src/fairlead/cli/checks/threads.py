"""Check of where conversations are kept."""

from __future__ import annotations

import asyncio

from fairlead.cli.checks import Check, failed, passed
from fairlead.conversations import THREADS_FILE, open_thread_store
from fairlead.errors import DependencyMissingError, FairleadError
from fairlead.settings import Settings

DEADLINE = 15.0
_NAME = "conversations"
_NOBODY = "00000000-0000-7000-8000-000000000000"


async def conversations(settings: Settings) -> Check:
    """Whether they can be read; like a start of the node this brings the schema forward."""
    url, folder = settings.storage.url, settings.server.data_dir
    if url.get_secret_value() == "sqlite" and not (folder / THREADS_FILE).exists():
        return passed(_NAME, f"{folder / THREADS_FILE} is made at the first start")
    fix = "start the database, or correct storage.url or its password"
    if url.get_secret_value() == "sqlite":
        fix = "see what the message says, or restore a backup (docs/guides/conversations.md)"
    try:
        store = open_thread_store(url.get_secret_value(), folder)
        async with asyncio.timeout(DEADLINE), store:
            # Opening does not wait for a database that is away; asking does.
            await store.head("", _NOBODY)
            size = store.statistics().bytes
    except DependencyMissingError as error:
        return failed(_NAME, str(error), "install it, or leave storage.url at sqlite")
    except (FairleadError, TimeoutError) as error:
        return failed(_NAME, str(error) or "it does not answer in time", fix)
    known = f", {size / (1 << 20):.1f} MiB" if size >= 0 else ""
    return passed(_NAME, f"{url} answers{known}")
