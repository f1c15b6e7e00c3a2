"""What the commands print: errors on standard error, the banner of a node that listens."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from fnmatch import fnmatchcase
from importlib.metadata import version
from urllib.parse import urlsplit, urlunsplit

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from fairlead.errors import ConfigurationError
from fairlead.settings import (
    InvalidConfigurationError,
    SettingError,
    Settings,
    UpstreamSettings,
    is_loopback,
)

_SAMPLE_MODELS = {
    "simulated": ("simulated",),
    "openai": ("gpt-4o-mini",),
    "anthropic": ("claude-haiku-4-5",),
}
"""Models that such an upstream has if its patterns allow them: for an example that works."""


def print_error(error: Exception) -> None:
    """Tell an error on standard error: what, then how to mend it. Secrets are not in it."""
    console = Console(stderr=True, highlight=False)
    errors: tuple[SettingError, ...] = ()
    message = str(error)
    if isinstance(error, InvalidConfigurationError):
        errors = error.errors
        count = f" ({len(errors)} problems)" if len(errors) > 1 else ""
        message = f"the configuration cannot be used{count}"
    elif isinstance(error, ConfigurationError):
        one = SettingError(error.key, str(error.value), error.fix)
        errors = (error if isinstance(error, SettingError) else one,)
        message = "the configuration cannot be used"
    _print(console, Text.assemble(("fairlead: ", "bold red"), message))
    for one in errors:
        _print(console, Text(one.what, style="bold"), indent=2)
        _print(console, Text(one.fix), indent=6)


def _print(console: Console, text: Text, indent: int = 0) -> None:
    if console.is_terminal:
        console.print(Padding(text, (0, 0, 0, indent)))
    else:  # a log or a pipe: lines stay whole, so that they can be searched
        console.print(" " * indent, text, sep="", soft_wrap=True)


def banner(settings: Settings, url: str, upstream_lines: Sequence[str]) -> list[str]:
    """What a node says when it listens on `url`: plain lines, the last one a command to try."""
    lines = [f"Fairlead {version('fairlead')} listens on {url}"]
    if settings.server.insecure and not is_loopback(settings.server.host):
        lines.append("  WARNING    no authentication (--insecure): whoever reaches it may use it")
    lines += [f"  {'upstream' if i == 0 else '':9}  {x}" for i, x in enumerate(upstream_lines)]
    lines.append(f"  data       {settings.server.data_dir}")
    lines.append("  try        (in another terminal)")
    return [*lines, example(settings, url)]


def upstream_lines(settings: Settings) -> list[str]:
    """One line for each upstream: name, shape, address, models and how many keys it has."""
    return [_upstream_line(upstream) for upstream in settings.upstreams]


def _upstream_line(upstream: UpstreamSettings) -> str:
    models = ", ".join(upstream.models)
    if upstream.is_own:
        return f"{upstream.name}: SIMULATED, inside this node, answers are made up; models {models}"
    count = len(upstream.keys)
    keys = {0: "no key", 1: "1 key"}.get(count, f"{count} keys")
    if upstream.credentials == "caller":
        keys = "the caller's keys"
    shape = "SIMULATED" if upstream.shape == "simulated" else upstream.shape
    return f"{upstream.name}: {shape} at {upstream.base_url}; models {models}; {keys}"


def example(settings: Settings, url: str) -> str:
    """One `curl` that works as printed: a chat where a model is known, else the list of models."""
    base = _reachable(url)
    # The chat endpoint is the better known one, so upstreams that have it come first.
    for upstream in sorted(settings.upstreams, key=lambda item: item.shape == "anthropic"):
        model = _sample_model(upstream)
        if model is not None and upstream.credentials != "caller":
            return _chat(base, upstream.shape, model)
    return f"curl {base}/v1/models"


def _sample_model(upstream: UpstreamSettings) -> str | None:
    """A model that `upstream` serves for sure, or None where only patterns are known."""
    for pattern in upstream.models:
        if not set(pattern) & set("*?["):
            return pattern
    for model in _SAMPLE_MODELS[upstream.shape]:
        if any(fnmatchcase(model, pattern) for pattern in upstream.models):
            return model
    return None


def _chat(base: str, shape: str, model: str) -> str:
    body: dict[str, object] = {"model": model}
    parts = ["curl", f"{base}/v1/chat/completions", "-H", "content-type: application/json"]
    if shape == "simulated":
        body["temperature"] = 0  # so that the second time is answered from the cache
    if shape == "anthropic":
        parts[1] = f"{base}/v1/messages"
        parts += ["-H", "anthropic-version: 2023-06-01"]
        body["max_tokens"] = 100
    body["messages"] = [{"role": "user", "content": "Hello"}]
    return shlex.join([*parts, "-d", json.dumps(body, separators=(",", ":"))])


def _reachable(url: str) -> str:
    """The URL with an address that a client can use: 0.0.0.0 and :: only mean "everywhere"."""
    parts = urlsplit(url.rstrip("/"))
    local = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(parts.hostname or "")  # noqa: S104 - read, not bound
    if local is None:
        return urlunsplit(parts)
    return urlunsplit(parts._replace(netloc=f"{local}:{parts.port}" if parts.port else local))
