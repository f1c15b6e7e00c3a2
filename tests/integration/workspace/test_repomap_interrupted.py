"""`fairlead repomap` as a process of its own: Ctrl-C ends it and its workers."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from support.repositories import write


def children(pid: int) -> list[int]:
    """The processes that `pid` has started and that have not ended."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, task.read_text().split())
    return found


def test_ctrl_c_ends_the_workers_too(tmp_path: Path) -> None:
    body = "".join(f"def f{n}(a, b): return g{n}(a) + b\n" for n in range(1000))
    root = write(tmp_path / "root", {f"m{n}.py": f"x = {n}\n{body}" for n in range(300)})
    command = [sys.executable, "-m", "fairlead", "repomap", str(root)]
    process = subprocess.Popen(
        [*command, "--data-dir", str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    workers: list[int] = []
    until = time.monotonic() + 15
    while not workers and process.poll() is None and time.monotonic() < until:
        workers = children(process.pid)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=15)

    assert workers
    assert process.returncode in {1, 130}
    assert out == ""
    assert "Traceback" not in err
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
