"""Settings as the product uses them: complete, checked, frozen and picklable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec
from pydantic import Field, SecretStr

from fairlead.gateway.legs.base import LegOptions
from fairlead.settings.addresses import is_loopback, is_self_hosted
from fairlead.settings.problems import SettingError
from fairlead.settings.redaction import shown
from fairlead.settings.sections import (
    BalancerSettings,
    CacheSettings,
    CaptureSettings,
    NetworkSettings,
    QueueSettings,
    RetentionSettings,
    ServerSettings,
    SimulatedSettings,
    StorageSettings,
    UpstreamSection,
    WorkspaceSettings,
)
from fairlead.traffic.admission import QueueOptions
from fairlead.traffic.base import BalancerOptions, Server

_REPORT_PROBES = 1.5
"""A load report is believed until half an interval after the next one was due."""
_MAX_EJECTIONS = 10
"""Ejections in a row lengthen the next one, up to so many times `ejection_time`."""


class UpstreamSettings(UpstreamSection):
    """One server of an upstream, its keys read and the defaults of other sections filled in."""

    group: str
    """Name of the `[[upstreams]]` table; `name` is the server's own."""
    base_url: str | None
    limit: int
    max_queued: int
    queue_timeout: float
    adaptive: bool
    min_limit: int
    max_limit: int
    metrics_url: str | None
    """A whole URL."""
    keys: tuple[SecretStr, ...] = Field(default=(), repr=False)

    @property
    def is_own(self) -> bool:
        """Whether the node runs this upstream itself (simulated, without a base URL)."""
        return self.base_url is None

    @property
    def base_path(self) -> str:
        """Path of the base URL, without a trailing slash."""
        return urlsplit(self.base_url or "").path.rstrip("/")

    @property
    def health_url(self) -> str | None:
        """Whole URL of `health_path`, which starts at the server's root."""
        return self.health_path and urljoin(self.base_url or "", self.health_path)

    def reveal_keys(self) -> tuple[str, ...]:
        """The API keys themselves: for the request headers and nothing else."""
        return tuple(key.get_secret_value() for key in self.keys)

    def leg_options(self, base_url: str | None = None) -> LegOptions:
        """How its leg is made; `base_url` is where an own upstream turned out to listen."""
        return LegOptions(
            name=self.name,
            base_url=base_url or self.base_url or "",
            max_connections=self.max_connections,
            max_waiting=self.max_waiting,
            connect_timeout=self.connect_timeout,
            first_byte_timeout=self.first_byte_timeout,
            idle_timeout=self.idle_timeout,
            proxy=(self.proxy.get_secret_value() or None) if self.proxy else None,
            ca_bundle=self.ca_bundle,
        )

    def metrics_leg_options(self) -> LegOptions | None:
        """How `metrics_url`, which may be on another host, is asked; None where there is none.

        Neither keys nor callers' credentials go there.
        """
        if self.metrics_url is None:
            return None
        options = self.leg_options(self.metrics_url)
        if is_loopback(urlsplit(self.metrics_url).hostname or ""):
            return msgspec.structs.replace(options, proxy=None)
        return options

    def admission_options(self, workers: int) -> QueueOptions:
        """The queue before it in each of `workers` processes, which share its limits evenly."""
        return QueueOptions(
            limit=_share(self.limit, workers),
            min_limit=_share(self.min_limit, workers),
            max_limit=_share(self.max_limit, workers),
            adaptive=self.adaptive,
            max_waiting=_share(self.max_queued, workers),
            timeout=self.queue_timeout,
        )

    def server_record(self, workers: int) -> Server:
        """What the balancer of each of `workers` processes knows of it."""
        return Server(
            name=self.name,
            capacity=_share(self.limit, workers),
            accounts=1 if self.credentials == "caller" else max(1, len(self.keys)),
            region=self.region,
            capabilities=frozenset(self.capabilities),
            state=self.state,
            rests_softly=is_self_hosted(urlsplit(self.base_url or "").hostname or ""),
            account_ids=self._account_ids(),
        )

    def _account_ids(self) -> tuple[str, ...]:
        """Digests, so that a key that is replaced is known as another account and not shown."""
        if self.credentials == "caller":
            return ()
        return tuple(blake2b(key.encode(), digest_size=8).hexdigest() for key in self.reveal_keys())


def _share(whole: int, workers: int) -> int:
    """The part of one worker, rounded up: every one of them must be able to work."""
    return -(-whole // workers)


@dataclass(frozen=True)
class Given:
    """A setting that is not at its default: where it came from, and its value fit to be shown."""

    key: str
    value: str
    origin: str


@dataclass(frozen=True)
class Settings:
    """Everything a node needs to know before it starts."""

    server: ServerSettings = field(default_factory=ServerSettings)
    storage: StorageSettings = field(default_factory=StorageSettings)
    capture: CaptureSettings = field(default_factory=CaptureSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    workspaces: WorkspaceSettings = field(default_factory=WorkspaceSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    queue: QueueSettings = field(default_factory=QueueSettings)
    balancer: BalancerSettings = field(default_factory=BalancerSettings)
    upstreams: tuple[UpstreamSettings, ...] = ()
    simulated: SimulatedSettings = field(default_factory=SimulatedSettings)
    file: Path | None = None
    """The `fairlead.toml` that was read, if one was."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """Full key -> the file, variable or flag that gave it."""

    @property
    def cache_file(self) -> Path:
        """The persistent response cache, where `cache.url` is "sqlite"."""
        return self.server.data_dir / "responses.sqlite"

    def balancer_options(self) -> BalancerOptions:
        """How the node chooses among the servers of a model."""
        given = self.balancer
        return BalancerOptions(
            region=self.server.region,
            session_ttl=given.session_ttl,
            max_sessions=given.max_sessions,
            load_factor=given.load_factor,
            max_retries=given.max_retries,
            retry_budget=given.retry_budget,
            ejection_time=given.ejection_time,
            max_ejection_time=_MAX_EJECTIONS * given.ejection_time,
            slow_start=given.slow_start,
            report_ttl=_REPORT_PROBES * given.probe_interval,
        )

    def describe(self) -> list[Given]:
        """What was given, by key; secrets are not shown."""
        rows = []
        for key, origin in sorted(self.origins.items()):
            if key != "upstreams":
                rows.append(Given(key, shown(self._value(key)), origin))
        names = shown([upstream.name for upstream in self.upstreams])
        return [*rows, Given("upstreams", names, self.origins.get("upstreams", "default"))]

    def check_exposure(self) -> None:
        """Raise `SettingError` where strangers could reach a node that asks for no token."""
        host = self.server.host
        if is_loopback(host) or self.server.insecure:
            return
        raise SettingError(
            "server.host",
            shown(host),
            "other machines could use this node and its keys without authentication, "
            "so it does not start. Listen on 127.0.0.1 (the default), "
            "or give --insecure if the network itself keeps strangers out",
            self.origins.get("server.host", ""),
        )

    def _value(self, key: str) -> Any:
        section, _, name = key.partition(".")
        return getattr(getattr(self, section), name)
