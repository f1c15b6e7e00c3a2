"""Settings as the product uses them: complete, checked, frozen and picklable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from fairlead.gateway.legs.base import LegOptions
from fairlead.settings.problems import SettingError
from fairlead.settings.redaction import shown
from fairlead.settings.rules import is_loopback
from fairlead.settings.sections import (
    CacheSettings,
    NetworkSettings,
    ServerSettings,
    SimulatedSettings,
    StorageSettings,
    UpstreamSection,
)


class UpstreamSettings(UpstreamSection):
    """An upstream with its keys read and the defaults of `[network]` filled in."""

    keys: tuple[SecretStr, ...] = Field(default=(), repr=False)

    @property
    def is_own(self) -> bool:
        """Whether the node runs this upstream itself (simulated, without a base URL)."""
        return self.base_url is None

    @property
    def base_path(self) -> str:
        """Path of the base URL, without a trailing slash."""
        return urlsplit(self.base_url or "").path.rstrip("/")

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
    cache: CacheSettings = field(default_factory=CacheSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
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
