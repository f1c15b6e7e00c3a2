"""What is compared: nothing between (direct), nginx, LiteLLM's proxy, the SGLang router, Fairlead.

Each is started with its own quickest fair settings, on a core of its own, in front of the same two
upstreams. `docs/guides/benchmarks.md` gives the reasons for the settings.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import nginx
from benchmarks.bodies import Origin, Traffic
from benchmarks.exchange import answers
from benchmarks.machine import BenchmarkError
from benchmarks.processes import Child, Command, Usage, free_ports

PEERS = ("nginx", "litellm", "sglang", "fairlead")
TITLES = {
    "direct": "direct",
    "nginx": "nginx",
    "litellm": "LiteLLM",
    "sglang": "SGLang",
    "fairlead": "Fairlead",
}
_READY_SECONDS = 60.0
_NGINX_REMARK = (
    "nginx is a plain proxy, and for hits its own cache with the body as the key; that cannot be "
    "over 64 KB, so there are no hits of larger bodies."
)
_LITELLM_REMARK = (
    "LiteLLM is so slow that it gets less to do: a quarter of the connections, an eighth of the "
    "streams, a fiftieth of the requests of the memory row. It caches whatever the temperature, "
    "so it has no bypass."
)
_ORIGINS: tuple[Origin, ...] = ("plain", "own")


@dataclass(frozen=True)
class Site:
    """Where servers are started: a directory of this run, their core, the upstreams' ports."""

    directory: Path
    core: int
    upstreams: Mapping[Origin, int]
    files: int

    def command(self, name: str, arguments: Sequence[str], **environment: str) -> Command:
        """To run `arguments` on the servers' core with the log in the run's directory."""
        return Command(arguments, self.directory / f"{name}.log", self.core, environment)

    def upstream(self, origin: Origin) -> str:
        """The base URL of an upstream."""
        return f"http://127.0.0.1:{self.upstreams[origin]}"


