"""Anthropic's messages as they are captured: blocks as sent, answers put together."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fairlead.gateway.capture.messages import Messages
from fairlead.gateway.shapes.base import events as split
from support.captures import body_of, digests, shown
from support.recordings import MESSAGES_EVENTS, events

THOUGHT = {
    "type": "thinking",
    "thinking": "Größe, 思考, \u2028 and \U0001f914",
    "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk",
}
TEXT = {"type": "text", "text": "event: error\ndata: only text"}
USE = {
    "type": "tool_use",
    "id": "toolu_01T1x1fJ34qAmk2tNTrN7Up6",
    "name": "edit",
    "input": {"path": "a.py", "text": "x"},
}


def read(parts: list[bytes]) -> Any:
    return Messages().stream(split(b"".join(parts)))


def streamed(*data: dict[str, Any]) -> Any:
    return read(events(*data))


def start(index: int = 0, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": fields}


def test_messages_are_kept_as_they_were_sent() -> None:
    blocks = [{"type": "tool_result", "tool_use_id": "t", "content": "r", "is_error": True}]
    source = {"type": "base64", "media_type": "image/png", "data": "aGk="}
    image = [{"type": "image", "source": source, "cache_control": {"type": "ephemeral"}}]
    body = body_of(
        system="Be short.",
        max_tokens=1,
        messages=[
            {"role": "user", "content": image},
            {"role": "assistant", "content": [THOUGHT, USE]},
            {"role": "user", "content": blocks},
        ],
    )
    asked = Messages().prompt(body)

    assert shown(asked.system) == [("system", "Be short.")]
    assert shown(asked.messages) == [
        ("user", image),
        ("assistant", [THOUGHT, USE]),
        ("user", blocks),
    ]
    assert (asked.model, asked.max_tokens) == ("m", 1)


def test_each_block_of_the_instructions_is_on_its_own() -> None:
    blocks = [{"type": "text", "text": "billing 1"}, {"type": "text", "text": "You are"}]

    assert shown(Messages().prompt(body_of(system=blocks, messages=[])).system) == [
        ("system", [block]) for block in blocks
    ]


def test_a_plain_answer() -> None:
    answer = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [THOUGHT, TEXT],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 4, "server_tool_use": None},
    }
    found = Messages().plain(json.dumps(answer).encode())

    assert shown(found.messages) == [("assistant", [THOUGHT, TEXT])]
    assert (found.id, found.model, found.finish_reason) == ("msg_1", "claude", "end_turn")
    assert (found.usage, found.complete) == ({"input_tokens": 3, "output_tokens": 4}, True)


def test_a_stream_is_put_together() -> None:
    found = read(MESSAGES_EVENTS)

    assert shown(found.messages) == [("assistant", [THOUGHT, TEXT, USE])]
    assert (found.model, found.finish_reason, found.complete) == (
        "claude-opus-4-5",
        "tool_use",
        True,
    )
    assert found.usage == {
        "input_tokens": 472,
        "cache_read_input_tokens": 4096,
        "output_tokens": 89,
    }


@pytest.mark.parametrize("count", range(len(MESSAGES_EVENTS)))
def test_a_stream_that_breaks_off_anywhere_keeps_what_has_come(count: int) -> None:
    found = read(MESSAGES_EVENTS[:count])

    assert not found.complete
    blocks = [block for _, content in shown(found.messages) for block in content]
    assert [block["type"] for block in blocks] == ["thinking", "text", "tool_use"][: len(blocks)]
    assert all(block.get("text", "") in TEXT["text"] for block in blocks)


def test_arguments_that_broke_off_stay_text() -> None:
    found = streamed(
        start(type="tool_use", id="t", name="n", input={}),
        delta(type="input_json_delta", partial_json='{"path": "a'),
    )

    assert shown(found.messages)[0][1][0]["input"] == '{"path": "a'


def test_a_call_without_arguments_has_an_empty_object() -> None:
    found = streamed(start(type="tool_use", id="t", name="n", input={}))

    assert shown(found.messages)[0][1] == [
        {"type": "tool_use", "id": "t", "name": "n", "input": {}}
    ]


def test_citations_and_deltas_of_kinds_that_are_not_known() -> None:
    found = streamed(
        start(type="text", text="", citations=None),
        delta(type="text_delta", text="so"),
        delta(type="citations_delta", citation={"cited_text": "a"}),
        start(1, type="compaction", content=None),
        delta(1, type="compaction_delta", content="shorter"),
        start(2, type="web_search_tool_result", tool_use_id="w", content=[{"url": "u"}]),
    )

    assert shown(found.messages)[0][1] == [
        {"type": "text", "text": "so", "citations": [{"cited_text": "a"}]},
        {"type": "compaction", "content": "shorter"},
        {"type": "web_search_tool_result", "tool_use_id": "w", "content": [{"url": "u"}]},
    ]


def test_an_error_in_a_stream() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    found = streamed(start(type="text", text="so"), error)

    assert (found.error, found.complete) == ("Overloaded", False)
    assert shown(found.messages) == [("assistant", [{"type": "text", "text": "so"}])]


@pytest.mark.parametrize("answer", [{"type": "error", "error": {"message": "no"}}, {}, [], None])
def test_an_answer_that_is_no_message_says_nothing(answer: Any) -> None:
    found = Messages().plain(json.dumps(answer).encode())

    assert (list(found.messages), found.complete) == ([], False)


@pytest.mark.parametrize(
    "odd",
    [
        {"type": "content_block_start", "index": "x", "content_block": 5},
        {"type": "content_block_delta", "index": None, "delta": [1]},
        {"type": "content_block_delta", "index": 9, "delta": {"text": 5, "partial_json": []}},
        {"type": "message_start", "message": "m"},
        {"type": "message_delta", "delta": None, "usage": []},
    ],
)
def test_odd_events_break_nothing(odd: dict[str, Any]) -> None:
    found = streamed(start(5, type="text", text="a"), odd, {"type": "message_stop"})

    assert found.complete
    assert {"type": "text", "text": "a"} in shown(found.messages)[0][1]


def test_a_stream_says_what_assistants_send_again() -> None:
    again = [{**TEXT, "cache_control": {"type": "ephemeral"}}, dict(reversed(USE.items()))]
    asked = Messages().prompt(body_of(messages=[{"role": "assistant", "content": again}]))

    assert digests(read(MESSAGES_EVENTS).messages) == digests(asked.messages)
