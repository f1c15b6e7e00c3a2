"""`/api/workspaces` and the repository map as their callers meet them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fairlead.errors import ClientGoneError
from fairlead.settings.sections import WorkspaceSettings
from fairlead.web.workspaces import while_connected
from support.places import ANN, EVE, PlacesNode, places
from support.repositories import SHOP, write

Served = tuple[PlacesNode, httpx2.AsyncClient]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return write(tmp_path / "shop", SHOP)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with places(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def client(served: Served) -> httpx2.AsyncClient:
    return served[1]


@pytest.fixture
async def base(client: httpx2.AsyncClient, shop: Path) -> str:
    return await registered(client, shop)


async def registered(client: httpx2.AsyncClient, path: Path, who: dict[str, str] = ANN) -> str:
    answer = await client.post("/api/workspaces", json={"path": str(path)}, headers=who)
    assert answer.status_code == 201, answer.text
    return str(answer.headers["location"])


def problem(answer: Any, status: int, field: str | None = None) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    if field is not None:
        assert any(field in error["field"] for error in document["errors"]), document
    return str(document["detail"])


class TestRegistering:
    async def test_a_directory_becomes_a_workspace(
        self, client: httpx2.AsyncClient, shop: Path
    ) -> None:
        first = await client.post("/api/workspaces", json={"path": str(shop)}, headers=ANN)
        again = await client.post("/api/workspaces", json={"path": f"{shop}/."}, headers=ANN)
        assert (first.status_code, again.status_code) == (201, 200)
        assert again.json() == first.json()
        body = first.json()
        assert (body["name"], body["path"], body["user_id"]) == ("shop", str(shop), "ann")
        listed = (await client.get("/api/workspaces", headers=ANN)).json()
        assert listed == {"workspaces": [body], "next": None}

    async def test_pages_lead_on(self, client: httpx2.AsyncClient, tmp_path: Path) -> None:
        for number in range(5):
            await registered(client, write(tmp_path / f"w{number}", {"a": ""}))
        names, cursor = [], ""
        while cursor is not None:
            page = await client.get(
                "/api/workspaces", params={"limit": 2, "cursor": cursor}, headers=ANN
            )
            names += [one["name"] for one in page.json()["workspaces"]]
            cursor = page.json()["next"]
        assert sorted(names) == [f"w{number}" for number in range(5)]

    async def test_another_tenants_does_not_exist(
        self, client: httpx2.AsyncClient, base: str, shop: Path
    ) -> None:
        assert (await client.get("/api/workspaces", headers=EVE)).json()["workspaces"] == []
        for path in ("files/README.md", "stat/README.md", "glob?pattern=**", "search?q=shop"):
            problem(await client.get(f"{base}/{path}", headers=EVE), 404)
        problem(await client.put(f"{base}/files/x", content=b"x", headers=EVE), 404)
        problem(await client.delete(base, headers=EVE), 404)
        name = base.rpartition("/")[2]
        for asked in (name, "shop"):
            answer = await client.get(f"/api/assets/repomap?workspace={asked}", headers=EVE)
            problem(answer, 404)
        # The same directory may be a workspace of both; each has its own.
        theirs = await registered(client, shop, EVE)
        assert theirs != base
        assert (await client.delete(theirs, headers=EVE)).status_code == 204
        assert (await client.get(f"{base}/stat/", headers=ANN)).status_code == 200

    async def test_one_that_was_forgotten_is_gone(
        self, client: httpx2.AsyncClient, base: str, shop: Path
    ) -> None:
        assert (await client.get(f"{base}/files/README.md", headers=ANN)).status_code == 200
        assert (await client.delete(base, headers=ANN)).status_code == 204
        problem(await client.get(f"{base}/files/README.md", headers=ANN), 404)
        problem(await client.delete(base, headers=ANN), 404)
        assert (shop / "README.md").exists()

    @pytest.mark.parametrize("path", ["relative", "/no/such/directory", "/etc/hostname", "/\0"])
    async def test_what_is_no_directory_is_refused(
        self, client: httpx2.AsyncClient, path: str
    ) -> None:
        answer = await client.post("/api/workspaces", json={"path": path}, headers=ANN)
        problem(answer, 422, "path")

    @pytest.mark.parametrize("place", ["/", ".", "data", "data/run"])
    async def test_what_holds_the_nodes_own_data_is_refused(
        self, client: httpx2.AsyncClient, tmp_path: Path, place: str
    ) -> None:
        (tmp_path / "data" / "run").mkdir()
        answer = await client.post(
            "/api/workspaces", json={"path": str(tmp_path / place)}, headers=ANN
        )
        assert "own data" in problem(answer, 403)

    @pytest.mark.parametrize(
        ("body", "field"),
        [({}, "path"), ({"path": "/tmp", "name": "a\nb"}, "name"), ({"x": 1}, "x")],
    )
    async def test_a_body_that_does_not_fit_names_its_field(
        self, client: httpx2.AsyncClient, body: object, field: str
    ) -> None:
        problem(await client.post("/api/workspaces", json=body, headers=ANN), 422, field)

    async def test_only_below_the_roots_that_are_set(self, tmp_path: Path, shop: Path) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "other", target_is_directory=True)
        write(tmp_path / "other", {"a": ""})
        rules = WorkspaceSettings(roots=(shop, tmp_path / "in"), watch=False)
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "out").symlink_to(tmp_path / "other", target_is_directory=True)
        async with places(tmp_path / "data", rules, host="10.0.0.1") as (_, client):
            await registered(client, shop / "shop")
            for place in ("other", "link", "in/out"):
                answer = await client.post(
                    "/api/workspaces", json={"path": str(tmp_path / place)}, headers=ANN
                )
                assert "workspaces.roots" in problem(answer, 403)

    async def test_on_an_open_address_none_without_roots(self, tmp_path: Path, shop: Path) -> None:
        async with places(tmp_path / "data", host="10.0.0.1") as (_, client):
            answer = await client.post("/api/workspaces", json={"path": str(shop)}, headers=ANN)
            assert "workspaces.roots" in problem(answer, 403)

    async def test_too_many_open_are_closed_the_longest_unused_first(self, tmp_path: Path) -> None:
        rules = WorkspaceSettings(max_open=2, watch=False)
        async with places(tmp_path / "data", rules) as (node, client):
            for number in range(4):
                base = await registered(client, write(tmp_path / f"w{number}", {"a": "x"}))
                assert (await client.get(f"{base}/files/a", headers=ANN)).text == "x"
            assert node.workspaces.counts().opened == 2
            assert node.workspaces.counts().done["read"] == 4


class TestFiles:
    async def test_a_file_is_read_with_its_etag(
        self, client: httpx2.AsyncClient, base: str
    ) -> None:
        answer = await client.get(f"{base}/files/shop/prices.py", headers=ANN)
        assert answer.text == SHOP["shop/prices.py"]
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"
        known = {**ANN, "if-none-match": answer.headers["etag"]}
        same = await client.get(f"{base}/files/shop/prices.py", headers=known)
        assert (same.status_code, same.content) == (304, b"")
        head = await client.head(f"{base}/files/shop/prices.py", headers=ANN)
        assert head.headers["content-length"] == str(len(SHOP["shop/prices.py"]))

    @pytest.mark.parametrize(
        ("asked", "status", "given"),
        [
            ("bytes=0-3", 206, b"def "),
            ("bytes=4-", 206, b"total_price(cart):\n    return sum(cart)\n"),
            ("bytes=-6", 206, b"cart)\n"),
            ("bytes=0-999999", 206, SHOP["shop/prices.py"].encode()),
            ("bytes=-999999", 206, SHOP["shop/prices.py"].encode()),
            ("bytes=99-", 416, None),
            ("bytes=-0", 416, None),
            ("bytes=5-2", 416, None),
            ("bytes=0-1,3-4", 200, None),
            ("lines=1-2", 200, None),
            (f"bytes=0-{'9' * 40}", 206, None),
        ],
    )
    async def test_a_range(
        self, client: httpx2.AsyncClient, base: str, asked: str, status: int, given: bytes | None
    ) -> None:
        answer = await client.get(f"{base}/files/shop/prices.py", headers={**ANN, "range": asked})
        assert answer.status_code == status
        assert given is None or answer.content == given

    async def test_lines(self, client: httpx2.AsyncClient, base: str) -> None:
        answer = await client.get(f"{base}/files/shop/cart.py?first=4&last=5", headers=ANN)
        body = answer.json()
        assert body["text"] == "class ShoppingCart:\n    def checkout_now(self):\n"
        assert (body["first"], body["last"], body["lines"]) == (4, 5, 6)

    async def test_nothing_is_taken_for_a_page(
        self, client: httpx2.AsyncClient, base: str, shop: Path
    ) -> None:
        (shop / "page.html").write_text("<script>alert(1)</script>")
        (shop / "data.bin").write_bytes(b"\0\1")
        page = await client.get(f"{base}/files/page.html", headers=ANN)
        assert page.headers["content-type"].startswith("text/plain")
        assert page.headers["content-security-policy"] == "sandbox"
        data = await client.get(f"{base}/files/data.bin", headers=ANN)
        assert data.headers["content-type"] == "application/octet-stream"

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            ("%2e%2e/secret", 400),
            ("..%2fsecret", 400),
            ("shop/%2e%2e/%2e%2e/secret", 400),
            ("%2Fetc/passwd", 400),
            ("/etc/passwd", 400),
            ("a%00b", 400),
            ("%252e%252e/secret", 404),
            ("..%5csecret", 404),
            ("out/secret", 403),
            ("link", 403),
            ("loop", 403),
            ("shop", 409),
            ("none", 404),
            ("a" * 300, 400),
        ],
    )
    async def test_no_path_leads_out(
        self, client: httpx2.AsyncClient, base: str, shop: Path, path: str, status: int
    ) -> None:
        (shop.parent / "secret").write_text("SECRET")
        (shop / "out").symlink_to(shop.parent, target_is_directory=True)
        (shop / "link").symlink_to(shop.parent / "secret")
        (shop / "loop").symlink_to("loop")
        url = httpx2.URL(f"http://127.0.0.1{base}/files/x")
        raw = f"{base}/files/{path}".encode()
        request = client.build_request("GET", url, headers=ANN)
        request.url = url.copy_with(raw_path=raw)
        answer = await client.send(request)
        problem(answer, status)
        assert "SECRET" not in answer.text

    async def test_a_file_is_written_and_none_is_lost(
        self, client: httpx2.AsyncClient, base: str, shop: Path
    ) -> None:
        new = await client.put(f"{base}/files/notes/new.md", content=b"one", headers=ANN)
        assert (new.status_code, new.json()) == (201, {"path": "notes/new.md", "size": 3})
        etag = new.headers["etag"]
        problem(await client.put(f"{base}/files/notes/new.md", content=b"x", headers=ANN), 428)
        known = {**ANN, "if-match": etag}
        second = await client.put(f"{base}/files/notes/new.md", content=b"two", headers=known)
        assert second.status_code == 200
        problem(await client.put(f"{base}/files/notes/new.md", content=b"x", headers=known), 412)
        for tag in (f"W/{etag}", '"else"'):
            stale = {**ANN, "if-match": tag}
            problem(await client.put(f"{base}/files/notes/new.md", content=b"", headers=stale), 412)
        anyway = {**ANN, "if-match": "*"}
        assert (
            await client.put(f"{base}/files/notes/new.md", content=b"three", headers=anyway)
        ).status_code == 200
        assert (shop / "notes" / "new.md").read_text() == "three"
        absent = await client.put(f"{base}/files/absent", content=b"", headers=anyway)
        problem(absent, 412)

    async def test_a_body_that_is_too_large_is_refused(self, tmp_path: Path, shop: Path) -> None:
        rules = WorkspaceSettings(max_file_bytes=100, watch=False)
        async with places(tmp_path / "data", rules) as (_, client):
            base = await registered(client, shop)
            problem(await client.put(f"{base}/files/big", content=b"x" * 101, headers=ANN), 413)
            coded = {**ANN, "content-encoding": "gzip"}
            problem(await client.put(f"{base}/files/big", content=b"x", headers=coded), 415)
            assert not (shop / "big").exists()

    async def test_a_node_that_writes_nothing(self, tmp_path: Path, shop: Path) -> None:
        rules = WorkspaceSettings(writable=False, watch=False)
        async with places(tmp_path / "data", rules) as (_, client):
            base = await registered(client, shop)
            answer = await client.put(f"{base}/files/new", content=b"", headers=ANN)
            assert "workspaces.writable" in problem(answer, 403)

    async def test_what_a_path_leads_to(
        self, client: httpx2.AsyncClient, base: str, shop: Path
    ) -> None:
        (shop / "README.md").chmod(0o600)
        os.utime(shop / "README.md", ns=(0, 1_700_000_000_123_000_000))
        file = (await client.get(f"{base}/stat/README.md", headers=ANN)).json()
        assert file == {
            "path": "README.md",
            "kind": "file",
            "size": 9,
            "modified": "2023-11-14T22:13:20.123Z",
            "mode": "0600",
        }
        assert (await client.get(f"{base}/stat/", headers=ANN)).json()["kind"] == "directory"


class TestFinding:
    async def test_globs(self, client: httpx2.AsyncClient, base: str, shop: Path) -> None:
        (shop / ".gitignore").write_text("*.log\n")
        write(shop, {"a.log": "", ".hidden.py": ""})

        async def paths(**params: object) -> list[str]:
            answer = await client.get(f"{base}/glob", params=params, headers=ANN)
            assert answer.status_code == 200, answer.text
            found: list[str] = answer.json()["paths"]
            return found

        assert await paths(pattern="shop/*.py") == [
            *("shop/__init__.py", "shop/cart.py", "shop/prices.py")
        ]
        assert await paths(pattern="*.{log,py}") == []
        assert await paths(pattern="*.log", ignored=True) == ["a.log"]
        assert await paths(pattern="*.py", hidden=True) == [".hidden.py"]
        problem(await client.get(f"{base}/glob?pattern=[", headers=ANN), 422, "pattern")
        short = await client.get(f"{base}/glob?pattern=**&limit=2", headers=ANN)
        assert short.json()["complete"] is False

    async def test_searches(self, client: httpx2.AsyncClient, base: str) -> None:
        params: dict[str, str | int] = {"q": "checkout_now", "context": 1, "glob": "cart.py"}
        answer = await client.get(f"{base}/search", params=params, headers=ANN)
        assert answer.json() == {
            "matches": [
                {
                    "path": "shop/cart.py",
                    "line": 5,
                    "column": 9,
                    "length": 12,
                    "text": "    def checkout_now(self):",
                    "before": ["class ShoppingCart:"],
                    "after": ["        return total_price(self)"],
                }
            ],
            "complete": True,
        }
        bad = await client.get(f"{base}/search", params={"q": "(", "regex": True}, headers=ANN)
        assert "unclosed group" in problem(bad, 422, "q")

    async def test_a_caller_that_goes_away_ends_the_work(self) -> None:
        ended = asyncio.Event()

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        class Gone:
            async def receive(self) -> dict[str, str]:
                return {"type": "http.disconnect"}

        with pytest.raises(ClientGoneError):
            await while_connected(Gone(), work())  # type: ignore[arg-type] # all that is asked
        assert ended.is_set()

    async def test_dependencies(self, client: httpx2.AsyncClient, base: str) -> None:
        answer = await client.get(f"{base}/dependencies", headers=ANN)
        assert answer.json()["uses"] == {
            "shop/cart.py": ["shop/prices.py"],
            "tests/test_cart.py": ["shop/cart.py"],
        }
        known = {**ANN, "if-none-match": answer.headers["etag"]}
        assert (await client.get(f"{base}/dependencies", headers=known)).status_code == 304
        one = await client.get(f"{base}/dependencies?path=shop", headers=ANN)
        assert list(one.json()["uses"]) == ["shop/cart.py"]
        problem(await client.get(f"{base}/dependencies?path=none", headers=ANN), 404)


class TestMaps:
    async def test_a_map_is_text_with_an_etag_that_an_edit_changes(
        self, client: httpx2.AsyncClient, base: str, shop: Path
    ) -> None:
        answer = await client.get("/api/assets/repomap?tokens=500", headers=ANN)
        assert "shop/cart.py:\n class ShoppingCart:\n  def checkout_now(self):" in answer.text
        known = {**ANN, "if-none-match": answer.headers["etag"]}
        assert (
            await client.get("/api/assets/repomap?tokens=500", headers=known)
        ).status_code == 304
        write(shop, {"shop/prices.py": "def discounted_price(cart):\n    return 0\n"})
        changed = await client.get("/api/assets/repomap?tokens=500", headers=known)
        assert changed.status_code == 200
        assert "discounted_price" in changed.text

    async def test_json_and_focus(self, client: httpx2.AsyncClient, base: str) -> None:
        name = base.rpartition("/")[2]
        params = {"workspace": name, "focus": ["renderCart,web/index.ts"], "tokens": 100}
        answer = await client.get(
            "/api/assets/repomap", params=params, headers={**ANN, "accept": "application/json"}
        )
        body = answer.json()
        assert body["files"][0]["path"] == "web/index.ts"
        assert body["tokens"] <= 100
        assert body["total_files"] == len(SHOP)
        assert answer.headers["vary"] == "accept"

    async def test_which_workspace_has_to_be_said_where_there_are_several(
        self, client: httpx2.AsyncClient, base: str, tmp_path: Path
    ) -> None:
        await registered(client, write(tmp_path / "second", {"a.py": "x = 1\n"}))
        problem(await client.get("/api/assets/repomap", headers=ANN), 422, "workspace")
        named = await client.get("/api/assets/repomap?workspace=shop", headers=ANN)
        assert named.status_code == 200

    @pytest.mark.parametrize("query", ["tokens=1", "tokens=x", "tokens=9999999", "format=xml"])
    async def test_what_does_not_fit_is_refused(
        self, client: httpx2.AsyncClient, base: str, query: str
    ) -> None:
        problem(await client.get(f"/api/assets/repomap?{query}", headers=ANN), 422)
