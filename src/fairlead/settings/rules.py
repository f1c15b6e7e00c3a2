"""Rules between settings, which no single value can break.

Each rule is a generator of what is wrong, told with the other problems.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from fairlead.settings.addresses import is_loopback
from fairlead.settings.limits import check_limits
from fairlead.settings.problems import SettingError, origin_of
from fairlead.settings.redaction import SecretUrl, carries_password, shown
from fairlead.settings.sections import Document, UpstreamSection
from fairlead.settings.sources import Gathered
from fairlead.settings.values import DEFAULT_PORTS

Problems = Iterator[SettingError]


def check_rules(document: Document, gathered: Gathered) -> Problems:
    """Everything that is wrong between the settings of a document whose single values are right."""
    for error in _all_rules(document, gathered):
        error.origin = error.origin or origin_of(error.key, gathered.origins)
        yield error


def _all_rules(document: Document, gathered: Gathered) -> Problems:
    yield from _sizes(document)
    yield from _workers(document)
    yield from _secrets_in_file(document, gathered)
    yield from _url_files(document)
    yield from _names(document.upstreams)
    for index, upstream in enumerate(document.upstreams):
        where = f"upstreams[{index}]"
        yield from _address(upstream, where)
        yield from _version_path(upstream, where)
        yield from _own_simulated(upstream, where)
        yield from _caller(upstream, where)
        yield from _metrics(upstream, where)
        yield from check_limits(upstream, where, document.queue)
        yield from _circle(upstream, where, document)


def _sizes(document: Document) -> Problems:
    server = document.server
    if server.max_buffered_bytes < server.max_body_bytes:
        fix = f"must be at least server.max_body_bytes ({server.max_body_bytes})"
        yield SettingError("server.max_buffered_bytes", shown(server.max_buffered_bytes), fix)


def _workers(document: Document) -> Problems:
    cache, workers = document.cache, document.server.workers
    if workers > 1 and cache.caches and not cache.persists:
        # Workers tell each other of purges through the store.
        fix = 'must be 1 with cache.persist = "off": else a purge would reach one worker only'
        yield SettingError("server.workers", shown(workers), fix)


def _secrets_in_file(document: Document, gathered: Gathered) -> Problems:
    urls: dict[str, tuple[SecretUrl | None, str]] = {
        "cache.url": (document.cache.url, "FAIRLEAD_CACHE__URL, or in a file named by url_file"),
        "storage.url": (
            document.storage.url,
            "FAIRLEAD_STORAGE__URL, or in a file named by url_file",
        ),
        "network.proxy": (document.network.proxy, "FAIRLEAD_NETWORK__PROXY"),
    }
    for key, (url, place) in urls.items():
        if key in gathered.from_file:
            yield from _password(key, url, place)
    if "upstreams" in gathered.from_file:
        for index, upstream in enumerate(document.upstreams):
            yield from _password(
                f"upstreams[{index}].proxy", upstream.proxy, "FAIRLEAD_NETWORK__PROXY"
            )
    if "server.insecure" in gathered.from_file:
        fix = (
            "is decided at each start, not in a file: "
            "give --insecure or FAIRLEAD_SERVER__INSECURE=true"
        )
        yield SettingError("server.insecure", shown(document.server.insecure), fix)


def _password(key: str, url: SecretUrl | None, place: str) -> Problems:
    if url is not None and carries_password(url.get_secret_value()):
        fix = f"a password does not belong in this file: give the URL in {place}"
        yield SettingError(key, shown(url), fix)


def _url_files(document: Document) -> Problems:
    for name, section in (("cache", document.cache), ("storage", document.storage)):
        if section.url_file is not None and "url" in section.model_fields_set:
            fix = f"contradicts {name}.url: give only one of the two"
            yield SettingError(f"{name}.url_file", shown(section.url_file), fix)


def _names(upstreams: tuple[UpstreamSection, ...]) -> Problems:
    seen: dict[str, int] = {}
    for index, upstream in enumerate(upstreams):
        names = (upstream.name, *upstream.server_names)
        taken = next((name for name in names if name in seen), None)
        if taken is not None:
            what = "this name" if taken == upstream.name else f"the name {taken}"
            fix = (
                f"upstreams[{seen[taken]}] has {what} already; names must differ, "
                "and the servers of a list are named NAME.1, NAME.2 and so on"
            )
            yield SettingError(f"upstreams[{index}].name", shown(upstream.name), fix)
        seen |= {name: seen.get(name, index) for name in names}


def _address(upstream: UpstreamSection, where: str) -> Problems:
    if upstream.base_url is None and upstream.shape != "simulated":
        fix = f'is required for shape "{upstream.shape}": an http:// or https:// URL'
        yield SettingError(f"{where}.base_url", "", fix)


def _version_path(upstream: UpstreamSection, where: str) -> Problems:
    # The Anthropic SDK adds /v1 itself, so this would ask for /v1/v1/messages.
    for key, url in _placed(upstream, where):
        if upstream.shape != "openai" and url.endswith("/v1"):
            fix = f'must not end in /v1 for shape "{upstream.shape}": only OpenAI base URLs hold it'
            yield SettingError(key, shown(url), fix)


def _placed(upstream: UpstreamSection, where: str) -> Iterator[tuple[str, str]]:
    """Each base URL under its full key."""
    for number, url in enumerate(upstream.urls):
        listed = not isinstance(upstream.base_url, str)
        yield f"{where}.base_url[{number}]" if listed else f"{where}.base_url", url


def _own_simulated(upstream: UpstreamSection, where: str) -> Problems:
    if upstream.base_url is not None:
        return
    for name in ("key_env", "key_file", "proxy", "ca_bundle", "health_path", "metrics_url"):
        value = getattr(upstream, name)
        if value and upstream.shape == "simulated":
            fix = "has no use here: without base_url the node runs this upstream itself"
            yield SettingError(f"{where}.{name}", shown(value), fix)


def _caller(upstream: UpstreamSection, where: str) -> Problems:
    for name in ("key_env", "key_file"):
        value = getattr(upstream, name)
        if value and upstream.credentials == "caller":
            fix = 'would never be used: credentials = "caller" passes the caller\'s own key'
            yield SettingError(f"{where}.{name}", shown(value), fix)


def _metrics(upstream: UpstreamSection, where: str) -> Problems:
    given = upstream.metrics_url
    if given is not None and not given.startswith("/") and len(upstream.urls) > 1:
        path = urlsplit(given).path or "/metrics"
        fix = (
            f"is one address for {len(upstream.urls)} servers: give the path alone ({shown(path)})"
        )
        yield SettingError(f"{where}.metrics_url", shown(given), fix)


def _circle(upstream: UpstreamSection, where: str, document: Document) -> Problems:
    """The node as its own upstream: what a shell that points assistants at it would configure."""
    server = document.server
    for key, url in _placed(upstream, where):
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]
        if port == server.port and (is_loopback(host) or host == server.host.lower()):
            fix = (
                "is this node's own address: its requests would go round in a circle; "
                "name the model server, or unset the variable where the node starts"
            )
            yield SettingError(key, shown(url), fix)
