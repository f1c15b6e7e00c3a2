"""What only shows when the upstreams are looked at together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from fnmatch import fnmatchcase

from fairlead.cli.checks import Check, failed, warned
from fairlead.settings import UpstreamSettings

Listed = Mapping[str, AbstractSet[str]]
"""Name of a server -> the models that it lists."""

_SHOWN = 5


def together(upstreams: Sequence[UpstreamSettings], listed: Listed) -> list[Check]:
    """All of these checks; nothing is said where nothing is wrong."""
    groups: dict[str, list[UpstreamSettings]] = {}
    for upstream in upstreams:
        groups.setdefault(upstream.group, []).append(upstream)
    # The servers of a group differ in their addresses alone.
    tables = {name: servers[0] for name, servers in groups.items()}
    checks = list(_draining(tables))
    for name, servers in groups.items():
        checks += _equal_keys(name, servers[0])
        checks += _different_models(name, servers, listed)
    return checks


def _draining(tables: Mapping[str, UpstreamSettings]) -> Iterator[Check]:
    active = [one for one in tables.values() if one.state == "active"]
    unserved: dict[str, None] = {}
    for name, upstream in tables.items():
        if upstream.state == "active":
            continue
        missing = _missing(upstream, active)
        unserved |= dict.fromkeys(missing)
        if not missing:
            others = [one.group for one in active if _overlap(upstream, one)]
            yield warned(
                f"upstream {name}",
                f"draining: it takes nothing new, its models go to {_some(others)}",
                'set its state to "active" when it may serve again',
            )
    for what in unserved:
        yield failed(
            "models",
            f"no active upstream serves {what}: all that do are draining",
            'set state to "active" in one of them',
        )


def _missing(upstream: UpstreamSettings, active: Sequence[UpstreamSettings]) -> list[str]:
    """What of a draining upstream nobody else serves: patterns, each with its API."""
    return [
        f"{pattern} ({family} API)"
        for family in _families(upstream)
        for pattern in upstream.models
        if not any(family in _families(one) and _covers(one, pattern) for one in active)
    ]


def _families(upstream: UpstreamSettings) -> tuple[str, ...]:
    return ("openai", "anthropic") if upstream.shape == "simulated" else (upstream.shape,)


def _covers(upstream: UpstreamSettings, pattern: str) -> bool:
    """Whether one pattern of the upstream matches all that `pattern` matches.

    A pattern that matches another's text, wildcards and all, matches whatever that one does.
    """
    return any(fnmatchcase(pattern, own) for own in upstream.models)


def _overlap(upstream: UpstreamSettings, other: UpstreamSettings) -> bool:
    shared = set(_families(upstream)) & set(_families(other))
    return bool(shared) and any(_covers(other, pattern) for pattern in upstream.models)


def _equal_keys(name: str, upstream: UpstreamSettings) -> Iterator[Check]:
    first: dict[str, int] = {}
    for number, key in enumerate(upstream.reveal_keys(), 1):
        if (same := first.setdefault(key, number)) != number:
            yield warned(
                f"upstream {name}, key {number}",
                f"is the same as key {same}, so there is one account less than it seems",
                "name each account's key once in key_env and key_file",
            )


def _different_models(
    name: str, servers: Sequence[UpstreamSettings], listed: Listed
) -> Iterator[Check]:
    known = {one.name: listed[one.name] for one in servers if one.name in listed}
    all_models = frozenset[str]().union(*known.values())
    lacking = [
        f"{server} lacks {_some(sorted(all_models - models))}"
        for server, models in known.items()
        if models != all_models
    ]
    if lacking:
        yield warned(
            f"upstream {name}",
            f"its servers list different models: {'; '.join(lacking)}",
            "serve the same models on each, or give each its own [[upstreams]] with its own models",
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
