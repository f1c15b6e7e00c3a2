"""The score's formula, the rendezvous hash, the bound."""

from __future__ import annotations

from collections import Counter

import pytest

from fairlead.traffic.base import LoadReport, Server
from fairlead.traffic.scoring import label, load_bound, rendezvous, score

SERVER = Server(name="a", region="here", capabilities=frozenset({"gpu", "vision"}))


def points(
    connections: int = 0,
    report: LoadReport | None = None,
    region: str | None = None,
    capabilities: tuple[str, ...] = (),
) -> float:
    return score(SERVER, connections, 200.0, report, region, capabilities)


@pytest.mark.parametrize(
    ("expected", "arguments"),
    [
        (100, {}),
        (75, {"connections": 100}),
        (50, {"connections": 200}),
        (70, {"report": LoadReport(cpu=1.0)}),
        (80, {"report": LoadReport(memory_free=0.0)}),
        (85, {"report": LoadReport(cpu=0.5, memory_free=1.0)}),
        (110, {"region": "here"}),
        (100, {"region": "there"}),
        (115, {"capabilities": ("gpu",)}),
        (115, {"capabilities": ("gpu", "vision")}),
        (100, {"capabilities": ("gpu", "audio")}),
        (0, {"connections": 1000}),
    ],
)
def test_each_term_of_the_score(expected: float, arguments: dict[str, object]) -> None:
    assert points(**arguments) == pytest.approx(expected)


def test_a_node_without_a_region_prefers_none() -> None:
    nowhere = Server(name="a")

    assert score(nowhere, 0, 200.0, None, None, ()) == 100


def test_rendezvous_is_the_same_in_every_process_and_fair() -> None:
    labels = {name: label(name) for name in "abcd"}
    wins = Counter(
        max(labels, key=lambda name: rendezvous(b"session-%d" % n, labels[name]))
        for n in range(4000)
    )

    assert rendezvous(b"s", label("a")).hex() == "8a81dd3033c7c217"
    assert min(wins.values()) > 900
    assert max(wins.values()) < 1100


def test_label_and_session_cannot_run_into_each_other() -> None:
    assert rendezvous(b"bc", label("a")) != rendezvous(b"c", label("ab"))


@pytest.mark.parametrize(
    ("total", "share", "expected"),
    [(8, 0.25, 6.0), (400, 0.25, 125.0), (400, 0.1, 50.0), (1, 1.0, 5.0)],
)
def test_the_bound_is_the_factor_or_the_slack_above_the_mean(
    total: int, share: float, expected: float
) -> None:
    assert load_bound(total, share, 1.25, 4) == expected
