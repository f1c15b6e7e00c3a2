"""What a host's name or address says about where it is."""

from __future__ import annotations

import ipaddress

_PRIVATE_ZONES = (".local", ".localhost", ".internal", ".lan", ".svc")
"""Endings that no public name has: mDNS (RFC 6762), RFC 6761, clouds, homes, Kubernetes."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`: 127.0.0.0/8, ::1, or `localhost`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost"


def is_self_hosted(host: str) -> bool:
    """Whether `host` is probably a server of one's own, as opposed to a provider's.

    So are addresses that are not public (RFC 6890: loopback, private, link-local, shared), names
    without a dot, and names in zones that only a private network or a cluster has.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.rstrip(".").lower()
        return "." not in name or name.endswith(_PRIVATE_ZONES) or ".svc." in name
    mapped = getattr(address, "ipv4_mapped", None)
    return not (mapped or address).is_global
