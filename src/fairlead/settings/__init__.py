"""Frozen settings; the only reader of the environment and of TOML.

`sections` says what may be written, `sources` where it is read, `rules` what must fit together,
`resolved` what the product gets, `reload` what of it may change while a node runs, `problems` how
mistakes are told.
"""

from __future__ import annotations

from fairlead.settings.addresses import is_loopback
from fairlead.settings.loading import load_settings
from fairlead.settings.problems import InvalidConfigurationError, SettingError
from fairlead.settings.redaction import SecretUrl
from fairlead.settings.reload import changed_beyond_reload
from fairlead.settings.resolved import Given, Settings, UpstreamSettings
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
    WorkspaceSettings,
)

__all__ = [
    "BalancerSettings",
    "CacheSettings",
    "CaptureSettings",
    "Given",
    "InvalidConfigurationError",
    "NetworkSettings",
    "QueueSettings",
    "RetentionSettings",
    "SecretUrl",
    "ServerSettings",
    "SettingError",
    "Settings",
    "SimulatedSettings",
    "StorageSettings",
    "UpstreamSettings",
    "WorkspaceSettings",
    "changed_beyond_reload",
    "is_loopback",
    "load_settings",
]
