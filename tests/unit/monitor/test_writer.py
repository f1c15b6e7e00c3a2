from __future__ import annotations

import io
import os
import threading

from fairlead.monitor.redaction import Redactor
from fairlead.monitor.writer import LineWriter, WriterOptions

QUICK = WriterOptions(linger=0.0, close_timeout=5.0)


class Stuck(io.BytesIO):
    """A stream whose reader takes nothing until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.released = threading.Event()

    def write(self, data: bytes) -> int:  # type: ignore[override] # a narrower argument will do
        self.reached.set()
        self.released.wait(10)
        return super().write(data)


class Gone(io.BytesIO):
    def write(self, data: bytes) -> int:  # type: ignore[override] # a narrower argument will do
        raise BrokenPipeError


async def test_what_was_accepted_is_written_in_order_at_close() -> None:
    stream = io.BytesIO()
    async with LineWriter(stream, Redactor()) as writer:
        for number in range(1000):
            assert writer.put(b"%d\n" % number)
    assert stream.getvalue().split() == [b"%d" % number for number in range(1000)]
    assert writer.dropped == 0


async def test_lines_are_redacted_and_stay_whole() -> None:
    stream = io.BytesIO()
    redactor = Redactor()
    redactor.register("secret-ü")
    async with LineWriter(stream, redactor) as writer:
        writer.put("a secret-ü\n".encode())
        writer.put(b"not \xff utf-8\n")
    assert stream.getvalue() == b"a ***\nnot \\xff utf-8\n"


async def test_a_stuck_stream_blocks_nobody_and_what_has_no_room_is_counted() -> None:
    stream = Stuck()
    options = WriterOptions(max_bytes=100, linger=0.0, close_timeout=5.0)
    async with LineWriter(stream, Redactor(), options) as writer:
        writer.put(b"first....\n")
        assert stream.reached.wait(5)
        accepted = [writer.put(b"123456789\n") for _ in range(15)]
        assert accepted == [True] * 10 + [False] * 5
        assert writer.dropped == 5
        stream.released.set()
    assert stream.getvalue().count(b"\n") == 11


async def test_closing_does_not_wait_for_a_stuck_stream_longer_than_its_deadline() -> None:
    stream = Stuck()
    writer = LineWriter(stream, Redactor(), WriterOptions(linger=0.0, close_timeout=0.01))
    await writer.open()
    writer.put(b"being written\n")
    assert stream.reached.wait(5)
    writer.put(b"waiting\n")
    await writer.close()
    assert writer.dropped == 1
    stream.released.set()


async def test_a_reader_that_is_gone_is_counted() -> None:
    async with LineWriter(Gone(), Redactor(), QUICK) as writer:
        writer.put(b"a\n")
        writer.put(b"b\n")
    assert writer.dropped == 2


async def test_a_closed_stream_is_counted() -> None:
    stream = io.BytesIO()
    stream.close()
    async with LineWriter(stream, Redactor(), QUICK) as writer:
        writer.put(b"a\n")
    assert writer.dropped == 1


async def test_before_open_and_after_close_lines_are_dropped_and_counted() -> None:
    writer = LineWriter(io.BytesIO(), Redactor(), QUICK)
    assert not writer.put(b"early\n")
    async with writer:
        pass
    assert not writer.put(b"late\n")
    assert writer.dropped == 2


async def test_many_threads_may_write() -> None:
    stream = io.BytesIO()
    async with LineWriter(stream, Redactor(), QUICK) as writer:

        def write(name: int) -> None:
            for number in range(200):
                writer.put(b"%d %d\n" % (name, number))

        threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    lines = stream.getvalue().splitlines()
    assert sorted(lines) == sorted(b"%d %d" % (n, m) for n in range(4) for m in range(200))


async def test_a_full_pipe_does_not_block() -> None:
    reader, sink = os.pipe()
    received: list[bytes] = []

    def read_to_the_end() -> None:
        while data := os.read(reader, 65_536):
            received.append(data)

    options = WriterOptions(max_bytes=50_000, linger=0.0, close_timeout=5.0)
    accepted = 0
    with os.fdopen(sink, "wb") as pipe:
        async with LineWriter(pipe, Redactor(), options) as writer:
            while not writer.dropped:
                accepted += writer.put(b"x" * 999 + b"\n")
            thread = threading.Thread(target=read_to_the_end)
            thread.start()
    thread.join(10)
    os.close(reader)
    assert b"".join(received) == (b"x" * 999 + b"\n") * accepted
