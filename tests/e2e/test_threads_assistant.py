"""A real assistant's session, stored by the node it went through: listed, found, shown, moved."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fairlead.gateway.simulated import SimulatedOptions, SimulatedServer
from support.aider import AFTER, ANSWERED, ASKED, SCRIPT, Workplace
from support.nodeprocess import NodeProcess, clean_environ
from support.threadapi import call, everything
from support.wire import until

CONFIG = """
[[upstreams]]
name = "simulated"
shape = "simulated"
base_url = "{url}"
"""


@pytest_asyncio.fixture
async def upstream(tmp_path: Path) -> AsyncIterator[SimulatedServer]:
    script = tmp_path / "script.toml"
    script.write_text(SCRIPT)
    options = SimulatedOptions(script=script, ttft=0, prefill=0, tokens_per_second=0)
    async with SimulatedServer(options) as server:
        yield server


def threads(folder: Path, *arguments: str) -> str:
    """What `fairlead threads` prints for the data in `folder`."""
    command = [sys.executable, "-m", "fairlead", "threads", *arguments]
    done = subprocess.run(
        [*command, "--data-dir", str(folder / "data")],
        env=clean_environ(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def stored(node: NodeProcess) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = call(node.url, "GET", "/api/threads/list").body["threads"]
    return found


def answered(node: NodeProcess) -> list[dict[str, Any]]:
    """Threads of this title that end with the answer."""
    threads = [thread for thread in stored(node) if thread["title"] == ASKED]
    return [one for one in threads if ANSWERED in json.dumps(everything(node.url, one["id"])[-1])]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("model", ["openai/simulated", "anthropic/claude-sonnet-4-5"])
async def test_a_session_of_aider_is_a_thread(
    tmp_path: Path, upstream: SimulatedServer, model: str
) -> None:
    (tmp_path / "node").mkdir()
    with NodeProcess(tmp_path / "node", CONFIG.format(url=upstream.url)) as node:
        workplace = Workplace(tmp_path, node)
        await workplace.fresh()
        said = await workplace.aider(model)
        assert workplace.file.read_text() == AFTER, said

        # An exchange is stored after its answer went out.
        await until(lambda: bool(answered(node)), "the answer in a thread")
        (thread,) = answered(node)
        found = call(node.url, "GET", "/api/threads/search?q=change+greeting").body["threads"]
        assert thread["id"] in {one["id"] for one in found}
        last = everything(node.url, thread["id"])[-1]
        assert last["role"] == "assistant"
        node.stop()

    home = tmp_path / "node"
    shown = threads(home, "show", thread["id"])
    assert ASKED in shown
    assert ANSWERED in shown

    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    threads(home, "export", str(first))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with NodeProcess(elsewhere) as empty:
        assert stored(empty) == []
        empty.stop()
    threads(elsewhere, "import", str(first))
    threads(elsewhere, "export", str(second))
    assert first.read_bytes() == second.read_bytes()
    assert threads(elsewhere, "show", thread["id"]) == shown
    with NodeProcess(elsewhere) as moved:
        assert thread in stored(moved)
