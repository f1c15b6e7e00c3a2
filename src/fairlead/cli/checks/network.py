"""Checks that go over the network: the port, each upstream with each of its keys, the clock."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase

import msgspec

from fairlead.cli.checks import Check, failed, passed, warned
from fairlead.core.clock import Clock
from fairlead.core.encoding import CodingError, DecodedTooLargeError, decode
from fairlead.errors import (
    FairleadError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from fairlead.gateway.base import Upstream
from fairlead.gateway.caching import content_coding
from fairlead.gateway.headers import forwarded
from fairlead.gateway.legs.base import Headers, Leg, LegOptions, LegReply, LegRequest
from fairlead.settings import Settings, UpstreamSettings

MakeLeg = Callable[[LegOptions], Leg]

DEADLINE = 15.0
"""Seconds for one question to one server, connecting included."""
MAX_ANSWER = 4 * 1024 * 1024
MAX_SKEW = 5.0
"""Seconds by which this machine's clock may differ from the upstreams'."""


class _List(msgspec.Struct):
    data: list[dict[str, object]]


class _Health(msgspec.Struct):
    status: str
    version: str


@dataclass
class Examination:
    """Asks servers; `skews` gathers by how many seconds their clocks are ahead of ours."""

    make_leg: MakeLeg
    clock: Clock
    skews: list[float] = field(default_factory=list)

    async def upstream(self, upstream: UpstreamSettings) -> list[Check]:
        """One check for each key of the upstream, one where it has none."""
        name = f"upstream {upstream.name}"
        if upstream.is_own:
            return [passed(name, "simulated; the node runs it itself")]
        leg = self.make_leg(_patient(upstream))
        await leg.open()
        try:
            keys = upstream.reveal_keys() or (None,)
            return [
                await self._key(upstream, leg, key, _label(name, number, len(keys)))
                for number, key in enumerate(keys, 1)
            ]
        finally:
            await leg.close()

    async def _key(self, upstream: UpstreamSettings, leg: Leg, key: str | None, name: str) -> Check:
        target = upstream.base_path + ("/models" if upstream.shape == "openai" else "/v1/models")
        asked: Headers = [(b"accept", b"application/json"), (b"accept-encoding", b"identity")]
        if upstream.shape == "anthropic":
            asked.append((b"anthropic-version", b"2023-06-01"))
        request = LegRequest(
            b"GET", target.encode(), forwarded(asked, _described(upstream, leg), key), b""
        )
        try:
            reply, body = await _ask(leg, request)
        except (FairleadError, TimeoutError) as error:
            return _unreached(upstream, name, error)
        self._note_date(reply.headers)
        if reply.status == 200:
            return _listing(upstream, name, body)
        return _refusal(upstream, name, reply.status, has_key=key is not None)

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
        leg = self.make_leg(LegOptions(name="port", base_url=f"http://{address}:{port}"))
        await leg.open()
        try:
            _, body = await _ask(leg, LegRequest(b"GET", b"/healthz", [], b""))
            return msgspec.json.decode(body, type=_Health).version
        except (FairleadError, TimeoutError, msgspec.MsgspecError, UnicodeDecodeError):
            return None  # something else, or nothing that speaks HTTP
        finally:
            await leg.close()


async def _bind(host: str, port: int) -> None:
    """Take the port for a moment; raises `OSError` where that is not possible."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(DEADLINE):
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


async def _ask(leg: Leg, request: LegRequest) -> tuple[LegReply, bytes]:
    """The answer and its decoded body, of which what is beyond `MAX_ANSWER` is left."""
    async with asyncio.timeout(DEADLINE):
        reply = await leg.send(request)
        try:
            body = bytearray()
            while len(body) < MAX_ANSWER and (piece := await reply.read()):
                body += piece
        finally:
            reply.close()
    try:
        return reply, decode(bytes(body), content_coding(reply.headers), MAX_ANSWER)
    except (CodingError, DecodedTooLargeError):
        return reply, b""  # judged by its status alone


def _patient(upstream: UpstreamSettings) -> LegOptions:
    """The upstream's own options, with time limits that suit a person who waits."""
    options = upstream.leg_options()
    connect = min(options.connect_timeout, DEADLINE)
    return msgspec.structs.replace(options, connect_timeout=connect, first_byte_timeout=DEADLINE)


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


def _label(name: str, number: int, count: int) -> str:
    return f"{name}, key {number}" if count > 1 else name


def _listing(upstream: UpstreamSettings, name: str, body: bytes) -> Check:
    try:
        models = [str(model.get("id")) for model in msgspec.json.decode(body, type=_List).data]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return failed(
            name,
            f"{upstream.base_url} answers, but not with a list of models",
            "check base_url: it is probably not that of a model API",
        )
    served = [m for m in models if any(fnmatchcase(m, pattern) for pattern in upstream.models)]
    if models and not served:
        patterns = ", ".join(upstream.models)
        return warned(
            name,
            f"none of its {len(models)} models matches {patterns}",
            f"correct models; it has {', '.join(models[:5])}{' …' if len(models) > 5 else ''}",
        )
    count = "1 model" if len(served) == 1 else f"{len(served)} models"
    return passed(name, f"{upstream.base_url} answers, {count}")


def _refusal(upstream: UpstreamSettings, name: str, status: int, *, has_key: bool) -> Check:
    where = f"{upstream.base_url} answers {status}"
    if status in {401, 403} and upstream.credentials == "caller":
        return passed(name, f"{where} without the caller's key, as it should")
    if status in {401, 403} and has_key:
        return failed(name, f"{where}: the key is refused", f"renew it: {_key_places(upstream)}")
    if status in {401, 403}:
        return failed(name, f"{where}: it wants a key", "name one with key_env or key_file")
    if status in {404, 405}:
        hint = "/v1 usually belongs at its end" if upstream.shape == "openai" else "it has no /v1"
        return warned(name, f"{where}: no list of models there", f"check base_url: {hint}")
    if status in {429, 503, 529}:
        return warned(name, f"{where}: it is busy or the account is at its limit", "try later")
    return failed(name, where, "look into the upstream's own log or status page")


def _key_places(upstream: UpstreamSettings) -> str:
    return ", ".join([*upstream.key_env, *map(str, upstream.key_file)])


def _unreached(upstream: UpstreamSettings, name: str, error: Exception) -> Check:
    if isinstance(error, (TimeoutError, UpstreamTimeoutError)):
        detail = f"{upstream.base_url} does not answer in time"
        return failed(name, detail, "check that it runs, and that no firewall drops the packets")
    if not isinstance(error, UpstreamUnreachableError):
        detail = f"{upstream.base_url} does not speak HTTP/1.1 there: {error}"
        return failed(name, detail, "check the scheme and the port of base_url")
    return failed(name, f"{upstream.base_url}: {_reason(error)}", _advice(error))


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _reason(error: UpstreamUnreachableError) -> str:
    return str(error).partition(": ")[2] or str(error)


def _advice(error: UpstreamUnreachableError) -> str:
    causes = _causes(error)
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return "the name does not resolve: check the host of base_url and the machine's DNS"
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return "its certificate is not trusted here: name your CA's file with ca_bundle"
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return "it does not speak TLS there: check the scheme and the port of base_url"
    return "check that it runs and that this machine may reach it, or set proxy"
