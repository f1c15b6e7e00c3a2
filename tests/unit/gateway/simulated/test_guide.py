"""The guide's examples work, and it names every option, header and condition."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fairlead.gateway.simulated import SimulatedOptions, load_script
from fairlead.gateway.simulated.controls import Controls
from fairlead.gateway.simulated.script import Rule

GUIDE = (Path(__file__).parents[4] / "docs/guides/simulated-upstream.md").read_text()
TOOLS: Any = [
    {"type": "function", "function": {"name": name}} for name in ("read_file", "write_file")
]


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    assert found is not None
    return found[1]


def test_everything_is_named() -> None:
    flags = [name.replace("_", "-") for name in SimulatedOptions.__struct_fields__]
    flags[flags.index("models")] = "model"
    headers = ["x-simulate-" + name.replace("_", "-") for name in Controls.__struct_fields__]
    names = [f"--{flag}" for flag in flags] + headers + list(Rule.__struct_fields__)
    assert [name for name in names if f"`{name}`" not in GUIDE] == []


def test_the_defaults_are_the_options_own() -> None:
    for field in msgspec.structs.fields(SimulatedOptions):
        default = field.default[0] if field.name == "models" else field.default
        flag = "model" if field.name == "models" else field.name.replace("_", "-")
        text = "" if default is None else f"{default}".removesuffix(".0")
        assert re.search(rf"\| `--{flag}` \| {re.escape(text)} ?\|", GUIDE), flag


def test_the_python_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block("python"), "guide", "exec"), {})  # noqa: S102 - the guide's own example
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+ 0\n", capsys.readouterr().out)


async def test_the_script_drives_a_whole_task(client: Any, tmp_path: Path) -> None:
    path = tmp_path / "guide.toml"
    path.write_text(block("toml"))
    one = client(load_script(path))
    messages: list[Any] = [{"role": "user", "content": "Move the login to OAuth."}]
    results = iter(["def login(): ...", "written"])
    called = []
    while True:
        body = {"model": "m", "messages": messages, "tools": TOOLS}
        exchange = await one.ask("/v1/chat/completions", body)
        message = exchange.json["choices"][0]["message"]
        messages.append(message)
        if "tool_calls" not in message:
            break
        call = message["tool_calls"][0]
        called.append(call["function"]["name"])
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": next(results)})
    assert called == ["read_file", "write_file"]
    assert message["content"] == "The login now uses OAuth."


async def test_the_script_edits_by_text_blocks(client: Any, tmp_path: Path) -> None:
    path = tmp_path / "guide.toml"
    path.write_text(block("toml"))
    messages = [
        {"role": "system", "content": "Answer with SEARCH/REPLACE blocks."},
        {"role": "user", "content": "Move it to OAuth."},
    ]
    one = client(load_script(path), answer_tokens=1)
    exchange = await one.ask("/v1/chat/completions", {"model": "m", "messages": messages})
    assert exchange.json["choices"][0]["message"]["content"].startswith("auth.py\n<<<<<<< SEARCH")
