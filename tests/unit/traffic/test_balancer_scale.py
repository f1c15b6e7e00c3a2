"""Many sessions: few of them move, none of the servers has too many, memory is flat."""

from __future__ import annotations

from collections import Counter

from fairlead.traffic.balancer import SessionAwareLoadBalancer
from fairlead.traffic.base import BalancerOptions, Server

SERVERS = [Server(name=f"server-{number}") for number in range(10)]


def served(balancer: SessionAwareLoadBalancer, session: str) -> str:
    """One whole request."""
    assignment = balancer.choose(session, "m")
    assignment.answered(200, None)
    assignment.end()
    return assignment.server


def test_of_a_hundred_thousand_sessions_few_move_when_a_server_goes() -> None:
    balancer = SessionAwareLoadBalancer(SERVERS)
    sessions = [f"session-{number}" for number in range(100_000)]
    homes = [served(balancer, session) for session in sessions]
    balancer.update(SERVERS[1:])

    places = [served(balancer, session) for session in sessions]

    moved = sum(home != place for home, place in zip(homes, places, strict=True))
    assert moved == homes.count("server-0") == balancer.statistics().moved_sessions
    assert moved <= 12_000
    assert max(Counter(homes).values()) <= 1.25 * 10_000
    assert max(Counter(places).values()) <= 1.25 * 100_000 / 9
    statistics = balancer.statistics()
    assert statistics.sessions == 100_000
    assert {server.name: server.sessions for server in statistics.servers} == Counter(places)


def test_memory_is_flat_though_sessions_never_end() -> None:
    balancer = SessionAwareLoadBalancer(SERVERS, options=BalancerOptions(max_sessions=1000))
    for number in range(30_000):
        served(balancer, f"session-{number}")

    statistics = balancer.statistics()
    assert statistics.sessions == 1000
    assert sum(server.sessions for server in statistics.servers) == 1000
    assert balancer._sessions.gatherings == 0
