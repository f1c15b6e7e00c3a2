"""A worker process: it analyses the files that come by its standard input.

`python -m fairlead.workspace.analyser` answers each frame with a path and a content by a frame with
its analysis, in order; an empty frame before the first says that it is ready. It ends with its
input, so it does not outlive the process that has started it.
"""

from __future__ import annotations

import os
import resource
import sys
from typing import BinaryIO

from fairlead.workspace.frames import HEAD, decode_file, frame
from fairlead.workspace.symbols import analyse

NICENESS = 5
"""The node's own work goes first."""
MAX_MEMORY = 4 * 1024 * 1024 * 1024
"""Bytes of addresses: a parser that grows without end brings itself down, not the machine."""


def serve(given: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the input ends."""
    answers.write(HEAD.pack(0))
    answers.flush()
    while len(head := given.read(HEAD.size)) == HEAD.size:
        (size,) = HEAD.unpack(head)
        data = given.read(size)
        if len(data) < size:
            return
        path, content = decode_file(data)
        answers.write(frame(analyse(path, content)))
        answers.flush()


def _give_way() -> None:
    os.nice(NICENESS)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = MAX_MEMORY if hard == resource.RLIM_INFINITY else min(hard, MAX_MEMORY)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))


if __name__ == "__main__":
    _give_way()
    serve(sys.stdin.buffer, sys.stdout.buffer)
