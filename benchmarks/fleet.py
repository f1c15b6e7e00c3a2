"""Simulated upstreams and a node before them, as processes; and what they tell of themselves."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec

from benchmarks.calls import Door, get
from benchmarks.exchange import answers
from benchmarks.machine import BenchmarkError, Cores
from benchmarks.processes import Child, Command, free_ports

MODEL = "bench"
Shape = Literal["openai", "anthropic"]
_READY_SECONDS = 60.0


@dataclass(frozen=True)
class Yard:
    """Where processes are started: the run's directory, the cores."""

    directory: Path
    cores: Cores

    def start(
        self, name: str, arguments: Sequence[str], core: int, url: str, ready: str, stack: ExitStack
    ) -> Child:
        """Run `arguments` until `stack` closes, and wait until a GET of `ready` is answered."""
        log = self.directory / f"{name}.log"
        child = stack.enter_context(Child(name, Command(arguments, log, core, {})))
        child.wait_ready(partial(answers, url, ready), _READY_SECONDS)
        return child


def start_upstreams(
    yard: Yard, count: int, options: Mapping[str, float], stack: ExitStack
) -> list[str]:
    """`count` simulated model servers on the load's core; their base URLs without `/v1`."""
    flags = [word for name, value in options.items() for word in (f"--{name}", f"{value:g}")]
    urls = []
    for number, port in enumerate(free_ports(count)):
        arguments = [sys.executable, "-m", "fairlead", "upstream", "--port", str(port), *flags]
        url = f"http://127.0.0.1:{port}"
        name = f"upstream-{number}-{port}"
        yard.start(name, arguments, yard.cores.load, url, "/healthz", stack)
        urls.append(url)
    return urls


def start_node(
    yard: Yard,
    upstreams: Sequence[str],
    stack: ExitStack,
    *,
    shape: Shape = "openai",
    upstream: str = "",
    queue: str = "",
) -> tuple[str, Child]:
    """A node with its cache off on the servers' core: its base URL and its process.

    `upstream` and `queue` are further lines (TOML) of the `[[upstreams]]` and `[queue]` tables.
    """
    (port,) = free_ports(1)
    path = "/v1" if shape == "openai" else ""
    urls = ", ".join(f'"{url}{path}"' for url in upstreams)
    text = _NODE.format(
        port=port,
        directory=yard.directory / f"node-{port}",
        shape=shape,
        urls=urls,
        upstream=upstream,
        queue=queue,
    )
    configuration = yard.directory / f"node-{port}.toml"
    configuration.write_text(text, encoding="utf-8")
    arguments = [sys.executable, "-m", "fairlead", "serve", "--config", str(configuration)]
    url = f"http://127.0.0.1:{port}"
    name = f"node-{port}"
    return url, yard.start(name, arguments, yard.cores.server, url, "/readyz", stack)


_NODE = """\
[server]
host = "127.0.0.1"
port = {port}
data_dir = "{directory}"
log_format = "json"

[cache]
policy = "off"

[queue]
{queue}

[[upstreams]]
name = "gpu"
shape = "{shape}"
base_url = [{urls}]
models = ["*"]
{upstream}
"""


class PrefixCounts(msgspec.Struct):
    """Blocks of prompts that an upstream's prefix cache had, and had not."""

    hits: int
    misses: int


class UpstreamCounts(msgspec.Struct):
    """Of `/stats` what is read here."""

    requests: dict[str, int]
    active: int
    prefix_cache: PrefixCounts


async def counts_of(door: Door) -> UpstreamCounts:
    """What an upstream counts now; `door` keeps bodies."""
    answer = await door.call(get(door.host, "/stats"))
    if not answer.ok:
        raise BenchmarkError(f"the upstream's /stats answered {answer.status}")
    return msgspec.json.decode(answer.body, type=UpstreamCounts)


async def metrics_of(door: Door) -> dict[str, float]:
    """The sum over all labels of each of a node's metrics; `door` keeps bodies."""
    answer = await door.call(get(door.host, "/metrics"))
    if not answer.ok:
        raise BenchmarkError(f"the node's /metrics answered {answer.status}")
    totals: dict[str, float] = {}
    for line in answer.body.decode().splitlines():
        if line and not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            name = series.partition("{")[0]
            totals[name] = totals.get(name, 0.0) + float(value)
    return totals
