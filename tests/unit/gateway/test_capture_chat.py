"""Chat completions as they are captured: prompts as sent, answers put together."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fairlead.gateway.capture.chat import Chat
from fairlead.gateway.shapes.base import events
from support.captures import body_of, digests, shown
from support.recordings import CHAT_EVENTS

CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "read", "arguments": '{"path": "a.py"}'},
}


def prompt(*messages: Any, **fields: Any) -> Any:
    return Chat().prompt(body_of(messages=list(messages), **fields))


def streamed(*chunks: Any, done: bool = True) -> Any:
    parts = [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks]
    return Chat().stream(events(b"".join(parts) + (b"data: [DONE]\n\n" if done else b"")))


def choice(index: int = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


def said(message: Any, finish: str = "stop") -> Any:
    answer = {"id": "c-1", "model": "m-1", "choices": [{"message": message}], "usage": {"a": 1}}
    answer["choices"][0]["finish_reason"] = finish
    return Chat().plain(json.dumps(answer).encode())


def test_messages_are_kept_as_they_were_sent() -> None:
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "u"}}]
    read = prompt(
        {"role": "user", "content": parts, "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
        {"role": "tool", "tool_call_id": "call_1", "content": "text"},
        {"role": "system", "content": "remember"},
    )

    assert read.system == []
    assert shown(read.messages) == [
        ("user", parts),
        ("assistant", None),
        ("tool", "text"),
        ("system", "remember"),
    ]
    assert [message.metadata for message in read.messages] == [
        {"name": "ann"},
        {"tool_calls": [CALL]},
        {"tool_call_id": "call_1"},
        {},
    ]


def test_the_content_is_kept_byte_for_byte() -> None:
    body = b'{"messages":[{"content":[ 1.0,\t"\\u00e9"],"role":"user"}]}'

    assert Chat().prompt(body).messages[0].content == b'[ 1.0,\t"\\u00e9"]'


def test_leading_instructions_are_apart_each_block_on_its_own() -> None:
    blocks = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    read = prompt(
        {"role": "system", "content": "first"},
        {"role": "developer", "content": blocks},
        {"role": "user", "content": "hello"},
        {"role": "system", "content": "later"},
    )

    assert shown(read.system) == [
        ("system", "first"),
        ("developer", blocks[:1]),
        ("developer", blocks[1:]),
    ]
    assert shown(read.messages) == [("user", "hello"), ("system", "later")]


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_the_limit_of_the_answer(field: str) -> None:
    assert prompt(**{field: 7}).max_tokens == 7
    assert prompt(**{field: "7"}).max_tokens is None


def test_a_plain_answer() -> None:
    read = said({"role": "assistant", "content": "yes", "annotations": [], "refusal": None})

    assert shown(read.messages) == [("assistant", "yes")]
    assert read.messages[0].metadata == {}
    assert (read.id, read.model, read.finish_reason) == ("c-1", "m-1", "stop")
    assert (read.usage, read.complete, read.error) == ({"a": 1}, True, "")


def test_a_stream_is_put_together() -> None:
    read = Chat().stream(events(b"".join(CHAT_EVENTS)))

    assert shown(read.messages) == [("assistant", "Grüße \U0001f44b")]
    assert read.messages[0].metadata == {"tool_calls": [CALL]}
    assert (read.id, read.finish_reason, read.complete) == ("chatcmpl-9", "tool_calls", True)
    assert read.usage["total_tokens"] == 21


def test_a_stream_says_what_a_plain_answer_says() -> None:
    whole = said({"content": "Grüße \U0001f44b", "tool_calls": [CALL]})

    assert digests(Chat().stream(events(b"".join(CHAT_EVENTS))).messages) == digests(whole.messages)


def test_several_choices() -> None:
    read = streamed(
        choice(1, content="B"), choice(0, content="A"), choice(0, "stop"), choice(1, "length")
    )

    assert shown(read.messages) == [("assistant", "A"), ("assistant", "B")]
    assert (read.finish_reason, read.complete) == ("stop", True)


def test_several_calls_and_repeated_names() -> None:
    def call(index: int, **function: str) -> dict[str, Any]:
        part = {"index": index, "id": f"c{index}", "type": "function", "function": function}
        return choice(role="assistant", tool_calls=[part])

    read = streamed(
        call(0, name="a", arguments="{"),
        call(1, name="b", arguments=""),
        call(0, name="a", arguments="}"),
        call(1, name="b", arguments="[]"),
        choice(finish="tool_calls"),
    )

    calls = read.messages[0].metadata["tool_calls"]
    assert [(one["id"], one["type"], one["function"]) for one in calls] == [
        ("c0", "function", {"name": "a", "arguments": "{}"}),
        ("c1", "function", {"name": "b", "arguments": "[]"}),
    ]


def test_calls_without_an_index() -> None:
    first = {"id": "c0", "function": {"name": "a", "arguments": "{"}}
    rest = {"function": {"arguments": "}"}}
    second = {"id": "c1", "function": {"name": "b", "arguments": "{}"}}
    read = streamed(*(choice(tool_calls=[part]) for part in (first, rest, second)))

    calls = read.messages[0].metadata["tool_calls"]
    assert [one["function"]["arguments"] for one in calls] == ["{}", "{}"]


def test_whole_calls_that_all_have_the_same_index() -> None:
    other = {**CALL, "id": "call_2", "function": {"name": "list", "arguments": "{}"}}
    chunks = [choice(tool_calls=[{"index": 0, **call}]) for call in (CALL, other)]
    more = choice(tool_calls=[{"index": 0, "function": {"arguments": " "}}])
    answer = streamed(*chunks, more, choice(finish="tool_calls"))

    (message,) = answer.messages
    other["function"]["arguments"] = "{} "
    assert message.metadata["tool_calls"] == [CALL, other]


def test_calls_whose_ids_come_with_every_delta() -> None:
    pieces = [
        {"id": "call_1", "type": "function", "function": {"name": "read", "arguments": '{"path"'}},
        {"id": "call_1", "function": {"arguments": ': "a.py"}'}},
    ]
    answer = streamed(*(choice(tool_calls=[piece]) for piece in pieces), choice(finish="stop"))

    (message,) = answer.messages
    assert message.metadata["tool_calls"] == [CALL]


def test_thoughts_that_come_as_parts_of_the_content_stay() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    answer = streamed(
        choice(content=[thought]), choice(content="Yes"), choice(content="!"), choice(finish="stop")
    )

    assert shown(answer.messages) == [("assistant", [thought, {"type": "text", "text": "Yes!"}])]


def test_details_that_repeat_their_format() -> None:
    pieces = [{"type": "reasoning.text", "text": text, "format": "v1"} for text in ("a", "b")]
    answer = streamed(
        *(choice(reasoning_details=[{**piece, "index": 0}]) for piece in pieces),
        choice(content="c", finish="stop"),
    )

    (message,) = answer.messages
    assert message.metadata["reasoning_details"] == [{**pieces[0], "text": "ab"}]


def test_reasoning_and_unknown_fields_are_kept() -> None:
    read = streamed(
        choice(reasoning_content="h", reasoning_details=[{"index": 0, "text": "x"}]),
        choice(reasoning_content="m", reasoning_details=[{"index": 0, "text": "y"}], extra=1),
        choice(content="so", audio={"id": "a", "data": "AA"}),
        choice(audio={"data": "BB"}),
        choice(finish="stop"),
    )

    assert read.messages[0].metadata == {
        "reasoning_content": "hm",
        "reasoning_details": [{"text": "xy"}],
        "extra": 1,
        "audio": {"id": "a", "data": "AABB"},
    }


def test_the_old_way_to_call_a_function_is_a_call() -> None:
    call = {"name": "f", "arguments": "{}"}
    asked = prompt({"role": "assistant", "content": None, "function_call": call})
    answered = streamed(
        choice(content=None, function_call={"name": "f", "arguments": "{"}),
        choice(function_call={"arguments": "}"}, finish="function_call"),
    )

    assert asked.messages[0].metadata["tool_calls"][0]["function"] == call
    assert digests(asked.messages) == digests(answered.messages)


def test_a_stream_that_breaks_off_is_not_complete() -> None:
    read = streamed(choice(role="assistant", content="so f"), done=False)

    assert shown(read.messages) == [("assistant", "so f")]
    assert not read.complete


def test_an_error_in_a_stream() -> None:
    read = streamed(choice(content="so"), {"error": {"message": "no more", "code": 5}})

    assert (read.error, read.complete, len(read.messages)) == ("no more", False, 1)


@pytest.mark.parametrize("answer", [{"error": "no"}, {"error": {"code": 1}}, {}, [], 5, None])
def test_an_answer_without_choices_says_nothing(answer: Any) -> None:
    read = Chat().plain(json.dumps(answer).encode())

    assert (list(read.messages), read.complete) == ([], False)


def test_nothing_is_made_up_where_a_stream_ends_before_it_says_anything() -> None:
    assert streamed(choice(role="assistant", content=""), done=False).messages == []
    assert len(streamed(choice(content=""), choice(finish="stop")).messages) == 1


@pytest.mark.parametrize(
    "odd",
    [
        [],
        {"choices": 5},
        {"choices": [5, {"index": "x", "delta": 5}]},
        {"choices": [{"index": 0, "delta": {"content": 5, "tool_calls": {"a": 1}, "role": []}}]},
        {"choices": [{"delta": {"tool_calls": [5, {"index": [], "function": "f"}]}}]},
        {"choices": [{"delta": {"content": ["x"]}, "finish_reason": {}}], "usage": 3, "model": {}},
        {"id": 5, "usage": {"huge": 10**30}},
    ],
)
def test_odd_events_break_nothing(odd: Any) -> None:
    read = streamed(choice(content="a"), odd, choice(content="b"), choice(finish="stop"))

    assert read.messages
    assert read.finish_reason == "stop"


def test_half_of_a_surrogate_pair_is_replaced() -> None:
    data = b'data: {"choices":[{"index":0,"delta":{"content":"a\\ud83d"},"finish_reason":"stop"}]}'

    assert shown(Chat().stream(events(data + b"\n\n")).messages) == [("assistant", "a\ufffd")]
