"""One process of a node, or several: started, told to read their configuration again, stopped."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fairlead.app.node import Node
from fairlead.app.places import prepare_data_dir, run_directory
from fairlead.app.states import SharedStates
from fairlead.core.lifecycle import Resource
from fairlead.core.tasks import TaskOwner, attempt, log_failure
from fairlead.errors import FairleadError
from fairlead.monitor.workers import clear_run_directory
from fairlead.settings import Settings
from fairlead.web.server import (
    ServerOptions,
    Workers,
    address_of,
    bind,
    run_edge,
    run_loop,
    stop_with_parent,
)

_log = logging.getLogger("fairlead")

Reload = Callable[[], Settings]
"""Reads the configuration again; picklable, because every worker does it for itself."""


@dataclass(frozen=True)
class Plan:
    """What every process of a node is told."""

    settings: Settings
    options: ServerOptions
    reload: Reload


def serve(settings: Settings, announce: Callable[[list[str]], None], reload: Reload) -> int:
    """Run a node until it is told to stop; the exit status. `announce` is told the URLs.

    At SIGHUP the configuration is read again, and upstreams are replaced without dropping a
    request; a configuration that cannot be used is logged, and the old one stays.
    """
    # Until a process can reload, the signal must not end it; children begin with what is set here.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    options = ServerOptions(
        host=settings.server.host,
        port=settings.server.port,
        keep_alive_timeout=settings.server.keep_alive_timeout,
        shutdown_timeout=settings.server.shutdown_timeout,
    )
    sock = bind(options)
    urls = [address_of(sock)]
    directory = run_directory(prepare_data_dir(settings.server.data_dir))
    clear_run_directory(directory)
    SharedStates(directory).clear()
    plan = Plan(settings, options, reload)
    if settings.server.workers == 1:
        run_loop(lambda: _run(plan, None, sock, lambda: announce(urls)))
        return 0
    Workers(settings.server.workers, partial(_run_worker, plan), sock).run(
        lambda: announce(urls), options.shutdown_timeout
    )
    return 0


def _run_worker(plan: Plan, index: int, sock: socket.socket, ready: Any, reloaded: bool) -> None:
    if reloaded:
        plan = _as_its_siblings(plan)
    run_loop(lambda: _run(plan, index, sock, ready.set))


def _as_its_siblings(plan: Plan) -> Plan:
    """The plan of a worker that replaces one whose configuration was read again.

    Like its siblings it takes over the upstreams alone.
    """
    try:
        settings = replace(plan.settings, upstreams=plan.reload().upstreams)
        return replace(plan, settings=settings)
    except FairleadError as error:
        _log.error("this worker begins with the configuration of the start: %s", error)
        return plan


async def _run(
    plan: Plan, worker: int | None, sock: socket.socket, on_ready: Callable[[], None]
) -> None:
    node = Node(plan.settings, worker=worker)
    node.configure_logging()
    stop_with_parent()
    async with node, Reloading(node, plan.reload):
        await run_edge(node, sock, plan.options, on_ready)


class Reloading(Resource):
    """Reads the configuration again at each SIGHUP, one at a time."""

    def __init__(self, node: Node, reload: Reload) -> None:
        self._node = node
        self._reload = reload
        self._asked = asyncio.Event()
        self._tasks = TaskOwner(log_failure)

    async def _open(self) -> None:
        await self._tasks.open()
        self._tasks.spawn(self._run(), "reload")
        self._tasks.loop.add_signal_handler(signal.SIGHUP, self._asked.set)
        # A worker begins with it held back (see `Workers`): what came meanwhile is told now.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    async def _close(self) -> None:
        self._tasks.loop.remove_signal_handler(signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        await self._tasks.close()

    async def _run(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            _, error = await attempt(self._once())
            if error is None:
                _log.info("the configuration was reloaded")
            else:
                _log.error("not reloaded, the old configuration stays: %s", error)

    async def _once(self) -> None:
        await self._node.reload(await asyncio.to_thread(self._reload))
