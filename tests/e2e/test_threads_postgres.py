"""A node whose PostgreSQL is killed: models are answered, `/readyz` tells, nothing is lost."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support.nodeprocess import NodeProcess
from support.postgres import PostgresServer
from support.threadapi import Load, call, create, everything

CLIENTS = 4
NOTICED_WITHIN = 10.0
"""Seconds until readiness tells that the database is away, or back."""
CHAT = {"model": "simulated", "messages": [{"role": "user", "content": "asked while it was away"}]}


def readiness(node: NodeProcess, wanted: bool) -> Any:
    """What `/readyz` says, once it says that all is well, or is not."""
    deadline = time.monotonic() + NOTICED_WITHIN
    while True:
        answer = call(node.url, "GET", "/readyz")
        if answer.body["status"] == ("ready" if wanted else "degraded"):
            # Model requests go on, so the node stays in rotation.
            assert answer.status == 200
            return answer.body
        assert time.monotonic() < deadline, answer
        time.sleep(0.05)


def titles(node: NodeProcess) -> list[str]:
    answer = call(node.url, "GET", "/api/threads/list")
    return [thread["title"] for thread in answer.body["threads"]]


@pytest.mark.timeout(90)
def test_a_node_lives_through_the_death_of_its_database(tmp_path: Path) -> None:
    with (
        PostgresServer() as server,
        NodeProcess(tmp_path, FAIRLEAD_STORAGE__URL=server.new_database()) as node,
    ):
        threads = [create(node.url, title=f"client {number}") for number in range(CLIENTS)]
        with Load(node.url, threads, "the load") as load:
            load.wait_for(40)
            server.kill()
            assert "conversations" in str(readiness(node, wanted=False))
            assert call(node.url, "GET", "/healthz").status == 200
            assert call(node.url, "POST", "/v1/chat/completions", CHAT).status == 200
            assert call(node.url, "GET", "/v1/models").status == 200
            server.start()
            readiness(node, wanted=True)
            load.wait_for(len(load.acknowledged) + 40)
        found = [message for thread in threads for message in everything(node.url, thread)]
        # What was asked of a model while the database was away has become a thread all the same.
        assert any("asked while it was away" in title for title in titles(node))

    stored = {message["id"]: message["content"] for message in found}
    assert load.acknowledged.items() <= stored.items()
    assert set(Counter(message["content"] for message in found).values()) == {1}
