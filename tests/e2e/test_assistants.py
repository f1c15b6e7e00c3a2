"""Real assistants, and a recorded run of one, through a node: right at first, cached after."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from fairlead.gateway.simulated import SimulatedOptions, SimulatedServer
from support.aider import AFTER, COMMIT, SCRIPT, Workplace
from support.nodeprocess import NodeProcess
from support.wire import client, post

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).parents[2]
TRACE = ROOT.parent / "shared" / "traces" / "swe_agent_marshmallow_1867.traj"

CONFIG = """
[server]
shutdown_timeout = 2

[[upstreams]]
name = "simulated"
shape = "simulated"
base_url = "{url}"
"""
OPTIONS: dict[str, Any] = {"ttft": 0, "prefill": 0, "tokens_per_second": 0}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SimulatedServer]:
    script = tmp_path_factory.mktemp("script") / "script.toml"
    script.write_text(SCRIPT)
    async with SimulatedServer(SimulatedOptions(script=script, **OPTIONS)) as server:
        yield server


@pytest.fixture(scope="module")
def node(
    upstream: SimulatedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeProcess]:
    folder = tmp_path_factory.mktemp("node")
    with NodeProcess(folder, CONFIG.format(url=upstream.url)) as started:
        yield started


def asked(upstream: SimulatedServer) -> int:
    return sum(upstream.statistics().requests.values())


@pytest.mark.timeout(120)
@pytest.mark.parametrize("model", ["openai/simulated", "anthropic/claude-sonnet-4-5"])
async def test_aider_edits_a_file_and_the_second_run_is_cached(
    tmp_path: Path, node: NodeProcess, upstream: SimulatedServer, model: str
) -> None:
    workplace = Workplace(tmp_path, node)
    counts = []
    for _ in range(2):
        before, cache = asked(upstream), node.cache()
        await workplace.fresh()
        said = await workplace.aider(model)
        assert workplace.file.read_text() == AFTER, said
        assert COMMIT in await workplace.run("git", "log", "--oneline"), said
        hits = node.cache()["hits"]["memory"] - cache["hits"]["memory"]
        counts.append((asked(upstream) - before, hits))
    # One call for the edit, one for the message of the commit.
    assert counts == [(2, 0), (0, 2)]


class Turn(msgspec.Struct, frozen=True):
    """One step of a recorded run: what the model said and did, what came of it."""

    thought: str
    action: str
    observation: str


class Run(msgspec.Struct, frozen=True):
    """A recorded run."""

    system: str
    task: str
    turns: list[Turn]


@pytest.fixture
def recorded() -> Run:
    if not TRACE.exists():
        pytest.skip(f"the recorded trace is not here: {TRACE.name}")
    document = json.loads(TRACE.read_bytes())
    system, task = (message["content"] for message in document["history"][:2])
    turns = [
        Turn(step["thought"], step["action"], step["observation"])
        for step in document["trajectory"]
    ]
    return Run(system, task, turns)


def conversation(run: Run, turns: int) -> list[dict[str, str]]:
    """The conversation before step `turns`, without its system text."""
    messages = [{"role": "user", "content": run.task}]
    for turn in run.turns[:turns]:
        messages.append({"role": "assistant", "content": f"{turn.thought}\n{turn.action}"})
        messages.append({"role": "user", "content": turn.observation or "(no output)"})
    return messages


def body(run: Run, turns: int, path: str, *, stream: bool) -> bytes:
    """The request of step `turns` in the shape of `path`."""
    messages = conversation(run, turns)
    common: dict[str, Any] = {"model": "simulated", "temperature": 0, "stream": stream}
    if path == "/v1/messages":
        common |= {"system": run.system, "max_tokens": 1000, "messages": messages}
    elif path == "/v1/responses":
        common |= {"instructions": run.system, "input": messages, "store": False}
    else:
        common["messages"] = [{"role": "system", "content": run.system}, *messages]
    return json.dumps(common, ensure_ascii=False).encode()


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
async def test_a_recorded_run_is_replayed_twice(
    node: NodeProcess, upstream: SimulatedServer, recorded: Run, path: str, stream: bool
) -> None:
    steps = [body(recorded, turns, path, stream=stream) for turns in range(len(recorded.turns))]
    assert len(steps) > 10
    before = asked(upstream)
    passes = []
    async with client(node.url) as caller:
        for _ in range(2):
            answers = [await caller.ask(post(path, step)) for step in steps]
            assert {answer.status for answer in answers} == {200}
            statuses = {answer.header(b"cache-status") for answer in answers}
            passes.append((statuses, [answer.body for answer in answers]))
            assert asked(upstream) == before + len(steps)
    (first, told), (second, told_again) = passes
    assert first == {b"fairlead; fwd=miss; stored"}
    assert second == {b"fairlead; hit"}
    assert told_again == told
    assert len(set(told)) == len(steps)
