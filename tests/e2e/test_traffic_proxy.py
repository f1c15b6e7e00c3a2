"""A proxy with a password before the upstreams, and lists of models from several of them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from fairlead.testing.upstream import Caller, RawRequest
from support.fleet import CHAT, MESSAGES, asking, scripted, upstreams
from support.nodeprocess import NodeProcess
from support.scripted import Handler, whole
from support.wire import ask, post, until

PASSWORD = "word-of-the-proxy"  # a made-up one
ELSEWHERE = """
[server]
shutdown_timeout = 2

[balancer]
probe_interval = 0.1

[[upstreams]]
name = "by-http"
shape = "simulated"
base_url = "http://upstream.invalid"
models = ["http"]
health_path = "/health"

[[upstreams]]
name = "by-https"
shape = "simulated"
base_url = "https://upstream.invalid"
models = ["https"]
health_path = "/health"
"""


async def _refuses(caller: Caller, _request: RawRequest) -> None:
    await caller.send(whole(b"no", b"407 Proxy Authentication Required", (b"connection: close",)))
    caller.close()


async def _garbage(caller: Caller, _request: RawRequest) -> None:
    await caller.send(b"this is no HTTP\r\n\r\n")
    caller.close()


async def _hangs_up(caller: Caller, _request: RawRequest) -> None:
    caller.reset()


@pytest.mark.parametrize("way", [_refuses, _garbage, _hangs_up, None])
async def test_no_error_tells_the_proxys_password(tmp_path: Path, way: object) -> None:
    """Whatever the proxy does, or if it is away: answers, log, metrics and probes keep quiet."""
    async with scripted(1) as (proxy,):
        if callable(way):
            proxy.play(way)
        url = proxy.url.replace("://", f"://user:{PASSWORD}@")
        if way is None:
            await proxy.close()
        with NodeProcess(tmp_path, ELSEWHERE, FAIRLEAD_NETWORK__PROXY=url) as node:
            answers = {
                scheme: [
                    await ask(node.url, asking("s", path=path, model=scheme))
                    for path in (CHAT, MESSAGES)
                ]
                for scheme in ("http", "https")
            }
            await until(
                lambda: all(one["probe_error"] for one in upstreams(node).values()),
                "the probes have failed",
            )
            pages = [node.get(path).decode() for path in ("/api/upstreams", "/metrics")]
        log = node.log()
    credentials = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
    bodies = [answer.body.decode() for both in answers.values() for answer in both]
    for text in (*bodies, *pages, log):
        assert PASSWORD not in text
        assert credentials not in text
    assert {answer.status for answer in answers["https"]} == {502}
    assert all(b"'by-https'" in answer.body for answer in answers["https"])
    # Over plain HTTP the proxy's own answer may pass as the upstream's; never as 401.
    passed = {407, 502} if way is _refuses else {502}
    assert {answer.status for answer in answers["http"]} <= passed


async def test_every_anthropic_upstream_is_asked_for_its_longest_page(tmp_path: Path) -> None:
    """Their lists come in pages of 20; the merged list would else miss what is on the others."""
    async with scripted(2) as servers:
        for number, server in enumerate(servers):
            server.play(_listing(f"claude-{number}"))
        text = "".join(
            f'[[upstreams]]\nname = "a{n}"\nshape = "anthropic"\nbase_url = "{server.url}"\n'
            for n, server in enumerate(servers)
        )
        with NodeProcess(tmp_path, "[server]\nshutdown_timeout = 2\n" + text) as node:
            version = b"anthropic-version: 2023-06-01"
            answer = await ask(
                node.url, post("/v1/models?limit=5&after_id=x", b"", version, method="GET")
            )
    assert answer.status == 200
    listed = json.loads(answer.body)
    assert [model["id"] for model in listed["data"]] == ["claude-0", "claude-1"]
    assert (listed["first_id"], listed["last_id"]) == ("claude-0", "claude-1")
    assert listed["has_more"] is False
    lines = [request.line for server in servers for request in server.requests]
    assert lines == [b"GET /v1/models?limit=1000 HTTP/1.1"] * 2


def _listing(name: str) -> Handler:
    body = {"data": [{"type": "model", "id": name}], "has_more": False}

    async def answer(caller: Caller, _request: RawRequest) -> None:
        await caller.send(whole(json.dumps(body).encode()))

    return answer
