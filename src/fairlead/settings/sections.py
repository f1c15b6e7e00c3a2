"""The sections of `fairlead.toml`: every key, its kind and its default.

Frozen and picklable. An unknown key is refused. `docs/guides/configuration.md` explains each key;
a test holds the two together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from fairlead.settings.redaction import SecretUrl
from fairlead.settings.values import (
    Allowed,
    BaseUrls,
    CacheUrl,
    FileName,
    FileNames,
    GiB,
    Host,
    Label,
    Masks,
    MetricsUrl,
    MiB,
    Name,
    Names,
    Patterns,
    Policies,
    Policy,
    Port,
    ProxyUrl,
    Seconds,
    Size,
    StorageUrl,
    Strings,
    UrlPath,
    Words,
)
from fairlead.traffic.base import State

Limit = Annotated[int, Field(ge=1, le=100_000)]
Waiting = Annotated[int, Field(ge=0, le=1_000_000)]
QueueTime = Annotated[float, Field(ge=0.001, le=86_400)]
"""Seconds; below a millisecond nothing could ever wait."""


class Section(BaseModel):
    """What all sections share."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )


class ServerSettings(Section):
    """`[server]`: the address, the process and its defences."""

    host: Host = "127.0.0.1"
    port: Port = 8100
    data_dir: FileName = Path("~/.local/share/fairlead")
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    log_format: Literal["text", "json"] = "text"
    access_log: bool = True
    insecure: bool = False
    shutdown_timeout: Seconds = 30.0
    header_timeout: Seconds = 10.0
    body_timeout: Seconds = 60.0
    keep_alive_timeout: Seconds = 75.0
    write_timeout: Seconds = 60.0
    max_body_bytes: Size = 32 * MiB
    max_buffered_bytes: Size = 512 * MiB
    region: Label | None = None


class StorageSettings(Section):
    """`[storage]`: where conversations are kept."""

    url: StorageUrl = SecretUrl("sqlite")
    url_file: FileName | None = None


class CaptureSettings(Section):
    """`[capture]`: what is kept of the exchanges that pass through."""

    mode: Literal["full", "metadata", "off"] = "full"
    mask: Masks = ()


class RetentionSettings(Section):
    """`[retention]`: how long conversations are kept, and how much of them."""

    max_age: Annotated[float, Field(gt=0, le=36_500)] | None = None
    max_bytes_per_tenant: Size | None = None
    deleted_age: Annotated[float, Field(ge=0, le=87_600)] = 24.0


class WorkspaceSettings(Section):
    """`[workspaces]`: which directories may be registered, and what is kept of them in memory."""

    roots: FileNames = ()
    writable: bool = True
    mcp_writable: bool = False
    watch: bool = True
    max_open: Annotated[int, Field(ge=1, le=10_000)] = 32
    cache_bytes: Size = 128 * MiB
    max_file_bytes: Size = 16 * MiB


class CacheSettings(Section):
    """`[cache]`: what is cached, for whom, where and how much."""

    policy: Policy = "deterministic"
    policies: Policies = Field(default_factory=dict)
    scope: Literal["user", "team", "global"] = "team"
    persist: Literal["high-value", "all", "off"] = "high-value"
    url: CacheUrl = SecretUrl("sqlite")
    url_file: FileName | None = None
    ttl: Annotated[float, Field(gt=0, le=2_592_000)] = 3600.0
    max_entries: Annotated[int, Field(ge=1, le=10_000_000)] = 1000
    max_bytes: Size = 256 * MiB
    persist_max_bytes: Size = GiB
    max_entry_bytes: Size = 16 * MiB
    max_inflight_bytes: Size = 256 * MiB

    @property
    def backend(self) -> Literal["sqlite", "redis"]:
        """Which persistent tier `url` asks for."""
        return "sqlite" if self.url.get_secret_value() == "sqlite" else "redis"

    @property
    def persists(self) -> bool:
        """Whether any answer can reach the persistent tier."""
        return self.caches and self.persist != "off"

    @property
    def caches(self) -> bool:
        """Whether any answer can be cached at all."""
        return any(policy != "off" for policy in (self.policy, *self.policies.values()))


