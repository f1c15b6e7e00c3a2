"""Frozen settings; the only reader of the environment and of TOML.

`sections` says what may be written, `sources` where it is read, `rules` what must fit together,
`resolved` what the product gets, `problems` how mistakes are told.
"""

from __future__ import annotations

from fairlead.settings.loading import load_settings
from fairlead.settings.problems import InvalidConfigurationError, SettingError
from fairlead.settings.redaction import SecretUrl
from fairlead.settings.resolved import Given, Settings, UpstreamSettings
from fairlead.settings.rules import is_loopback
from fairlead.settings.sections import (
    CacheSettings,
    NetworkSettings,
    ServerSettings,
    SimulatedSettings,
    StorageSettings,
)

__all__ = [
    "CacheSettings",
    "Given",
    "InvalidConfigurationError",
    "NetworkSettings",
    "SecretUrl",
    "ServerSettings",
    "SettingError",
    "Settings",
    "SimulatedSettings",
    "StorageSettings",
    "UpstreamSettings",
    "is_loopback",
    "load_settings",
]
