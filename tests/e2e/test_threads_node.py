"""A node that is killed, and one whose disk runs full, while clients write to its threads."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from support.disks import fill, small_disk
from support.nodeprocess import NodeProcess, clean_environ
from support.threadapi import Load, call, create, everything

CLIENTS, KILLS = 6, 5
BACK_WITHIN = 5.0
"""Seconds from the moment there is room again."""
CHAT = {"model": "simulated", "messages": [{"role": "user", "content": "hello"}]}


def verify(node: NodeProcess) -> None:
    """The program's own check of log, projections and file."""
    arguments = ["threads", "verify", "--data-dir", str(node.data_dir)]
    done = subprocess.run(
        [sys.executable, "-m", "fairlead", *arguments],
        cwd=node.folder,
        env=clean_environ(node.folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(90)
def test_a_killed_node_has_every_message_that_it_acknowledged(tmp_path: Path) -> None:
    said: dict[str, str] = {}
    with NodeProcess(tmp_path) as node:
        threads = [create(node.url, title=f"client {number}") for number in range(CLIENTS)]
        for kill in range(KILLS):
            with Load(node.url, threads, f"round {kill}") as load:
                load.wait_for(10 * (kill + 1))
                node.kill()
            said |= load.acknowledged
            node.start()
        found = [message for thread in threads for message in everything(node.url, thread)]
        node.stop()
        verify(node)

    stored = {message["id"]: message["content"] for message in found}
    assert len(stored) == len(found)
    assert said.items() <= stored.items()
    assert set(Counter(stored.values()).values()) == {1}


@pytest.mark.timeout(60)
def test_a_full_disk_is_answered_with_507_and_goes_on_by_itself(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "16m") as disk, NodeProcess(disk) as node:
        thread = create(node.url, title="on a small disk")
        with Load(node.url, [thread], "the time before") as load:
            load.wait_for(20)
        filler = fill(disk)

        message = {"role": "user", "content": base64.b85encode(os.urandom(50_000)).decode()}
        full = until(507, node, thread, message)
        assert full["status"] == 507
        assert "room" in json.dumps(full)
        # Models go on being asked meanwhile, and what was said can be read.
        assert call(node.url, "POST", "/v1/chat/completions", CHAT).status == 200
        assert load.acknowledged.items() <= told(node, thread).items()

        filler.unlink()
        stored = until(201, node, thread, message)
        assert stored["messages"][0]["id"] in told(node, thread)
        node.stop()
        verify(node)


def told(node: NodeProcess, thread: str) -> dict[str, str]:
    return {message["id"]: message["content"] for message in everything(node.url, thread)}


def until(status: int, node: NodeProcess, thread: str, message: object) -> dict[str, object]:
    """Send it again and again until it is answered like this."""
    deadline = time.monotonic() + BACK_WITHIN
    while True:
        answer = call(node.url, "POST", f"/api/threads/{thread}/messages", message)
        if answer.status == status:
            body: dict[str, object] = answer.body
            return body
        assert answer.status in {201, 507}, answer
        assert time.monotonic() < deadline, answer
