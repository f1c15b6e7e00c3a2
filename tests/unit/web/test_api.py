from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from fairlead.errors import CacheStoreError, CapacityError, ClosedError, UpstreamError
from fairlead.web.api import create_api
from fairlead.web.base import Check, NodeView
from unit.web.fakenode import FakeNode

KEY = "01" * 32
RED = {"x-token": "red"}


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def client(node: FakeNode) -> Iterator[TestClient]:
    view: NodeView = node
    with TestClient(create_api(view), follow_redirects=False) as client:
        yield client


def problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["type"] == "about:blank"
    assert document["status"] == status
    assert document["title"]
    return document


class TestHealth:
    def test_a_living_process_says_so_even_when_nothing_else_is_well(
        self, client: TestClient, node: FakeNode
    ) -> None:
        node.health = [Check(name="accepting", ok=False, essential=True)]
        response = client.get("/healthz")
        assert (response.status_code, response.json()) == (
            200,
            {"status": "ok", "version": "1.2.3"},
        )

    def test_ready_when_everything_is(self, client: TestClient) -> None:
        response = client.get("/readyz")
        assert response.status_code == 200
        assert response.json() == {
            "status": "ready",
            "checks": [{"name": "accepting", "ok": True, "detail": "", "essential": True}],
        }

    @pytest.mark.parametrize("name", ["cache store", "upstream up-1"])
    def test_what_only_costs_time_or_models_degrades(
        self, client: TestClient, node: FakeNode, name: str
    ) -> None:
        node.health.append(Check(name=name, ok=False, detail="refused"))
        response = client.get("/readyz")
        assert response.status_code == 200
        assert response.json()["status"] == "degraded"
        assert response.json()["checks"][1]["detail"] == "refused"

    def test_not_ready_while_shutting_down(self, client: TestClient, node: FakeNode) -> None:
        node.health.append(Check(name="cache store", ok=False))
        node.health[0] = Check(name="accepting", ok=False, detail="shutting down", essential=True)
        response = client.get("/readyz")
        assert (response.status_code, response.json()["status"]) == (503, "unready")

    @pytest.mark.parametrize("path", ["/healthz", "/readyz"])
    def test_a_probe_may_use_head(self, client: TestClient, path: str) -> None:
        assert client.head(path).status_code == 200


class TestMetrics:
    def test_prometheus_text(self, client: TestClient) -> None:
        response = client.get("/metrics")
        assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "\nfairlead_inflight_requests 3.0\n" in response.text

    def test_openmetrics_by_accept(self, client: TestClient) -> None:
        response = client.get("/metrics", headers={"accept": "application/openmetrics-text"})
        assert response.headers["content-type"].startswith("application/openmetrics-text;")
        assert response.text.endswith("# EOF\n")


class TestCacheStatistics:
    def test_both_tiers_are_reported(self, client: TestClient) -> None:
        assert client.get("/api/cache").json() == {
            "memory": {"entries": 3, "bytes": 12, "evictions": 13, "expired": 14},
            "persistent": {
                "backend": "sqlite",
                "available": True,
                "entries": 1,
                "bytes": 2,
                "max_bytes": 3,
                "reads": 4,
                "hits": 5,
                "writes": 6,
                "evictions": 7,
                "failures": 8,
            },
            "in_flight": {"calls": 15, "bytes": 16},
            "hits": {"memory": 1, "persistent": 2},
            "misses": 3,
            "collapsed": 4,
            "bypass": {"temperature": 5},
            "stored": 6,
            "not_stored": {"status": 7},
            "persisted": 8,
            "store_failures": 9,
            "tokens_saved": 10,
        }

    def test_no_persistent_tier_is_null(self, client: TestClient, node: FakeNode) -> None:
        node.store = None
        assert client.get("/api/cache").json()["persistent"] is None

    def test_a_caller_who_is_not_known_sees_nothing(self, client: TestClient) -> None:
        document = problem(client.get("/api/cache", headers={"x-token": "bad"}), 401)
        assert (document["detail"], document["code"]) == ("the token is not known", "token")


