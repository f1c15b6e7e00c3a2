"""`fairlead serve` as a real process on a free port, for tests of the whole."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, Self

START_DEADLINE = 15.0
STOP_DEADLINE = 10.0
_KEPT_LINES = 10_000
_OWN = ("FAIRLEAD_", "OPENAI_", "ANTHROPIC_", "XDG_")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def clean_environ(home: Path) -> dict[str, str]:
    """This process's environment without what would configure a node, an SDK or an assistant."""
    kept = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(_OWN) and name.lower() not in _PROXIES
    }
    return kept | {"HOME": str(home)}


class NodeProcess:
    """A node in `folder`, where its configuration and its data lie; to be used in a `with`.

    It can be stopped or killed and started again on the same data. When the block ends, the node
    is stopped and must not have logged an error.
    """

    def __init__(self, folder: Path, config: str = "", *arguments: str, **environ: str) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.access_log: deque[dict[str, Any]] = deque(maxlen=_KEPT_LINES)
        """Records of the access log, as they came."""
        self.url = ""
        self._config = folder / "fairlead.toml"
        self._config.write_text(config)
        self._arguments = arguments
        self._environ = clean_environ(folder) | environ
        self._log = folder / "node.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._listening = threading.Event()
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        if kind is None:
            assert self.faults() == [], "the node has logged errors"

    @property
    def pid(self) -> int:
        """Of the process that was started (with several workers: of their parent)."""
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> None:
        """Return when `/readyz` says yes; an assertion fails where it does not in time."""
        assert self._process is None, "started already"
        command = [sys.executable, "-m", "fairlead", "serve", "--config", str(self._config)]
        command += ["--port", "0", "--log-format", "json", "--data-dir", str(self.data_dir)]
        self._listening.clear()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self._arguments],
                cwd=self.folder,
                env=self._environ,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self._reader = threading.Thread(target=self._read_output, daemon=True)
        self._reader.start()
        deadline = time.monotonic() + START_DEADLINE
        self._listening.wait(START_DEADLINE)
        assert self.url, f"no start:\n{self.log()}"
        while self._readiness() != 200:
            assert time.monotonic() < deadline, f"not ready:\n{self.log()}"
            time.sleep(0.02)

    def stop(self) -> int:
        """Ask it to end and wait; its exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """End it as a power cut would."""
        return self._end(signal.SIGKILL)

    def log(self) -> str:
        """Everything it has written on standard error."""
        return self._log.read_text(errors="replace")

    def faults(self) -> list[str]:
        """What it has logged as errors, or printed as tracebacks."""
        lines = self.log().splitlines()
        return [line for line in lines if '"level":"error"' in _tight(line) or "Traceback" in line]

    def get(self, path: str) -> bytes:
        """The body that it answers `GET path` with; blocks."""
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:  # noqa: S310 - our own node
            body: bytes = answer.read()
        return body

    def cache(self) -> dict[str, Any]:
        """What `/api/cache` says; blocks."""
        report: dict[str, Any] = json.loads(self.get("/api/cache"))
        return report

    def ended(self, request_id: str) -> dict[str, Any] | None:
        """The access log's record of a request, once it has ended."""
        records = (record for record in list(self.access_log))
        return next((one for one in records if one["request_id"] == request_id), None)

    def metric(self, name: str, *labels: str) -> float:
        """The sum of a metric's samples that have all of `labels` (`name="value"`); blocks."""
        total = 0.0
        for line in self.get("/metrics").decode().splitlines():
            sample, _, value = line.rpartition(" ")
            if sample.partition("{")[0] == name and all(label in sample for label in labels):
                total += float(value)
        return total

    def workers(self) -> list[int]:
        """Process ids of its serving children, where it has several workers."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(pid) for pid in children if b"spawn_main" in _command_line(pid)]

    def _readiness(self) -> int:
        try:
            with urllib.request.urlopen(self.url + "/readyz", timeout=5) as answer:  # noqa: S310 - our own node
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def _read_output(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            record = json.loads(line)
            if record.get("event") == "listening":
                self.url = record["urls"][0]
                self._listening.set()
            else:
                self.access_log.append(record)
        # Without this line a node that dies at its start would be waited for until the deadline.
        self._listening.set()

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        try:
            status = process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            self._close_output(process)
        return status

    def _close_output(self, process: subprocess.Popen[bytes]) -> None:
        if self._reader is not None:
            self._reader.join(STOP_DEADLINE)
        if process.stdout is not None:
            process.stdout.close()
        self.url = ""


def _tight(line: str) -> str:
    return line.replace(" ", "")


def _command_line(pid: str) -> bytes:
    with contextlib.suppress(OSError):  # it has ended since
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
