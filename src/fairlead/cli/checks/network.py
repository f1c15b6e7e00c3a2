"""Checks that go over the network: the port, each server with each of its keys, the clock."""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import msgspec

from fairlead.cli.checks import Check, failed, passed, verdicts, warned
from fairlead.cli.checks.asking import DEADLINE, MakeLeg, ask, opened
from fairlead.core.clock import Clock
from fairlead.errors import FairleadError
from fairlead.gateway.base import Upstream
from fairlead.gateway.headers import forwarded
from fairlead.gateway.legs.base import Headers, Leg, LegOptions, LegReply, LegRequest
from fairlead.settings import Settings, UpstreamSettings

AT_A_TIME = 8
"""Questions under way: so that many dead servers do not take the sum of their deadlines."""
MAX_SKEW = 5.0
"""Seconds by which this machine's clock may differ from the upstreams'."""


class _Health(msgspec.Struct):
    status: str
    version: str


@dataclass
class Examination:
    """Asks servers.

    `skews` gathers by how many seconds their clocks are ahead of ours, `listed` the models that
    each lists and its patterns let through.
    """

    make_leg: MakeLeg
    clock: Clock
    skews: list[float] = field(default_factory=list)
    listed: dict[str, set[str]] = field(default_factory=dict)
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_A_TIME))

    async def upstream(self, upstream: UpstreamSettings) -> list[Check]:
        """One check for each key of a server (one where it has none), its health and metrics.

        A server that cannot be reached with the first key is asked nothing more.
        """
        name = f"upstream {upstream.name}"
        if upstream.is_own:
            return [passed(name, "simulated; the node runs it itself")]
        first, *others = upstream.reveal_keys() or (None,)
        async with opened(self.make_leg, upstream.leg_options()) as leg:
            try:
                check = await self._key(upstream, leg, first, f"{name}, key 1" if others else name)
            except (FairleadError, TimeoutError) as error:
                return [verdicts.unreached(str(upstream.base_url), "base_url", name, error)]
            further = [
                self._later_key(upstream, leg, key, f"{name}, key {number}")
                for number, key in enumerate(others, 2)
            ]
            if upstream.health_url is not None:
                further.append(self._health(upstream.health_url, leg, f"{name}, health"))
            if (options := upstream.metrics_leg_options()) is not None:
                further.append(self._metrics(options, f"{name}, metrics"))
            return [check, *await asyncio.gather(*further)]

    async def _later_key(
        self, upstream: UpstreamSettings, leg: Leg, key: str | None, name: str
    ) -> Check:
        try:
            return await self._key(upstream, leg, key, name)
        except (FairleadError, TimeoutError) as error:
            return verdicts.unreached(str(upstream.base_url), "base_url", name, error)

    async def _key(self, upstream: UpstreamSettings, leg: Leg, key: str | None, name: str) -> Check:
        target = upstream.base_path + ("/models" if upstream.shape == "openai" else "/v1/models")
        asked: Headers = [(b"accept", b"application/json"), (b"accept-encoding", b"identity")]
        if upstream.shape == "anthropic":
            asked.append((b"anthropic-version", b"2023-06-01"))
        reply, body = await self._get(leg, target, forwarded(asked, _described(upstream, leg), key))
        self._note_date(reply.headers)
        if reply.status != 200:
            return verdicts.refusal(upstream, name, reply.status, has_key=key is not None)
        models = verdicts.models_in(body)
        if models is not None:
            listed = self.listed.setdefault(upstream.name, set())
            listed.update(verdicts.served(upstream, models))
        return verdicts.listing(upstream, name, models)

    async def _health(self, url: str, leg: Leg, name: str) -> Check:
        try:
            reply, _ = await self._get(leg, urlsplit(url).path, [(b"accept", b"*/*")])
        except (FairleadError, TimeoutError) as error:
            return verdicts.unreached(url, "health_path", name, error)
        return verdicts.health(url, name, reply.status)

    async def _metrics(self, options: LegOptions, name: str) -> Check:
        url = options.base_url
        asked: Headers = [(b"accept", b"text/plain"), (b"accept-encoding", b"identity")]
        try:
            async with opened(self.make_leg, options) as leg:
                reply, body = await self._get(leg, urlsplit(url).path or "/", asked)
        except (FairleadError, TimeoutError) as error:
            return verdicts.unreached(url, "metrics_url", name, error)
        return verdicts.metrics(url, name, reply.status, body)

    async def _get(self, leg: Leg, target: str, headers: Headers) -> tuple[LegReply, bytes]:
        async with self._places:
            return await ask(leg, LegRequest(b"GET", target.encode(), headers, b""))

    def _note_date(self, headers: Headers) -> None:
        for header, value in headers:
            if header == b"date":
                try:
                    theirs = parsedate_to_datetime(value.decode("latin-1")).timestamp()
                except ValueError:
                    return  # a date that cannot be read tells nothing about our clock
                self.skews.append(theirs - self.clock.time())
                return

    def clocks(self) -> Check:
        """Whether this machine's clock agrees with the upstreams'."""
        name = "clock"
        if not self.skews:
            return passed(name, "not compared: no upstream told the time")
        skew = sorted(self.skews)[len(self.skews) // 2]
        if abs(skew) <= MAX_SKEW:
            return passed(name, "agrees with the upstreams")
        way = "behind" if skew > 0 else "ahead of"
        return warned(
            name,
            f"{abs(skew):.0f} s {way} the upstreams",
            "synchronise it (for example `timedatectl set-ntp true`): ages and tokens depend on it",
        )

    async def port(self, settings: Settings) -> Check:
        """Whether the port is free, or a Fairlead node answers there already."""
        host, port = settings.server.host, settings.server.port
        name, where = "port", f"{host} port {port}"
        if port == 0:
            return passed(name, "0: a free one is taken at each start")
        try:
            await _bind(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                fix = "choose another with server.host and server.port, or --host and --port"
                reason = error.strerror or str(error)
                return failed(name, f"{where} cannot be listened on: {reason}", fix)
            if (version := await self._running(host, port)) is not None:
                return passed(name, f"{where}: a Fairlead node {version} answers there")
            fix = "choose another with server.port or --port, or end that program"
            return failed(name, f"{where} is in use by another program", fix)
        return passed(name, f"{where} is free")

    async def _running(self, host: str, port: int) -> str | None:
        """The version of the Fairlead node that answers there, if one does."""
        local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
        address = f"[{local}]" if ":" in local else local
        options = LegOptions(name="port", base_url=f"http://{address}:{port}")
        try:
            async with opened(self.make_leg, options) as leg:
                _, body = await self._get(leg, "/healthz", [])
            return msgspec.json.decode(body, type=_Health).version
        except (FairleadError, TimeoutError, msgspec.MsgspecError, UnicodeDecodeError):
            return None  # something else, or nothing that speaks HTTP


async def _bind(host: str, port: int) -> None:
    """Take the port for a moment; raises `OSError` where that is not possible."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(DEADLINE):
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def _described(upstream: UpstreamSettings, leg: Leg) -> Upstream:
    return Upstream(
        name=upstream.name,
        shape=upstream.shape,
        base_path=upstream.base_path,
        models=upstream.models,
        keys=(),
        credentials=upstream.credentials,
        leg=leg,
    )
