"""Where an upstream is: its base URL taken apart, and the TLS settings to reach it with."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

import msgspec

from fairlead.errors import ConfigurationError
from fairlead.gateway.legs.base import LegOptions

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Origin(msgspec.Struct, frozen=True):
    """Scheme, host and port of an upstream (RFC 6454)."""

    scheme: str
    host: str
    """Name (ASCII) or literal address, IPv6 without brackets."""
    port: int

    @property
    def authority(self) -> str:
        """Host and, where it is not the scheme's own, port, as the field `host` takes them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def secure(self) -> bool:
        """Whether it is reached by TLS."""
        return self.scheme == "https"


def parse_origin(options: LegOptions) -> Origin:
    """The origin of `options.base_url`; raises `ConfigurationError` where it has none."""
    key = f"upstreams.{options.name}.base_url"
    try:
        parts = urlsplit(options.base_url)
        port = parts.port
        host = parts.hostname or ""
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
    except ValueError as error:
        raise ConfigurationError(key, options.base_url, f"not a URL: {error}") from error
    if parts.scheme not in _DEFAULT_PORTS or not host:
        raise ConfigurationError(key, options.base_url, "give http://HOST… or https://HOST…")
    return Origin(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme])


def make_tls_context(options: LegOptions) -> ssl.SSLContext:
    """A verifying client context: `ca_bundle` where it is set, else the system's authorities.

    Raises `ConfigurationError` where the bundle cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=options.ca_bundle)
    except OSError as error:  # ssl.SSLError (a file without certificates) is one too
        raise ConfigurationError(
            f"upstreams.{options.name}.ca_bundle",
            str(options.ca_bundle),
            f"give a readable file of PEM certificates ({error})",
        ) from error
    context.set_alpn_protocols(["http/1.1"])
    return context
