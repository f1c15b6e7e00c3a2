"""A worker process on which some contents have an effect that they should not have."""

from __future__ import annotations

import os
import signal
import sys

from fairlead.workspace import analyser
from fairlead.workspace.base import FileAnalysis
from fairlead.workspace.symbols import analyse

EFFECTS = {
    b"crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    b"hang": signal.pause,
    b"nonsense": lambda: os.write(1, b"\xff" * 100),
    b"leave": lambda: os._exit(0),
}


def doomed(path: str, data: bytes) -> FileAnalysis:
    """As the real one, for all other contents."""
    if data in EFFECTS:
        EFFECTS[data]()
    return analyse(path, data)


if __name__ == "__main__":
    analyser.analyse = doomed
    analyser.serve(sys.stdin.buffer, sys.stdout.buffer)
