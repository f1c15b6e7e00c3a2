from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fairlead.app.probing import MAX_PAGE, Probing
from fairlead.testing import Caller, FlakyUpstream, ManualClock
from fairlead.traffic.balancer import SessionAwareLoadBalancer
from fairlead.traffic.base import Server, ServerStatistics
from support.scripted import whole
from support.wire import until
from unit.app.conftest import Load

INTERVAL = 10.0
NEXT = INTERVAL * 1.2
"""Longer than any wait between two questions."""
PAGE = b"# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 3\n"


class Place:
    """A server with a health page and a metrics page."""

    def __init__(self) -> None:
        self.answers = {b"/health": whole(b"ok"), b"/metrics": whole(PAGE)}
        self.upstream = FlakyUpstream(self._answer)

    async def _answer(self, caller: Caller) -> None:
        while (request := await caller.request()) is not None:
            await caller.send(self.answers[request.line.split(b" ")[1]])

    def asked(self, path: bytes) -> int:
        """How often it was asked for `path`."""
        return sum(b" " + path + b" " in request.line for request in self.upstream.requests)

    def table(self, *lines: str) -> str:
        """Its configuration."""
        head = '[[upstreams]]\nname = "gpu"\nshape = "openai"\n'
        return head + f'base_url = "{self.upstream.url}/v1"\n' + "\n".join(lines)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    made = Place()
    async with made.upstream:
        yield made
    assert made.upstream.failures == []


@pytest.fixture
def balancer(clock: ManualClock) -> SessionAwareLoadBalancer:
    return SessionAwareLoadBalancer([Server(name="gpu"), Server(name="other")], clock=clock)


@pytest.fixture
async def probing(balancer: SessionAwareLoadBalancer, clock: ManualClock) -> AsyncIterator[Probing]:
    async with Probing(balancer, INTERVAL, clock) as opened:
        yield opened


def gpu(balancer: SessionAwareLoadBalancer) -> ServerStatistics:
    return balancer.statistics().servers[0]


BOTH = ('health_path = "/health"', 'metrics_url = "/metrics"', 'key_env = ["KEY"]')


async def test_both_pages_are_asked_without_a_key(
    place: Place, probing: Probing, load: Load, balancer: SessionAwareLoadBalancer
) -> None:
    await probing.update(load(place.table(*BOTH), KEY="secret").upstreams)
    await until(lambda: gpu(balancer).report is not None, "it has said how it is")
    await until(lambda: place.asked(b"/health") == 1, "it was asked for its health")
    report = gpu(balancer).report
    assert report is not None
    assert report.running == 3
    for request in place.upstream.requests:
        assert b"secret" not in repr(request.headers).encode()
    assert probing.error("gpu") == ""
    assert probing.error("other") == ""


async def test_a_sick_one_is_told_with_its_reason(
    place: Place, probing: Probing, load: Load, balancer: SessionAwareLoadBalancer
) -> None:
    place.answers[b"/health"] = whole(b"", b"500 Internal Server Error")
    place.answers[b"/metrics"] = whole(b"", b"404 Not Found")
    await probing.update(load(place.table(*BOTH), KEY="secret").upstreams)
    await until(lambda: probing.error("gpu").count(":") > 1, "both have failed")
    assert probing.error("gpu").startswith("health: it does not say that it is well; metrics: ")
    assert "404" in probing.error("gpu")
    assert gpu(balancer).report is None


async def test_five_bad_ones_eject_it_and_a_good_one_lets_it_try(
    place: Place,
    probing: Probing,
    load: Load,
    balancer: SessionAwareLoadBalancer,
    clock: ManualClock,
) -> None:
    place.answers[b"/health"] = whole(b"", b"503 Service Unavailable")
    await probing.update(load(place.table('health_path = "/health"')).upstreams)
    for count in range(1, 6):
        await until(lambda count=count: _noted(probing) == count, f"{count} were noted")  # type: ignore[misc]
        assert gpu(balancer).health == ("ejected" if count == 5 else "healthy")
        if count < 5:
            await clock.advance(NEXT)
    place.answers[b"/health"] = whole(b"")
    await clock.advance(NEXT)
    await until(lambda: gpu(balancer).health == "trial", "it may try")


def _noted(probing: Probing) -> int:
    return probing._prober.statistics().asked


async def test_a_page_without_end_is_given_up(place: Place, probing: Probing, load: Load) -> None:
    place.answers[b"/metrics"] = whole(b"x" * (MAX_PAGE + 1))
    await probing.update(load(place.table('metrics_url = "/metrics"')).upstreams)
    await until(lambda: probing.error("gpu") != "", "it was given up")
    assert "4 MiB" in probing.error("gpu")


async def test_a_reload_that_changes_nothing_here_keeps_the_connections(
    place: Place, probing: Probing, load: Load
) -> None:
    for count in (1, 2, 3):
        await probing.update(load(place.table('health_path = "/health"')).upstreams)
        await until(lambda count=count: _noted(probing) == count, "it is asked at once")  # type: ignore[misc]
    assert place.upstream.connections == 1


async def test_one_that_is_not_to_be_asked_any_more(
    place: Place, probing: Probing, load: Load, clock: ManualClock
) -> None:
    await probing.update(load(place.table(*BOTH), KEY="secret").upstreams)
    await until(lambda: _noted(probing) == 2, "both pages were asked")
    await probing.update(load(place.table('health_path = "/health"')).upstreams)
    await until(lambda: _noted(probing) == 3, "its health was")
    await probing.update(load(place.table()).upstreams)
    await until(lambda: place.upstream.gone == place.upstream.connections, "all is closed")
    await clock.advance(NEXT)
    assert (place.asked(b"/health"), place.asked(b"/metrics")) == (2, 1)
