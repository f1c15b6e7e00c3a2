"""`/api/threads` as its callers meet it, over every kind of caller there may be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from fairlead.conversations.database import ConversationDatabase
from fairlead.conversations.sqlite import SqliteThreadStore
from fairlead.core.identity import Principal
from fairlead.errors import StorageFullError, StorageUnavailableError
from fairlead.gateway.legs.base import Headers
from fairlead.web.api import create_api
from unit.web.fakenode import FakeNode

ANN = {"x-who": "acme/ann"}
BOB = {"x-who": "acme/bob"}
EVE = {"x-who": "other/eve"}
UNKNOWN = "01a20766-f3db-73d5-9f8f-5782aac67a1c"
SAID = {"role": "user", "content": "How do signing keys rotate?"}


class Node(FakeNode):
    """Callers are who `x-who` says: tenant/user."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.threads = ConversationDatabase(SqliteThreadStore(path))

    def identify(self, headers: Headers) -> Principal:
        tenant, _, user = dict(headers)[b"x-who"].decode().partition("/")
        return Principal(tenant, user, tenant, verified=True)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "threads.sqlite")


@pytest.fixture
def client(node: Node) -> Iterator[TestClient]:
    with TestClient(create_api(node), raise_server_exceptions=False) as client:
        assert client.portal is not None
        client.portal.call(node.threads.open)
        yield client
        client.portal.call(node.threads.close)


@pytest.fixture
def thread(client: TestClient) -> str:
    response = client.post("/api/threads", json={"messages": [SAID]}, headers=ANN)
    assert response.status_code == 201
    return str(response.json()["id"])


def problem(response: Any, status: int, field: str | None = None) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    if field is not None:
        assert any(field in error["field"] for error in document["errors"]), document
    return document


class TestThreads:
    def test_one_is_begun_with_all_its_fields(self, client: TestClient) -> None:
        response = client.post(
            "/api/threads", json={"title": "Keys", "messages": [SAID, SAID]}, headers=ANN
        )
        body = response.json()
        assert response.status_code == 201
        assert response.headers["location"] == f"/api/threads/{body['id']}"
        assert response.headers["etag"] == '"3"'
        assert list(body) == [
            *("id", "title", "user_id", "team_id", "created", "last_activity", "is_shared"),
            *("version", "message_count", "last_message"),
        ]
        assert (body["title"], body["user_id"], body["team_id"]) == ("Keys", "ann", "acme")
        assert (body["message_count"], body["last_message"]) == (2, SAID["content"])
        assert body["created"].endswith("Z")
        assert len(body["created"]) == 24

    def test_without_a_title_it_has_what_its_user_says(
        self, client: TestClient, thread: str
    ) -> None:
        body = client.get(f"/api/threads/{thread}", headers=ANN).json()
        assert body["title"] == SAID["content"]

    def test_what_is_known_is_not_sent_again(self, client: TestClient, thread: str) -> None:
        tag = client.get(f"/api/threads/{thread}", headers=ANN).headers["etag"]
        path = f"/api/threads/{thread}"
        for known in (tag, f'"0", W/{tag}', "*"):
            response = client.get(path, headers=ANN | {"if-none-match": known})
            assert (response.status_code, response.content) == (304, b"")
            assert response.headers["etag"] == tag
        assert client.get(path, headers=ANN | {"if-none-match": '"0"'}).status_code == 200

    def test_metadata_is_replaced_under_if_match(self, client: TestClient, thread: str) -> None:
        path = f"/api/threads/{thread}"
        first = client.get(path, headers=ANN).headers["etag"]
        given = {"title": "Renamed", "is_shared": True}
        response = client.put(path, json=given, headers=ANN | {"if-match": first})
        assert response.status_code == 200
        assert (response.json()["title"], response.json()["is_shared"]) == ("Renamed", True)
        lost = client.put(path, json={"title": "Late"}, headers=ANN | {"if-match": first})
        assert "read it again" in problem(lost, 412)["detail"]
        assert client.get(path, headers=ANN).json()["title"] == "Renamed"
        anyway = client.put(path, json={"title": "Late"}, headers=ANN | {"if-match": "*"})
        assert (anyway.status_code, anyway.json()["is_shared"]) == (200, True)

    @pytest.mark.parametrize("tag", ['W/"2"', '"two"', "2", '"99"'])
    def test_a_tag_that_is_not_the_versions_changes_nothing(
        self, client: TestClient, thread: str, tag: str
    ) -> None:
        path = f"/api/threads/{thread}"
        problem(client.put(path, json={"title": "x"}, headers=ANN | {"if-match": tag}), 412)
        problem(client.delete(path, headers=ANN | {"if-match": tag}), 412)

    def test_without_if_match_nothing_is_replaced(self, client: TestClient, thread: str) -> None:
        response = client.put(f"/api/threads/{thread}", json={"title": "x"}, headers=ANN)
        problem(response, 428, "if-match")

    def test_a_deleted_one_is_gone(self, client: TestClient, thread: str) -> None:
        path = f"/api/threads/{thread}"
        assert client.delete(path, headers=ANN).status_code == 204
        for response in (
            client.get(path, headers=ANN),
            client.get(path + "/messages", headers=ANN),
            client.delete(path, headers=ANN),
            client.post(path + "/messages", json=SAID, headers=ANN),
        ):
            problem(response, 404)
        assert client.get("/api/threads/list", headers=ANN).json()["threads"] == []


