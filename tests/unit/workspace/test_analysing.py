"""Files parted into batches, and what the node and its workers say to each other."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from fairlead.workspace.analyser import serve
from fairlead.workspace.analysing import WorkerOptions, in_batches
from fairlead.workspace.frames import HEAD, decode_analysis, frame
from fairlead.workspace.symbols import analyse

sizes = st.lists(st.integers(0, 30), max_size=40)


@given(sizes, st.integers(1, 5), st.integers(1, 50))
def test_batches_are_within_bounds_and_lose_nothing(
    sizes: list[int], most_files: int, most_bytes: int
) -> None:
    files = [(f"{place}", b"x" * size) for place, size in enumerate(sizes)]
    options = WorkerOptions(batch_files=most_files, batch_bytes=most_bytes)

    batches = list(in_batches(files, options))

    assert [file for batch in batches for file in batch] == files
    for batch in batches:
        assert 1 <= len(batch) <= most_files
        assert len(batch) == 1 or sum(len(data) for _, data in batch) <= most_bytes


def test_a_worker_answers_each_file_in_order() -> None:
    files = [("a.py", b"def a(): pass"), ("b.txt", b""), ("c.py", b"\xff")]
    answers = io.BytesIO()

    serve(io.BytesIO(b"".join(map(frame, files))), answers)

    answers.seek(0)
    assert answers.read(4) == HEAD.pack(0)
    for file in files:
        (size,) = HEAD.unpack(answers.read(4))
        assert decode_analysis(answers.read(size)) == analyse(*file)
    assert answers.read() == b""


@given(st.integers(0, 40))
def test_a_worker_ends_where_its_input_breaks_off(length: int) -> None:
    answers = io.BytesIO()

    serve(io.BytesIO(frame(("a.txt", b"some text that is cut off somewhere"))[:length]), answers)

    assert answers.getvalue() == HEAD.pack(0)
