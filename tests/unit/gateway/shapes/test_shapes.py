"""Which API a request speaks, and reading events however they are cut."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from fairlead.gateway.legs.base import Headers
from fairlead.gateway.shapes import ANTHROPIC, OPENAI, OPENAI_RESPONSES, Shape, shape_of
from fairlead.gateway.shapes.base import ends_events, events, tokens

VERSION: Headers = [(b"accept", b"*/*"), (b"anthropic-version", b"2023-06-01")]


@pytest.mark.parametrize(
    ("path", "headers", "shape"),
    [
        (b"/v1/chat/completions", [], OPENAI),
        (b"/v1/chat/completions", VERSION, OPENAI),
        (b"/v1/embeddings", [], OPENAI),
        (b"/v1/responses", [], OPENAI_RESPONSES),
        (b"/v1/responses", VERSION, OPENAI_RESPONSES),
        (b"/v1/responses/resp_1/cancel", [], OPENAI_RESPONSES),
        (b"/v1/messages", [], ANTHROPIC),
        (b"/v1/messages/count_tokens", [], ANTHROPIC),
        (b"/v1/messages/batches", [], ANTHROPIC),
        (b"/v1/complete", [], ANTHROPIC),
        (b"/v1/completions", [], OPENAI),
        (b"/v1/models", [], OPENAI),
        (b"/v1/models", VERSION, ANTHROPIC),
        (b"/v1/models/claude", VERSION, ANTHROPIC),
        (b"/v1/files", VERSION, ANTHROPIC),
        (b"/v1/anything/else", [], OPENAI),
        (b"/v1/messages_of_another_kind", [], OPENAI),
    ],
)
def test_the_path_decides_and_then_the_version_header(
    path: bytes, headers: Headers, shape: Shape
) -> None:
    assert shape_of(path, headers) is shape


def test_events_are_read_by_the_rules_of_the_standard() -> None:
    body = (
        b": comment\n\n"
        b"event: a\ndata: 1\n\n"
        b"data:2\nid: x\nretry: 5\n\n"
        b"data: one\ndata: two\n\n"
        b"event: empty\n\n"
        b"data:  spaced\n\n"
        b"data: cut"
    )
    expected = [
        (b"a", b"1"),
        (b"", b"2"),
        (b"", b"one\ntwo"),
        (b"empty", b""),
        (b"", b" spaced"),
        (b"", b"cut"),
    ]

    assert list(events(body)) == expected
    assert list(events(body.replace(b"\n", b"\r\n"))) == expected


PARTS = st.lists(st.sampled_from([b"event: a\n", b"data: 1\n", b"\n", b": c\n", b"\r\n", b"x"]))


@pytest.mark.parametrize(
    ("sent", "ends"),
    [
        (b"", True),
        (b"data: 1\n\n", True),
        (b"data: 1\r\n\r\n", True),
        (b"data: 1\n", False),
        (b"data: 1", False),
        (b"data: 1\r\n", False),
    ],
)
def test_where_an_event_ends(sent: bytes, ends: bool) -> None:
    assert ends_events(sent) == ends


@pytest.mark.parametrize(
    ("value", "count"),
    [(0, 0), (7, 7), (-1, None), (True, None), (1.0, None), ("1", None), (2**40, None)],
)
def test_token_counts_are_sane_or_not_known(value: object, count: int | None) -> None:
    assert tokens(value) == count
