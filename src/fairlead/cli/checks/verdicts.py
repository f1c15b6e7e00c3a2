"""What a server's answer means, or that none came, and what to do about it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from fnmatch import fnmatchcase

import msgspec

from fairlead.cli.checks import Check, failed, passed, warned
from fairlead.errors import UpstreamTimeoutError, UpstreamUnreachableError
from fairlead.settings import UpstreamSettings

_ENGINES = {b"vllm:": "vLLM", b"sglang:": "SGLang"}
"""What the names of an engine's metrics begin with."""


class _List(msgspec.Struct):
    data: list[dict[str, object]]


def models_in(body: bytes) -> list[str] | None:
    """The models that an answer lists; None where it is no list of models."""
    try:
        return [str(model.get("id")) for model in msgspec.json.decode(body, type=_List).data]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def served(upstream: UpstreamSettings, models: Sequence[str]) -> list[str]:
    """Those of `models` that the patterns of the upstream let through."""
    return [m for m in models if any(fnmatchcase(m, pattern) for pattern in upstream.models)]


def listing(upstream: UpstreamSettings, name: str, models: Sequence[str] | None) -> Check:
    """On an answer with status 200 to the question for its models."""
    if models is None:
        return failed(
            name,
            f"{upstream.base_url} answers, but not with a list of models",
            "check base_url: it is probably not that of a model API",
        )
    found = served(upstream, models)
    if models and not found:
        patterns = ", ".join(upstream.models)
        return warned(
            name,
            f"none of its {len(models)} models matches {patterns}",
            f"correct models; it has {', '.join(models[:5])}{' …' if len(models) > 5 else ''}",
        )
    count = "1 model" if len(found) == 1 else f"{len(found)} models"
    return passed(name, f"{upstream.base_url} answers, {count}")


def refusal(upstream: UpstreamSettings, name: str, status: int, *, has_key: bool) -> Check:
    """On any other status of that answer."""
    where = f"{upstream.base_url} answers {status}"
    if status in {401, 403} and upstream.credentials == "caller":
        return passed(name, f"{where} without the caller's key, as it should")
    if status in {401, 403} and has_key:
        return failed(name, f"{where}: the key is refused", f"renew it: {_key_places(upstream)}")
    if status in {401, 403}:
        return failed(name, f"{where}: it wants a key", "name one with key_env or key_file")
    if status in {404, 405}:
        hint = "/v1 usually belongs at its end" if upstream.shape == "openai" else "it has no /v1"
        return warned(name, f"{where}: no list of models there", f"check base_url: {hint}")
    if status in {429, 503, 529}:
        return warned(name, f"{where}: it is busy or the account is at its limit", "try later")
    return failed(name, where, "look into the upstream's own log or status page")


def _key_places(upstream: UpstreamSettings) -> str:
    return ", ".join([*upstream.key_env, *map(str, upstream.key_file)])


def health(url: str, name: str, status: int) -> Check:
    """On the answer to `health_path`."""
    if 200 <= status < 300:
        return passed(name, f"{url} answers {status}")
    fix = "look into the server's own log: while it answers so the node does not use it"
    if status in {401, 403}:
        fix = "name a health_path that needs no key, or remove health_path"
    elif status in {404, 405}:
        fix = "correct health_path: it starts at the server's root, not below base_url's path"
    return failed(name, f"{url} answers {status}", fix)


def metrics(url: str, name: str, status: int, body: bytes) -> Check:
    """On the answer to `metrics_url`. Balancing works without, so nothing here is a failure."""
    if status != 200:
        fix = "correct metrics_url, or remove it; SGLang has metrics only with --enable-metrics"
        return warned(name, f"{url} answers {status}", fix)
    for line in body.splitlines():
        for prefix, engine in _ENGINES.items():
            if line.startswith(prefix):
                return passed(name, f"{url}: metrics of {engine}")
    return warned(
        name,
        f"{url} answers, but not with metrics of {' or '.join(_ENGINES.values())}",
        "correct metrics_url, or remove it: nothing there says how loaded the server is",
    )


def unreached(where: str, setting: str, name: str, error: Exception) -> Check:
    """Where no answer came from `where`, an address that `setting` gives."""
    if isinstance(error, (TimeoutError, UpstreamTimeoutError)):
        detail = f"{where} does not answer in time"
        return failed(name, detail, "check that it runs, and that no firewall drops the packets")
    if not isinstance(error, UpstreamUnreachableError):
        detail = f"{where} does not speak HTTP/1.1 there: {error}"
        return failed(name, detail, f"check the scheme and the port of {setting}")
    return failed(name, f"{where}: {_reason(error)}", _advice(error, setting))


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _reason(error: UpstreamUnreachableError) -> str:
    return str(error).partition(": ")[2] or str(error)


def _advice(error: UpstreamUnreachableError, setting: str) -> str:
    causes = _causes(error)
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return f"the name does not resolve: check the host of {setting} and the machine's DNS"
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return "its certificate is not trusted here: name your CA's file with ca_bundle"
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return f"it does not speak TLS there: check the scheme and the port of {setting}"
    return "check that it runs and that this machine may reach it, or set proxy"
