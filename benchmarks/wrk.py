"""Throughput by wrk: one thread, a fixed number of connections, as fast as the server answers."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.bodies import NONCE
from benchmarks.machine import BenchmarkError, pinned

Variation = Literal["same", "unique", "mixed"]

_MOST_A_SECOND = 200_000
_SCRIPT = """\
local file = io.open("{body}", "rb")
local body = file:read("*a")
file:close()
wrk.method = "POST"
wrk.body = body
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer benchmark"
wrk.headers["user-agent"] = "fairlead-benchmark"
local variation, counter = "{variation}", {first}
local same, before, after

function init(arguments)
  same = wrk.format("POST", nil, nil, body)
  local begin, finish = same:find("{nonce}", 1, true)
  before = same:sub(1, begin + 5)
  after = same:sub(finish + 1)
end

if variation ~= "same" then
  function request()
    counter = counter + 1
    if variation == "mixed" and counter % 2 == 0 then return same end
    return before .. string.format("%010d", counter) .. after
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\\n{{"requests": %d, "microseconds": %d, "status": %d, "socket": %d, "timeout": %d}}\\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write, errors.timeout))
end
"""


@dataclass(frozen=True)
class Throughput:
    """What wrk counted. `failed` are answers other than 2xx and 3xx, and broken connections."""

    requests: int
    seconds: float
    failed: int

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


class Wrk:
    """wrk with its scripts in a directory of the run; its unique requests never come twice."""

    def __init__(self, directory: Path, core: int) -> None:
        program = shutil.which("wrk")
        if program is None:
            raise BenchmarkError("wrk is not installed: apt install wrk")
        self._program, self._directory, self._core = program, directory, core
        self._next = 1

    def run(
        self, url: str, body: bytes, variation: Variation, connections: int, seconds: float
    ) -> Throughput:
        """Send `body` for `seconds` on `connections`; raises `BenchmarkError` where wrk fails."""
        duration = max(1, round(seconds))
        (self._directory / "body.json").write_bytes(body)
        script = self._directory / "request.lua"
        script.write_text(
            _SCRIPT.format(
                body=self._directory / "body.json",
                variation=variation,
                # More than any server can answer, so that no two runs share a number.
                first=self.numbers(duration * _MOST_A_SECOND),
                nonce=NONCE.decode(),
            ),
            encoding="utf-8",
        )
        arguments = [self._program, "-t1", f"-c{connections}", f"-d{duration}s", "--timeout", "30s"]
        arguments += ["-s", str(script), f"{url}/v1/chat/completions"]
        limit = duration + 40
        try:
            with pinned(self._core):
                shown = subprocess.run(
                    arguments, capture_output=True, text=True, timeout=limit, check=False
                )
        except subprocess.TimeoutExpired as error:
            raise BenchmarkError(f"wrk did not end within {limit} s") from error
        return _read(shown)

    def numbers(self, count: int = 1) -> int:
        """The first of `count` numbers for unique requests, which nothing else in the run gets."""
        first = self._next
        self._next += count
        return first


def _read(shown: subprocess.CompletedProcess[str]) -> Throughput:
    lines = [line for line in shown.stdout.splitlines() if line.startswith('{"requests"')]
    if shown.returncode or not lines:
        raise BenchmarkError(f"wrk failed: {(shown.stderr or shown.stdout).strip()[-300:]}")
    counted = json.loads(lines[0])
    failed = counted["status"] + counted["socket"] + counted["timeout"]
    return Throughput(counted["requests"], counted["microseconds"] / 1e6, failed)
