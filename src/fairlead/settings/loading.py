"""From the sources to `Settings`: validate, apply the rules, read the secrets."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from pydantic import SecretStr, TypeAdapter, ValidationError

from fairlead.settings.addresses import is_loopback
from fairlead.settings.limits import adapts, limits_of
from fairlead.settings.problems import InvalidConfigurationError, Report, origin_of, translate
from fairlead.settings.redaction import SecretUrl, looks_secret, shown
from fairlead.settings.resolved import Settings, UpstreamSettings
from fairlead.settings.rules import check_rules
from fairlead.settings.sections import (
    CacheSettings,
    Document,
    StorageSettings,
    UpstreamSection,
)
from fairlead.settings.sources import Gathered, gather
from fairlead.settings.values import CacheUrl, StorageUrl

_MAX_SECRET_BYTES = 65_536
_SHORT = 20
"""No provider's key is this short, so a name of so few characters may be shown."""


def load_settings(
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """The settings of `fairlead.toml`, overridden by `environ`, overridden by `overrides`.

    `config` names the file; without it the working directory and then the user configuration
    directory are searched. `overrides` maps full keys (`server.port`) to values; None means not
    given. Raises `InvalidConfigurationError` with all problems of a stage: first what each value
    is by itself, then what they are together, with the files and variables they name.
    """
    report = Report()
    gathered = gather(config, environ or {}, overrides or {}, report)
    document = _validate(gathered, report)
    report.errors += check_rules(document, gathered)
    loading = _Loading(gathered, environ or {}, report)
    settings = Settings(
        server=document.server,
        storage=loading.storage(document.storage),
        capture=document.capture,
        retention=document.retention,
        workspaces=document.workspaces,
        cache=loading.cache(document.cache),
        network=document.network,
        queue=document.queue,
        balancer=document.balancer,
        upstreams=loading.upstreams(document),
        simulated=document.simulated,
        file=gathered.file,
        origins=gathered.origins,
    )
    loading.check_files(document)
    report.check()
    return settings


def _validate(gathered: Gathered, report: Report) -> Document:
    try:
        document = Document.model_validate(gathered.raw, strict=True, context=gathered.places)
    except ValidationError as error:
        found = error.errors(include_url=False)
        report.errors += [translate(item, gathered.origins) for item in found]
        raise InvalidConfigurationError(report.errors) from None
    report.check()
    return document


class _Loading:
    """Reads what settings only name: variables and files."""

    def __init__(self, gathered: Gathered, environ: Mapping[str, str], report: Report) -> None:
        self._origins = gathered.origins
        self._environ = environ
        self._report = report

    def upstreams(self, document: Document) -> tuple[UpstreamSettings, ...]:
        """Each server with its keys, and with the defaults of other sections filled in."""
        return tuple(
            server
            for index, upstream in enumerate(document.upstreams)
            for server in self._servers(upstream, f"upstreams[{index}]", document)
        )

    def _servers(
        self, upstream: UpstreamSection, where: str, document: Document
    ) -> Iterator[UpstreamSettings]:
        keys = [self._variable(name, f"{where}.key_env") for name in upstream.key_env]
        keys += [self._secret(path, f"{where}.key_file") for path in upstream.key_file]
        fields: dict[str, Any] = {
            name: getattr(upstream, name) for name in type(upstream).model_fields
        }
        fields |= vars(limits_of(upstream, document.queue))
        fields["group"] = upstream.name
        fields["ca_bundle"] = upstream.ca_bundle or document.network.ca_bundle
        fields["keys"] = tuple(SecretStr(key) for key in keys if key)
        if upstream.max_queued is None:
            fields["max_queued"] = document.queue.max_waiting
        if upstream.queue_timeout is None:
            fields["queue_timeout"] = document.queue.timeout
        for name, url in zip(upstream.server_names, upstream.urls or (None,), strict=True):
            own: dict[str, Any] = {"name": name, "base_url": url, "adaptive": adapts(upstream, url)}
            if upstream.proxy is None and not _is_local(url):
                own["proxy"] = document.network.proxy
            if upstream.metrics_url is not None and url is not None:
                own["metrics_url"] = urljoin(url, upstream.metrics_url)
            yield UpstreamSettings.model_construct(**fields | own)

    def cache(self, cache: CacheSettings) -> CacheSettings:
        """With the URL that `url_file` holds."""
        url = self._url(cache.url_file, "cache.url_file", TypeAdapter(CacheUrl))
        return cache if url is None else cache.model_copy(update={"url": url})

    def storage(self, storage: StorageSettings) -> StorageSettings:
        """With the URL that `url_file` holds."""
        url = self._url(storage.url_file, "storage.url_file", TypeAdapter(StorageUrl))
        return storage if url is None else storage.model_copy(update={"url": url})

    def _url(self, file: Path | None, key: str, kind: TypeAdapter[SecretUrl]) -> SecretUrl | None:
        if file is None:
            return None
        text = self._secret(file, key)
        try:
            return kind.validate_python(text)
        except ValidationError as error:
            reason = str(error.errors()[0]["ctx"]["error"])
            self._wrong(key, shown(file), f"the URL in it {reason}")
            return None

    def check_files(self, document: Document) -> None:
        """The certificates and the script that are named must be there."""
        named = {"network.ca_bundle": document.network.ca_bundle}
        for index, upstream in enumerate(document.upstreams):
            named[f"upstreams[{index}].ca_bundle"] = upstream.ca_bundle
        for key, bundle in named.items():
            if bundle is not None:
                self._certificates(bundle, key)
        script = document.simulated.script
        if script is not None and not script.is_file():
            self._wrong("simulated.script", shown(script), "there is no such file")

    def _certificates(self, bundle: Path, key: str) -> None:
        try:
            ssl.create_default_context(cafile=bundle)
        except ssl.SSLError:
            self._wrong(key, shown(bundle), "must hold certificates in PEM form")
        except OSError as error:
            self._wrong(key, shown(bundle), f"cannot be read: {error.strerror}")

    def _variable(self, name: str, key: str) -> str:
        value = self._environ.get(name, "").strip()
        if value:
            return self._header_safe(value, key)
        if looks_secret(name) or not (name.isupper() or len(name) <= _SHORT):
            # Possibly the key itself in the wrong place.
            fix = "must hold names of environment variables that are set, not the keys themselves"
            self._wrong(key, "", fix)
        else:
            self._wrong(key, shown(name), f"the environment variable {name} is not set, or empty")
        return ""

    def _secret(self, path: Path, key: str) -> str:
        try:
            with path.open("rb") as file:
                value = file.read(_MAX_SECRET_BYTES).decode().strip()
        except OSError as error:
            self._wrong(key, shown(path), f"cannot be read: {error.strerror}")
            return ""
        except UnicodeDecodeError:
            self._wrong(key, shown(path), "must be a text file that holds nothing but the secret")
            return ""
        if not value:
            self._wrong(key, shown(path), "must not be empty")
        return self._header_safe(value, key)

    def _header_safe(self, value: str, key: str) -> str:
        if value.isascii() and value.isprintable() and " " not in value:
            return value
        self._wrong(key, "", "a key holds white space or characters that no header can carry")
        return ""

    def _wrong(self, key: str, value: str, fix: str) -> None:
        self._report.add(key, value, fix, origin_of(key, self._origins))


def _is_local(url: str | None) -> bool:
    """Whether it runs on this machine, which no proxy stands before."""
    return url is None or is_loopback(urlsplit(url).hostname or "")