class TestMessages:
    def test_one_or_several_are_added(self, client: TestClient, thread: str) -> None:
        path = f"/api/threads/{thread}/messages"
        blocks = [{"type": "text", "text": "Run keys rotate."}]
        one = client.post(path, json={"role": "assistant", "content": blocks}, headers=ANN)
        assert one.status_code == 201
        assert [placed["sequence"] for placed in one.json()["messages"]] == [2]
        more = client.post(path, json={"messages": [SAID, SAID]}, headers=ANN)
        assert [placed["sequence"] for placed in more.json()["messages"]] == [3, 4]
        assert more.headers["etag"] == f'"{more.json()["version"]}"'
        page = client.get(path, headers=ANN).json()
        assert [message["sequence"] for message in page["messages"]] == [1, 2, 3, 4]
        assert list(page["messages"][1]) == [
            *("id", "sequence", "role", "timestamp", "content", "metadata"),
        ]
        assert page["messages"][1]["content"] == blocks
        assert page["messages"][1]["id"] == one.json()["messages"][0]["id"]

    def test_pages_lead_to_each_other(self, client: TestClient, thread: str) -> None:
        path = f"/api/threads/{thread}/messages"
        client.post(path, json={"messages": [SAID] * 9}, headers=ANN)
        page = client.get(path, params={"limit": 4}, headers=ANN).json()
        assert [message["sequence"] for message in page["messages"]] == [7, 8, 9, 10]
        assert (page["next"], page["previous"]) == (None, 7)
        before = {"limit": 4, "before": page["previous"]}
        page = client.get(path, params=before, headers=ANN).json()
        assert [message["sequence"] for message in page["messages"]] == [3, 4, 5, 6]
        after = {"limit": 4, "after": page["next"]}
        page = client.get(path, params=after, headers=ANN).json()
        assert [message["sequence"] for message in page["messages"]] == [7, 8, 9, 10]

    def test_time_and_metadata_are_kept(self, client: TestClient, thread: str) -> None:
        path = f"/api/threads/{thread}/messages"
        given = {"timestamp": "2024-02-29T12:00:00.250+02:00", "metadata": {"model": "m", "n": 1}}
        client.post(path, json={"role": "assistant", "content": None, **given}, headers=ANN)
        message = client.get(path, headers=ANN).json()["messages"][-1]
        assert message["timestamp"] == "2024-02-29T10:00:00.250Z"
        assert (message["content"], message["metadata"]) == (None, given["metadata"])

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"role": "", "content": "x"}, "role"),
            ({"role": "user"}, "content"),
            ({"content": "x"}, "role"),
            ({"role": "user", "content": "x", "timestamp": "yesterday"}, "timestamp"),
            ({"role": "user", "content": "x", "timestamp": 5}, "timestamp"),
            ({"role": "user", "content": "x", "extra": 1}, "extra"),
            ({"messages": []}, "messages"),
            ({"messages": [{"role": "user"}]}, "content"),
            ({"role": "a\tb", "content": "x"}, "role"),
        ],
    )
    def test_what_does_not_fit_names_its_field(
        self, client: TestClient, thread: str, body: Any, field: str
    ) -> None:
        response = client.post(f"/api/threads/{thread}/messages", json=body, headers=ANN)
        problem(response, 422, field)

    def test_deep_nesting_and_broken_text_are_refused(
        self, client: TestClient, thread: str
    ) -> None:
        path = f"/api/threads/{thread}/messages"
        deep = '{"role":"user","content":' + "[" * 50_000 + "]" * 50_000 + "}"
        half = '{"role":"user","content":"\\ud800"}'
        nan = '{"role":"user","content":NaN}'
        for body in (deep, half, nan, '{"role":', "\xff"):
            headers = ANN | {"content-type": "application/json"}
            response = client.post(path, content=body, headers=headers)
            assert response.status_code in {400, 422}, body[:40]
        assert client.get(path, headers=ANN).json()["messages"][-1]["sequence"] == 1


