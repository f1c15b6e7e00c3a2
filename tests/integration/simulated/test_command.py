"""`fairlead upstream` as a real process."""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from typer.main import get_command

from fairlead.cli.main import app
from fairlead.gateway.simulated import SimulatedOptions, SimulatedServer


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fairlead", "upstream", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def outcome(*arguments: str) -> tuple[int | None, str]:
    async with running(*arguments) as process:
        out, err = await process.communicate()
        # The terminal's frame around typer's errors breaks lines where it likes.
        words = re.sub(r"[\s│╭╮╰╯─]+", " ", (out + err).decode())
        return process.returncode, words


async def greeting(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readuntil(b"Ctrl+C.\n")).decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_says_where_it_is_and_stops_at_a_signal(number: signal.Signals) -> None:
    async with running("--port", "0", "--ttft", "0", "--tokens-per-second", "0") as process:
        said = await greeting(process)
        assert "Simulated" in said
        assert "http://127.0.0.1:" in said
        process.send_signal(number)
        async with asyncio.timeout(10):
            out, err = await process.communicate()
        assert (process.returncode, out, err) == (0, b"", b"")


async def test_the_curl_that_it_prints_works() -> None:
    async with running("--port", "0", "--ttft", "0", "--tokens-per-second", "0") as process:
        command = next(line for line in (await greeting(process)).splitlines() if "curl" in line)
        curl = await asyncio.create_subprocess_exec(
            *shlex.split(command), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await curl.communicate()
    answer = msgspec.json.decode(out)
    assert answer["model"] == "simulated"
    assert answer["choices"][0]["message"]["content"].startswith("Simulated answer")


async def test_every_option_arrives(tmp_path: Path) -> None:
    script = tmp_path / "s.toml"
    script.write_text('[[rule]]\ntext = "scripted"\n')
    options = (
        "--port 0 --name sim-9 --seed 3 --ttft 0 --prefill 0 --tokens-per-second 0 "
        "--answer-tokens 9 --error-rate 1 --error-status 429 --retry-after 44 "
        "--max-concurrency 5 --prefix-cache-blocks 17 --max-body-bytes 1000 "
        f"--model one --model two --script {script}"
    )
    async with running(*options.split()) as process:
        url = re.search(r"at (http://\S+);", await greeting(process))
        assert url is not None
        host, _, port = url[1].removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
        refused = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"GET /stats HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        stats = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert b" 429 " in refused
    assert b"retry-after: 44" in refused
    assert b'"name":"sim-9"' in stats
    assert b'"max_blocks":17' in stats


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--error-status 418", ["--error-status", "418", "429, 500, 503, 529"]),
        ("--error-rate 2", ["--error-rate", "2.0", "from 0 to 1"]),
        ("--tokens-per-second -1", ["--tokens-per-second", "-1.0", "from 0 to"]),
        ("--ttft nan", ["--ttft", "nan", "from 0 to 3,600"]),
        ("--ttft soon", ["--ttft", "'soon'", "use a number"]),
        ("--seed 1.5", ["--seed", "'1.5'", "use a whole number"]),
        ("--port 70000", ["--port", "70000", "0 to 65,535"]),
        ("--model=", ["--model", "at least one name"]),
        ("--script nowhere.toml", ["--script", "nowhere.toml", "No such file"]),
        ("--unknown", ["--unknown"]),
    ],
)
async def test_wrong_usage(arguments: str, told: list[str]) -> None:
    status, words = await outcome(*arguments.split())
    assert status == 2
    assert [part for part in told if part not in words] == []
    assert "Traceback" not in words


def test_the_defaults_that_help_shows_are_the_options_own() -> None:
    shown = {
        parameter.name: parameter.show_default
        for parameter in get_command(app).commands["upstream"].params  # type: ignore[attr-defined]
    }
    shown["models"] = shown["model"]
    for field in msgspec.structs.fields(SimulatedOptions):
        default = field.default
        if field.name == "script":
            continue
        text = default[0] if isinstance(default, tuple) else f"{default}".removesuffix(".0")
        assert shown[field.name] == text


async def test_an_address_in_use_is_a_failure() -> None:
    async with SimulatedServer() as server:
        status, words = await outcome("--port", server.url.rpartition(":")[2])
    assert status == 1
    assert "in use" in words
    assert "Traceback" not in words
