"""Twice what two servers can do: they refuse, and still the work goes on."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from pathlib import Path

from support.fleet import asking, config, entry, idle, processes, upstreams, waiting
from support.nodeprocess import NodeProcess
from support.upstreamprocess import UpstreamProcess
from support.wire import ask, client, until

CLASSES = ("critical", "high", "normal", "low")
AT_ONCE, SERVICE = 4, 0.1
"""Requests that a server takes at a time, and the seconds that each of them takes."""
PLACES = 10
"""In the queue before each server, of each class."""
UNCACHED = b"x-fairlead-cache: off"


class Crowd:
    """Callers of all classes, each with one request at a time, until `enough` were answered."""

    def __init__(self, url: str, enough: int) -> None:
        self.served: Counter[str] = Counter()
        self.refused: Counter[int] = Counter()
        self._url = url
        self._enough = enough

    async def run(self, callers: int) -> None:
        """Return when they have had enough."""
        async with asyncio.TaskGroup() as group:
            for number in range(callers):
                group.create_task(self._ask(number))

    async def _ask(self, number: int) -> None:
        name = CLASSES[number % len(CLASSES)]
        priority = b"x-fairlead-priority: " + name.encode()
        async with client(self._url) as opened:
            while self.served.total() < self._enough:
                answer = await opened.ask(asking(f"user-{number}", priority, UNCACHED, stream=True))
                if answer.status == 200:
                    assert answer.body.endswith(b"data: [DONE]\n\n")
                    self.served[name] += 1
                else:
                    assert int(answer.header(b"retry-after") or 0) >= 1
                    self.refused[answer.status] += 1
                    # The pace of the load, not a wait: who is refused comes again, too early.
                    await asyncio.sleep(SERVICE)


async def _completed(servers: list[UpstreamProcess]) -> int:
    return sum([(await server.statistics())["completed"] for server in servers])


async def test_goodput_never_stops_and_the_queue_is_gone_afterwards(tmp_path: Path) -> None:
    """The limit starts far above what the servers take, so that at first they refuse a lot."""
    slow = ("--ttft", str(SERVICE), "--tokens-per-second", "0", "--answer-tokens", "5")
    async with processes(2, *slow, "--max-concurrency", str(AT_ONCE)) as servers:
        text = config(
            entry(
                [server.url for server in servers],
                "limit = 16",
                "min_limit = 1",
                f"max_queued = {PLACES}",
            )
        )
        with NodeProcess(tmp_path, text) as node:
            crowd = Crowd(node.url, 200)
            running = asyncio.create_task(crowd.run(4 * 2 * AT_ONCE))
            done = [0]
            longest = 0
            while not running.done():
                enough = asyncio.get_running_loop().time() + 10 * SERVICE
                while not running.done() and asyncio.get_running_loop().time() < enough:
                    for one in upstreams(node).values():
                        longest = max(longest, *one["queue"]["waiting"].values())
                    await asyncio.sleep(SERVICE / 2)
                done.append(await _completed(servers))
            await running

            gains = [later - before for before, later in pairwise(done)]
            assert all(gain > 0 for gain in gains[:-1]), f"answered in each second: {gains}"
            assert longest <= PLACES
            assert all(crowd.served[name] for name in CLASSES), crowd.served
            assert set(crowd.refused) <= {429, 503}
            requests = crowd.served.total() + crowd.refused.total()
            assert node.metric("fairlead_retries_total") <= 100 + 0.1 * requests
            assert max(one["queue"]["limit"] for one in upstreams(node).values()) < 16

            await until(
                lambda: {waiting(node, name) for name in upstreams(node)} == {0}, "it is empty"
            )
            after = await asyncio.gather(
                *(ask(node.url, asking(f"after-{number}", UNCACHED)) for number in range(2))
            )
            assert {answer.status for answer in after} == {200}
            assert {answer.header(b"x-fairlead-queue-ms") for answer in after} == {None}
            for server in servers:
                assert (await idle(server))["cancelled"] == 0, "nothing was begun in vain"