class NetworkSettings(Section):
    """`[network]`: how upstreams are reached, where an upstream does not say otherwise."""

    proxy: ProxyUrl | None = None
    ca_bundle: FileName | None = None


class QueueSettings(Section):
    """`[queue]`: the queue before each upstream, where an upstream does not say otherwise."""

    limit: Limit = 100
    max_waiting: Waiting = 1000
    timeout: QueueTime = 30.0
    priority_header: Literal["any", "lower", "off"] = "any"


class BalancerSettings(Section):
    """`[balancer]`: which of several servers a request goes to."""

    session_ttl: Seconds = 3600.0
    max_sessions: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    load_factor: Annotated[float, Field(ge=1, le=10)] = 1.25
    max_retries: Annotated[int, Field(ge=0, le=5)] = 2
    retry_budget: Annotated[float, Field(ge=0, le=1)] = 0.1
    ejection_time: Seconds = 30.0
    slow_start: Seconds = 30.0
    probe_interval: Seconds = 10.0


class UpstreamSection(Section):
    """One `[[upstreams]]`: a model server or a provider deployment, as it is written down."""

    name: Name
    shape: Literal["openai", "anthropic", "simulated"]
    base_url: BaseUrls | None = None
    models: Patterns = ("*",)
    key_env: Strings = ()
    key_file: FileNames = ()
    credentials: Literal["upstream", "caller"] = "upstream"
    max_connections: Limit = 200
    max_waiting: Waiting = 1000
    connect_timeout: Seconds = 10.0
    first_byte_timeout: Seconds = 600.0
    idle_timeout: Seconds = 300.0
    proxy: ProxyUrl | None = None
    ca_bundle: FileName | None = None
    region: Label | None = None
    capabilities: Words = ()
    limit: Limit | None = None
    max_queued: Waiting | None = None
    queue_timeout: QueueTime | None = None
    adaptive: bool | None = None
    min_limit: Limit | None = None
    max_limit: Limit | None = None
    state: State = "active"
    health_path: UrlPath | None = None
    metrics_url: MetricsUrl | None = None

    @property
    def urls(self) -> tuple[str, ...]:
        """The base URL of each server; empty where the node runs this upstream itself."""
        given = self.base_url
        return (given,) if isinstance(given, str) else given or ()

    @property
    def server_names(self) -> tuple[str, ...]:
        """`name` where there is one server, else `name.1`, `name.2` and so on."""
        count = len(self.urls)
        if count < 2:
            return (self.name,)
        return tuple(f"{self.name}.{number}" for number in range(1, count + 1))


class SimulatedSettings(Section):
    """`[simulated]`: how the simulated upstream behaves. Times in seconds."""

    seed: int = 0
    ttft: Annotated[float, Field(ge=0, le=3600)] = 0.02
    prefill: Annotated[float, Field(ge=0, le=3600)] = 0.05
    tokens_per_second: Annotated[float, Field(ge=0, le=1_000_000)] = 80.0
    answer_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 120
    error_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    error_status: Literal[500, 503, 529, 429] = 500
    retry_after: Annotated[int, Field(ge=0, le=86_400)] = 1
    max_concurrency: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    prefix_cache_blocks: Annotated[int, Field(ge=0, le=10_000_000)] = 10_000
    script: FileName | None = None
    models: Names = ("simulated",)


def _tables(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class Document(Section):
    """A whole `fairlead.toml`."""

    server: ServerSettings = Field(default_factory=ServerSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    capture: CaptureSettings = Field(default_factory=CaptureSettings)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    workspaces: WorkspaceSettings = Field(default_factory=WorkspaceSettings)
    cache: CacheSettings = Field(default_factory=CacheSettings)
    network: NetworkSettings = Field(default_factory=NetworkSettings)
    queue: QueueSettings = Field(default_factory=QueueSettings)
    balancer: BalancerSettings = Field(default_factory=BalancerSettings)
    upstreams: Annotated[
        tuple[UpstreamSection, ...],
        BeforeValidator(_tables),
        Allowed("a list of tables, each under [[upstreams]] in double brackets"),
    ] = ()
    simulated: SimulatedSettings = Field(default_factory=SimulatedSettings)
