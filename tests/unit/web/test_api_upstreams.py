"""`/api/upstreams`, asked of a node whose state the test sets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from fairlead.web.api import create_api
from unit.web.fakenode import FakeNode

RED = {"x-token": "red"}
DRAIN = {"state": "draining"}


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def client(node: FakeNode) -> Iterator[TestClient]:
    with TestClient(create_api(node), client=("127.0.0.1", 50_000)) as client:
        yield client


def problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    return document


class TestList:
    def test_every_figure_of_a_server(self, client: TestClient) -> None:
        first, second = client.get("/api/upstreams").json()["upstreams"]
        queue = first.pop("queue")
        assert first == {
            "name": "gpu",
            "group": "gpu",
            "shape": "openai",
            "base_url": "http://gpu:8000/v1",
            "models": ["*"],
            "state": "active",
            "health": "healthy",
            "load": 7,
            "in_flight": 5,
            "sessions": 3,
            "ejections": 2,
            "served": 40,
            "failed": 1,
            "resting_models": 1,
            "resting_seconds": 2.5,
            "accounts_set_aside": 1,
            "probe_error": "",
            "report": {
                "running": 7,
                "waiting": None,
                "cpu": None,
                "memory_free": 0.25,
                "prefix_hit_rate": None,
            },
        }
        zeros = {"critical": 0, "high": 0, "normal": 0, "low": 0}
        assert (queue["limit"], queue["min_limit"], queue["max_limit"]) == (100, 100, 100)
        assert (queue["running"], queue["waiting"], queue["admitted"]) == (0, zeros, zeros)
        assert queue["refused"].keys() == zeros.keys()
        assert (second["name"], second["state"], second["report"]) == ("far", "draining", None)

    def test_a_verified_caller_may_look(self, client: TestClient) -> None:
        assert client.get("/api/upstreams", headers=RED).status_code == 200

    def test_a_caller_who_is_not_known_sees_nothing(self, client: TestClient) -> None:
        document = problem(client.get("/api/upstreams", headers={"x-token": "bad"}), 401)
        assert "upstreams" not in document


class TestChange:
    def test_to_drain_and_to_bring_back(self, client: TestClient, node: FakeNode) -> None:
        for state in ("draining", "active"):
            response = client.put("/api/upstreams/gpu", json={"state": state})
            assert response.status_code == 200
            (one,) = response.json()["upstreams"]
            assert (one["name"], one["state"]) == ("gpu", state)
            assert node.states["gpu"] == state

    def test_to_say_what_is_so_already_changes_nothing(
        self, client: TestClient, node: FakeNode
    ) -> None:
        assert client.put("/api/upstreams/far", json=DRAIN).status_code == 200
        assert node.states == {"gpu": "active", "far": "draining"}

    def test_an_unknown_name_is_answered_with_the_known_ones(self, client: TestClient) -> None:
        document = problem(client.put("/api/upstreams/gup", json=DRAIN), 404)
        assert document["detail"] == "no upstream is named 'gup'; there are: gpu, far"

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"state": "asleep"}, "body.state"),
            ({"state": "Draining"}, "body.state"),
            ({"state": None}, "body.state"),
            ({}, "body.state"),
            ({"state": "draining", "until": 5}, "body.until"),
            (["draining"], "body"),
        ],
    )
    def test_a_state_that_is_none(
        self, client: TestClient, node: FakeNode, body: object, field: str
    ) -> None:
        document = problem(client.put("/api/upstreams/gpu", json=body), 422)
        assert [error["field"] for error in document["errors"]] == [field]
        assert node.states["gpu"] == "active"

    def test_a_body_that_is_no_text(self, client: TestClient) -> None:
        headers = {"content-type": "application/json"}
        problem(client.put("/api/upstreams/gpu", content=b"\x80", headers=headers), 400)

    @pytest.mark.parametrize("name", ["x" * 81, "%00" * 100])
    def test_a_name_that_cannot_be(self, client: TestClient, name: str) -> None:
        problem(client.put(f"/api/upstreams/{name}", json=DRAIN), 422)

    def test_a_verified_caller_is_not_the_operator(
        self, client: TestClient, node: FakeNode
    ) -> None:
        """Whoever may use the node may not stop it for everybody else."""
        document = problem(client.put("/api/upstreams/gpu", json=DRAIN, headers=RED), 403)
        assert "operator" in document["detail"]
        problem(client.put("/api/upstreams/no-such", json=DRAIN, headers=RED), 403)
        assert node.states["gpu"] == "active"

    @pytest.mark.parametrize(
        ("address", "status"),
        [
            ("127.0.0.1", 200),
            ("127.8.9.1", 200),
            ("::1", 200),
            ("10.0.0.7", 403),
            ("2001:db8::1", 403),
            ("::ffff:10.0.0.7", 403),
        ],
    )
    def test_the_operator_is_on_this_machine(
        self, node: FakeNode, address: str, status: int
    ) -> None:
        """A node that listens beyond loopback knows nobody, and strangers least of all."""
        with TestClient(create_api(node), client=(address, 50_000)) as client:
            assert client.put("/api/upstreams/gpu", json=DRAIN).status_code == status
            assert client.get("/api/upstreams").status_code == 200
        assert node.states["gpu"] == ("draining" if status == 200 else "active")

    def test_a_caller_who_is_not_known_changes_nothing(
        self, client: TestClient, node: FakeNode
    ) -> None:
        problem(client.put("/api/upstreams/gpu", json=DRAIN, headers={"x-token": "bad"}), 401)
        assert node.states["gpu"] == "active"

    def test_other_methods(self, client: TestClient) -> None:
        assert problem(client.delete("/api/upstreams/gpu"), 405)
        assert problem(client.post("/api/upstreams", json=DRAIN), 405)
