"""Runs the edge on sockets: one process, or several behind one address."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import msgspec
import uvicorn
import uvloop

from fairlead.errors import ConfigurationError, FairleadError
from fairlead.web.protocol import NodeProtocol

_BACKLOG = 2048
_WORKER_START_DEADLINE = 60.0
_RESTART_PAUSE = 1.0
"""Seconds between restarts of a worker that dies at once, so that a broken one cannot spin."""


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where to listen and how long connections may last. Seconds."""

    host: str = "127.0.0.1"
    port: int = 8100
    keep_alive_timeout: float = 75.0
    shutdown_timeout: float = 30.0
    """Streams may finish within it when the node is told to stop."""


def bind(options: ServerOptions) -> socket.socket:
    """A listening socket; raises `ConfigurationError` naming host or port."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((options.host, options.port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise _not_bound(options, error) from error
    sock.setblocking(False)
    return sock


def _not_bound(options: ServerOptions, error: OSError) -> ConfigurationError:
    if isinstance(error, socket.gaierror):
        return ConfigurationError("server.host", options.host, "no such address on this machine")
    fix = f"cannot listen there ({error.strerror}): choose another port with --port"
    return ConfigurationError("server.port", options.port, fix)


def address_of(sock: socket.socket) -> str:
    """The URL at which `sock` listens."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """uvicorn's server, told apart: it announces itself, drains, and exits with status 0."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.loaded_app.draining = True
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the base's
        # The base would raise the signal again after a graceful end: a failure's exit status.
        self.force_exit = self.force_exit or (self.should_exit and sig == signal.SIGINT)
        self.should_exit = True


async def run_edge(
    edge: Any, sock: socket.socket, options: ServerOptions, on_ready: Callable[[], None]
) -> None:
    """Serve `edge` on `sock` until a signal says stop; streams finish within the deadline."""
    config = uvicorn.Config(
        edge,
        http=NodeProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        # uvicorn only hands them to timers, and zero (a rounded half second) would mean at once.
        timeout_keep_alive=options.keep_alive_timeout,  # type: ignore[arg-type]
        timeout_graceful_shutdown=options.shutdown_timeout,  # type: ignore[arg-type]
    )
    await _Server(config, on_ready).serve([sock])


def run_loop(main: Callable[[], Awaitable[None]]) -> None:
    """Run a coroutine on uvloop; an interrupt while it closes ends it there, without a word."""
    with (
        suppress(KeyboardInterrupt),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_as_coroutine(main))


def stop_with_parent() -> None:
    """In a worker: stop gracefully when the process that started it is gone, even by SIGKILL."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        loop = asyncio.get_running_loop()
        loop.add_reader(parent.sentinel, _stop_self, loop, parent.sentinel)


def _stop_self(loop: asyncio.AbstractEventLoop, sentinel: int) -> None:
    loop.remove_reader(sentinel)
    signal.raise_signal(signal.SIGTERM)


async def _as_coroutine(main: Callable[[], Awaitable[None]]) -> None:
    await main()


class Workers:
    """Processes that share one listening socket; one that dies is replaced.

    `target(index, sock, ready, reloaded)` runs in each process (started by spawn, so it and its
    arguments are pickled) and sets `ready` when it listens; `reloaded` tells one that replaces
    another that SIGHUP has come since the start.
    """

    def __init__(self, count: int, target: Callable[..., None], sock: socket.socket) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._count = count
        self._target = target
        self._sock = sock
        self._stopping = False
        self._reloaded = False
        self._processes: list[BaseProcess] = []

    def run(self, on_ready: Callable[[], None], shutdown_timeout: float) -> None:
        """Start all, announce, keep them alive, and stop them on SIGTERM or SIGINT.

        SIGHUP is passed on: each worker reads the configuration again.
        """
        signal.signal(signal.SIGHUP, self._pass_on)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        ready = [self._context.Event() for _ in range(self._count)]
        try:
            self._processes = [self._start(index, ready[index]) for index in range(self._count)]
            self._await_ready(ready)
            on_ready()
            while not self._stopping:
                self._replace_dead(ready)
                time.sleep(0.2)
        finally:
            self._end(shutdown_timeout + 5)

    def _start(self, index: int, ready: Any) -> BaseProcess:
        process = self._context.Process(
            target=self._target,
            args=(index, self._sock, ready, self._reloaded),
            name=f"fairlead-{index}",
        )
        # Held back in the child until it can reload: before that the signal would end it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        return process

    def _await_ready(self, ready: list[Any]) -> None:
        deadline = time.monotonic() + _WORKER_START_DEADLINE
        for process, event in zip(self._processes, ready, strict=True):
            while not event.wait(0.1) and not self._stopping:
                if not process.is_alive() or time.monotonic() > deadline:
                    raise FairleadError(f"worker {process.name} did not start: see its message")

    def _replace_dead(self, ready: list[Any]) -> None:
        for index, process in enumerate(self._processes):
            if not process.is_alive() and not self._stopping:
                time.sleep(_RESTART_PAUSE)
                self._processes[index] = self._start(index, ready[index])

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        if self._stopping and number == signal.SIGINT:
            # They are draining: told once more, they give that up.
            self._pass_on(number, None)
        self._stopping = True

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        self._reloaded = self._reloaded or number == signal.SIGHUP
        for process in self._processes:
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, number)

    def _end(self, timeout: float) -> None:
        # As long as one process has it open, the system takes connections that nobody serves.
        self._sock.close()
        for process in self._processes:
            process.terminate()
        deadline = time.monotonic() + timeout
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join(5)