class TestListsAndSearches:
    def test_a_listing_is_read_page_by_page(self, client: TestClient) -> None:
        for title in ("c", "a", "b", "d", "e"):
            client.post("/api/threads", json={"title": title}, headers=ANN)
        titles: list[str] = []
        cursor = None
        while True:
            given = {"order": "title", "limit": 2} | ({"cursor": cursor} if cursor else {})
            page = client.get("/api/threads/list", params=given, headers=ANN).json()
            titles += [thread["title"] for thread in page["threads"]]
            if not (cursor := page["next"]):
                break
        assert titles == ["a", "b", "c", "d", "e"]

    def test_search_tells_what_it_has_found_and_where(
        self, client: TestClient, thread: str
    ) -> None:
        found = client.get("/api/threads/search", params={"q": "ROTATE"}, headers=ANN).json()
        (hit,) = found["threads"]
        assert hit["id"] == thread
        match = next(match for match in hit["matches"] if match["sequence"] == 1)
        (first, last) = match["highlights"][0]
        assert match["snippet"][first:last] == "rotate"

    @pytest.mark.parametrize(
        ("path", "given", "status", "field"),
        [
            ("list", {"order": "size"}, 422, "order"),
            ("list", {"scope": "all"}, 422, "scope"),
            ("list", {"limit": 0}, 422, "limit"),
            ("list", {"cursor": "junk"}, 400, "cursor"),
            ("search", {}, 422, "q"),
            ("search", {"q": "?!"}, 422, "q"),
            ("search", {"q": "x", "cursor": "junk"}, 400, "cursor"),
        ],
    )
    def test_what_does_not_fit_names_its_parameter(
        self, client: TestClient, path: str, given: dict[str, Any], status: int, field: str
    ) -> None:
        problem(client.get(f"/api/threads/{path}", params=given, headers=ANN), status, field)


class TestWhoMay:
    @pytest.mark.parametrize("who", [BOB, EVE], ids=["tenant", "stranger"])
    def test_what_is_not_shared_does_not_exist_for_others(
        self, client: TestClient, thread: str, who: dict[str, str]
    ) -> None:
        path = f"/api/threads/{thread}"
        for response in every_operation(client, path, who):
            problem(response, 404)
        assert client.get("/api/threads/list", headers=who).json()["threads"] == []
        search = client.get("/api/threads/search", params={"q": "keys"}, headers=who)
        assert search.json()["threads"] == []
        assert client.get(path, headers=ANN).json()["version"] == 2

    def test_the_tenant_reads_what_is_shared_and_changes_nothing(
        self, client: TestClient, thread: str
    ) -> None:
        path = f"/api/threads/{thread}"
        assert client.post(path + "/share", headers=ANN).json()["is_shared"] is True
        reads, writes = every_operation(client, path, BOB)[:2], every_operation(client, path, BOB)
        assert [response.status_code for response in reads] == [200, 200]
        for response in writes[2:]:
            assert "only its owner" in problem(response, 403)["detail"]
        for response in every_operation(client, path, EVE):
            problem(response, 404)
        shared = client.get("/api/threads/list", params={"scope": "shared"}, headers=BOB).json()
        assert [one["id"] for one in shared["threads"]] == [thread]
        assert client.delete(path + "/share", headers=ANN).json()["is_shared"] is False
        problem(client.get(path, headers=BOB), 404)

    def test_a_cursor_shows_nobody_elses_threads(self, client: TestClient) -> None:
        for _ in range(3):
            client.post("/api/threads", json={"messages": [SAID]}, headers=ANN)
        page = client.get("/api/threads/list", params={"limit": 1}, headers=ANN).json()
        given = {"limit": 1, "cursor": page["next"]}
        assert client.get("/api/threads/list", params=given, headers=EVE).json()["threads"] == []

    @pytest.mark.parametrize("name", [UNKNOWN, "x", "..", "%00", "list/messages", "{}", "1" * 64])
    def test_an_id_that_is_none_does_not_exist(self, client: TestClient, name: str) -> None:
        problem(client.get(f"/api/threads/{name}/messages", headers=ANN), 404)


def every_operation(client: TestClient, path: str, who: dict[str, str]) -> list[Any]:
    """Reads first: two of them."""
    return [
        client.get(path, headers=who),
        client.get(path + "/messages", headers=who),
        client.post(path + "/messages", json=SAID, headers=who),
        client.put(path, json={"title": "mine"}, headers=who | {"if-match": "*"}),
        client.post(path + "/share", headers=who),
        client.delete(path + "/share", headers=who),
        client.delete(path, headers=who),
    ]


@pytest.mark.parametrize(
    ("failure", "status", "words"),
    [
        (StorageFullError(), 507, "nothing was written"),
        (StorageUnavailableError(), 503, "away"),
    ],
)
def test_a_store_that_fails_says_so(
    client: TestClient,
    node: Node,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    status: int,
    words: str,
) -> None:
    async def write(*_: object) -> None:
        raise failure

    monkeypatch.setattr(node.threads.writer, "write", write)
    response = client.post("/api/threads", json={"messages": [SAID]}, headers=ANN)
    assert words in problem(response, status)["detail"]