@dataclass(frozen=True)
class Target:
    """A running server to measure. `route` gives the URL for a kind of traffic, or None.

    `pace` is the share of the usual number of requests that it gets, where it is so slow that the
    whole number would take too long. `remark` goes below the table.
    """

    name: str
    version: str
    route: Callable[[Traffic], str | None]
    children: Mapping[Origin, Child]
    pace: float = 1.0
    remark: str = ""

    def usage(self, traffic: Traffic) -> Usage:
        """CPU and memory of what serves this traffic; nothing where it is the upstream itself."""
        child = self.children.get(traffic.origin)
        return child.usage() if child else Usage(0.0, 0)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let it run within the block; outside it is paused, so that another has the core."""
        children = set(self.children.values())
        for child in children:
            child.resume()
        try:
            yield
        finally:
            for child in children:
                child.pause()


def direct(site: Site) -> Target:
    """The upstreams themselves."""
    return Target(
        "direct", "", lambda traffic: _uncached(traffic, site.upstream(traffic.origin)), {}
    )


def start_nginx(site: Site, stack: ExitStack) -> Target:
    """A plain reverse proxy, unbuffered; beside it its own cache, keyed by the body, for hits."""
    program = nginx.find_nginx()
    if program is None:
        raise BenchmarkError("not installed: apt install nginx-light")
    keys = [(origin, cached) for origin in _ORIGINS for cached in (False, True)]
    ports = dict(zip(keys, free_ports(len(keys)), strict=True))
    forwards = [nginx.Forward(port, *key) for key, port in ports.items()]
    arguments = nginx.write_proxy(
        site.directory / "nginx-proxy", forwards, dict(site.upstreams), site.files
    )
    child = stack.enter_context(Child("nginx", site.command("nginx", arguments)))
    first = f"http://127.0.0.1:{ports['plain', False]}"
    child.wait_ready(partial(answers, first, "/v1/models"), _READY_SECONDS)

    def route(traffic: Traffic) -> str | None:
        hit = traffic.caching == "hit"
        if hit and traffic.size > nginx.LARGEST_KEY:
            return None
        return f"http://127.0.0.1:{ports[traffic.origin, hit]}"

    return Target("nginx", nginx.version(program), route, _both(child), remark=_NGINX_REMARK)


def start_litellm(site: Site, stack: ExitStack, python: str | None) -> Target:
    """One worker, no database, no logging, its in-memory cache on for bodies of any length."""
    if python is None:
        raise BenchmarkError("no --litellm-python given (or FAIRLEAD_BENCH_LITELLM)")
    (port,) = free_ports(1)
    configuration = site.directory / "litellm.json"
    configuration.write_text(json.dumps(_litellm_settings(site)), encoding="utf-8")
    starting = "from litellm import run_server; run_server()"
    arguments = [python, "-c", starting, "--config", str(configuration), "--host", "127.0.0.1"]
    arguments += ["--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    command = site.command(
        "litellm",
        arguments,
        LITELLM_MODE="PRODUCTION",
        LITELLM_LOG="ERROR",
        LITELLM_LOCAL_MODEL_COST_MAP="True",
        LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY="true",
        REPEATED_STREAMING_CHUNK_LIMIT="1000000000",
    )
    child = stack.enter_context(Child("litellm", command))
    url = f"http://127.0.0.1:{port}"
    child.wait_ready(partial(answers, url, "/health/liveliness"), _READY_SECONDS)
    version = _version(python, "litellm")
    return Target(
        "litellm",
        version,
        lambda traffic: _uncached_too(traffic, url),
        _both(child),
        0.02,
        _LITELLM_REMARK,
    )


def _litellm_settings(site: Site) -> dict[str, object]:
    models = [
        {
            "model_name": f"bench-{origin}",
            "litellm_params": {
                "model": f"openai/bench-{origin}",
                "api_base": f"{site.upstream(origin)}/v1",
                "api_key": "benchmark",
            },
        }
        for origin in _ORIGINS
    ]
    cache = {"type": "local", "ttl": 3600, "max_messages": 1_000_000}
    return {
        "model_list": models,
        "litellm_settings": {"cache": True, "cache_params": cache, "telemetry": False},
        "router_settings": {"num_retries": 0},
    }


def start_sglang(site: Site, stack: ExitStack, python: str | None) -> Target:
    """A router per upstream, since it does not choose by model; round robin, no retries."""
    if python is None:
        raise BenchmarkError("no --sglang-python given (or FAIRLEAD_BENCH_SGLANG)")
    ports = free_ports(2 * len(_ORIGINS))
    urls: dict[Origin, str] = {}
    children: dict[Origin, Child] = {}
    for origin, port, metrics in zip(_ORIGINS, ports[::2], ports[1::2], strict=True):
        arguments = [python, "-m", "sglang_router.launch_router"]
        arguments += ["--worker-urls", site.upstream(origin), "--policy", "round_robin"]
        arguments += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
        arguments += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(metrics)]
        arguments += ["--disable-retries", "--disable-circuit-breaker"]
        child = Child("sglang", site.command(f"sglang-{origin}", arguments))
        children[origin] = stack.enter_context(child)
        urls[origin] = f"http://127.0.0.1:{port}"
    for origin, child in children.items():
        url = urls[origin]
        child.wait_ready(partial(answers, url, "/readiness"), _READY_SECONDS)
    version = _version(python, "sglang-router")
    return Target(
        "sglang", version, lambda traffic: _uncached(traffic, urls[traffic.origin]), children
    )


def start_fairlead(site: Site, stack: ExitStack) -> Target:
    """The complete node as `fairlead serve` runs it: cache, metrics and the access log on."""
    (port,) = free_ports(1)
    configuration = site.directory / "fairlead.toml"
    upstreams = "".join(_FAIRLEAD_UPSTREAM.format(name=o, url=site.upstream(o)) for o in _ORIGINS)
    text = _FAIRLEAD.format(port=port, directory=site.directory, upstreams=upstreams)
    configuration.write_text(text, encoding="utf-8")
    arguments = [sys.executable, "-m", "fairlead", "serve", "--config", str(configuration)]
    command = site.command("fairlead", arguments, FAIRLEAD_BENCH_KEY="benchmark")
    child = stack.enter_context(Child("fairlead", command))
    url = f"http://127.0.0.1:{port}"
    child.wait_ready(partial(answers, url, "/readyz"), _READY_SECONDS)
    return Target("fairlead", importlib.metadata.version("fairlead"), lambda _: url, _both(child))


_FAIRLEAD = """\
[server]
host = "127.0.0.1"
port = {port}
data_dir = "{directory}/fairlead-data"
log_format = "json"
{upstreams}"""

_FAIRLEAD_UPSTREAM = """
[[upstreams]]
name = "{name}"
shape = "openai"
base_url = "{url}/v1"
models = ["bench-{name}"]
key_env = ["FAIRLEAD_BENCH_KEY"]
max_connections = 4096
"""


def _both(child: Child) -> dict[Origin, Child]:
    return dict.fromkeys(_ORIGINS, child)


def _uncached(traffic: Traffic, url: str) -> str | None:
    return None if traffic.caching == "hit" else url


def _uncached_too(traffic: Traffic, url: str) -> str | None:
    """LiteLLM caches whatever the temperature: it has no request that its cache passes by."""
    return None if traffic.caching == "bypass" and traffic.stream is None else url


def _version(python: str, package: str) -> str:
    asking = f"import importlib.metadata as m; print(m.version({package!r}))"
    shown = subprocess.run(
        [python, "-c", asking], capture_output=True, text=True, timeout=30, check=False
    )
    return shown.stdout.strip() or "unknown"