class TestPurge:
    @pytest.mark.parametrize(
        ("query", "purged"),
        [
            ({"key": KEY}, 1),
            ({"key": "FF" * 32}, 0),
            ({"model": "m1"}, 2),
            ({"tenant": "red"}, 2),
            ({"model": "m1", "tenant": "blue"}, 1),
            ({"key": KEY, "model": "m2"}, 0),
            ({"all": "true"}, 3),
        ],
    )
    def test_the_local_caller_purges_what_it_selects(
        self, client: TestClient, node: FakeNode, query: dict[str, str], purged: int
    ) -> None:
        response = client.delete("/api/cache", params=query)
        assert (response.status_code, response.json()) == (200, {"purged": purged})
        assert len(node.entries) == 3 - purged

    @pytest.mark.parametrize(
        ("query", "purged"),
        [
            ({"all": "true"}, 2),
            ({"model": "m1"}, 1),
            ({"tenant": "red"}, 2),
            ({"tenant": "blue"}, 0),
            ({"key": "03" * 32}, 0),
        ],
    )
    def test_a_verified_caller_reaches_only_its_own_tenant(
        self, client: TestClient, node: FakeNode, query: dict[str, str], purged: int
    ) -> None:
        response = client.delete("/api/cache", params=query, headers=RED)
        assert (response.status_code, response.json()) == (200, {"purged": purged})
        assert (b"\3" * 32, "m1", "blue") in node.entries

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("", "query"),
            ("all=false", "query"),
            ("all=true&model=m1", "query"),
            ("key=zz", "query.key"),
            ("key=" + "0" * 63, "query.key"),
            ("key=" + KEY + "%0A", "query.key"),
            ("model=", "query.model"),
            ("all=perhaps", "query.all"),
            ("all=true&modle=m1", "query.modle"),
            ("everything=true", "query.everything"),
        ],
    )
    def test_what_is_not_one_clear_selection_purges_nothing(
        self, client: TestClient, node: FakeNode, query: str, field: str
    ) -> None:
        document = problem(client.delete("/api/cache?" + query), 422)
        assert field in [error["field"] for error in document["errors"]]
        assert all(error["message"] for error in document["errors"])
        assert len(node.entries) == 3

    def test_a_caller_who_is_not_known_purges_nothing(
        self, client: TestClient, node: FakeNode
    ) -> None:
        problem(client.delete("/api/cache?all=true", headers={"x-token": "bad"}), 401)
        assert len(node.entries) == 3

    @pytest.mark.parametrize(
        ("failure", "status"),
        [
            (CacheStoreError("the store is away"), 503),
            (ClosedError(), 503),
            (CapacityError(), 503),
            (UpstreamError("up-1"), 502),
        ],
    )
    def test_failures_are_problems(
        self, client: TestClient, node: FakeNode, failure: Exception, status: int
    ) -> None:
        node.failure = failure
        assert problem(client.delete("/api/cache?all=true"), status)["detail"]

    def test_a_bug_is_logged_and_told_without_details(
        self, client: TestClient, node: FakeNode, caplog: pytest.LogCaptureFixture
    ) -> None:
        node.failure = RuntimeError("internal detail")
        response = client.delete("/api/cache?all=true", headers={"x-request-id": "abc"})
        document = problem(response, 500)
        assert document == {"type": "about:blank", "title": "Internal Server Error", "status": 500}
        assert response.headers["x-request-id"] == "abc"
        (record,) = (found for found in caplog.records if found.name == "fairlead.web")
        assert (record.request_id, record.path) == ("abc", "/api/cache")  # type: ignore[attr-defined]
        assert record.exc_info is not None


class TestErrors:
    def test_an_unknown_path(self, client: TestClient) -> None:
        assert problem(client.get("/api/nothing"), 404)["title"] == "Not Found"

    def test_a_method_that_is_not_offered(self, client: TestClient) -> None:
        response = client.post("/api/cache")
        problem(response, 405)
        assert response.headers["allow"] == "DELETE, GET"


class TestRequestId:
    @pytest.mark.parametrize("path", ["/healthz", "/api/cache", "/api/nothing", "/docs", "/"])
    def test_every_answer_carries_one(self, client: TestClient, path: str) -> None:
        first, second = (client.get(path).headers["x-request-id"] for _ in range(2))
        assert re.fullmatch("[0-9a-f]{32}", first)
        assert first != second

    @pytest.mark.parametrize("own", ["a", "req_01HX!~", "x" * 128])
    def test_the_clients_own_is_kept(self, client: TestClient, own: str) -> None:
        assert client.get("/healthz", headers={"x-request-id": own}).headers["x-request-id"] == own

    @pytest.mark.parametrize("own", [b"", b"a b", b"x" * 129, "ü".encode(), b"a\tb"])
    def test_an_unusable_one_is_replaced(self, client: TestClient, own: bytes) -> None:
        response = client.get("/healthz", headers=[(b"x-request-id", own)])
        assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])


class TestDescription:
    def test_it_covers_the_model_paths(self, client: TestClient) -> None:
        schema = client.get("/openapi.json").json()
        assert schema["info"]["version"] == "1.2.3"
        assert set(schema["paths"]) == {
            "/healthz",
            "/readyz",
            "/metrics",
            "/api/cache",
            "/api/threads",
            "/api/threads/list",
            "/api/threads/search",
            "/api/threads/{id}",
            "/api/threads/{id}/messages",
            "/api/threads/{id}/share",
            "/api/upstreams",
            "/api/upstreams/{name}",
            "/api/assets/repomap",
            "/api/workspaces",
            "/api/workspaces/{id}",
            "/api/workspaces/{id}/dependencies",
            "/api/workspaces/{id}/files/{path}",
            "/api/workspaces/{id}/glob",
            "/api/workspaces/{id}/search",
            "/api/workspaces/{id}/stat/{path}",
            "/v1/chat/completions",
            "/v1/responses",
            "/v1/embeddings",
            "/v1/models",
            "/v1/messages",
            "/v1/messages/count_tokens",
        }

    def test_every_reference_in_it_leads_somewhere(self, client: TestClient) -> None:
        response = client.get("/openapi.json")
        for name in re.findall(r'"#/components/schemas/([^"]+)"', response.text):
            assert name in response.json()["components"]["schemas"]

    def test_the_page_needs_nothing_from_elsewhere(self, client: TestClient) -> None:
        page = client.get("/docs")
        assert page.headers["content-type"].startswith("text/html")
        assert page.headers["content-security-policy"].startswith("default-src 'self';")
        links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(links) == 4
        for link in links:
            assert not link.startswith(("http:", "https:", "//"))
            if not link.startswith("data:"):
                assert client.get("/" + link).status_code == 200

    def test_the_root_leads_there(self, client: TestClient) -> None:
        assert client.get("/").headers["location"] == "/docs"
