"""OpenAI responses as they are captured: items to messages, events to items."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fairlead.gateway.capture.responses import Responses
from fairlead.gateway.shapes.base import events as split
from support.captures import body_of, digests, shown
from support.recordings import RESPONSES_EVENTS, events

REASONING = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]}
PART = {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
MESSAGE = {
    "type": "message",
    "id": "msg_1",
    "status": "completed",
    "role": "assistant",
    "content": [PART],
}
CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "read",
    "arguments": '{"path":"a"}',
    "status": "completed",
}
CUSTOM = {"type": "custom_tool_call", "id": "ct_1", "call_id": "c2", "name": "patch", "input": "*"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "text"}


def prompt(given: Any, **fields: Any) -> Any:
    return Responses().prompt(body_of(input=given, **fields))


def streamed(*data: dict[str, Any]) -> Any:
    return Responses().stream(split(b"".join(events(*data, named=False))))


def response(*output: Any, status: str = "completed", **more: Any) -> dict[str, Any]:
    return {"id": "resp_1", "model": "m-1", "status": status, "output": list(output), **more}


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", **fields}


def added(index: int, item: Any) -> dict[str, Any]:
    return event("output_item.added", output_index=index, item=item)


def done(index: int, item: Any) -> dict[str, Any]:
    return event("output_item.done", output_index=index, item=item)


def test_a_string_is_what_the_user_says() -> None:
    asked = prompt("hello", instructions="Be short.", max_output_tokens=9)

    assert shown(asked.system) == [("system", "Be short.")]
    assert shown(asked.messages) == [("user", "hello")]
    assert asked.max_tokens == 9


def test_items_become_messages() -> None:
    asked = prompt(
        [
            {"type": "message", "role": "developer", "content": "rules"},
            {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
            MESSAGE,
            CALL,
            OUTPUT,
            CUSTOM,
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "ok"},
            {"type": "item_reference", "id": "x"},
        ]
    )

    assert shown(asked.system) == [("developer", "rules")]
    assert [(message.role, json.loads(message.content)[0]) for message in asked.messages] == [
        ("user", {"type": "input_text", "text": "hello"}),
        ("assistant", PART),
        ("assistant", CALL),
        ("tool", OUTPUT),
        ("assistant", CUSTOM),
        ("tool", {"type": "custom_tool_call_output", "call_id": "c2", "output": "ok"}),
        ("assistant", {"type": "item_reference", "id": "x"}),
    ]
    assert asked.messages[1].metadata == {"id": "msg_1", "status": "completed"}


def test_reasoning_is_part_of_what_it_led_to() -> None:
    text = {"role": "assistant", "content": "Hello"}
    asked = prompt([REASONING, text, REASONING, CALL, REASONING, OUTPUT, REASONING])

    assert shown(asked.messages) == [
        ("assistant", [REASONING, {"type": "output_text", "text": "Hello"}]),
        ("assistant", [REASONING, CALL]),
        ("assistant", [REASONING]),
        ("tool", [OUTPUT]),
        ("assistant", [REASONING]),
    ]
    without = prompt([text, CALL])
    assert digests(without.messages) == digests(asked.messages)[:2]


def test_what_a_prompt_goes_on_from_is_noted() -> None:
    asked = prompt([OUTPUT, {"role": "user", "content": "and"}], previous_response_id="resp_0")

    metadata = [message.metadata for message in asked.messages]
    assert metadata == [{"previous_response_id": "resp_0"}, {}]


@pytest.mark.parametrize("given", [None, []])
def test_a_prompt_without_input(given: Any) -> None:
    asked = prompt(given, prompt={"id": "pmpt_1"}, previous_response_id="resp_0")

    assert list(asked.messages) == []


def test_a_plain_answer() -> None:
    usage = {"input_tokens": 1}
    found = Responses().plain(json.dumps(response(REASONING, MESSAGE, CALL, usage=usage)).encode())

    assert shown(found.messages) == [("assistant", [REASONING, PART]), ("assistant", [CALL])]
    assert (found.id, found.model, found.finish_reason) == ("resp_1", "m-1", "completed")
    assert (found.usage, found.complete) == (usage, True)


@pytest.mark.parametrize(
    ("fields", "complete", "reason"),
    [
        (
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            True,
            "max_output_tokens",
        ),
        ({"status": "failed", "error": {"code": "x", "message": "no"}}, False, "failed"),
        ({"status": "queued"}, False, ""),
        ({"status": "cancelled"}, False, "cancelled"),
    ],
)
def test_how_an_answer_ends(fields: dict[str, Any], complete: bool, reason: str) -> None:
    found = Responses().plain(json.dumps(response(**fields)).encode())

    assert (found.complete, found.finish_reason) == (complete, reason)


def test_the_items_that_were_done_are_the_answer() -> None:
    found = streamed(
        event("created", response=response(status="in_progress")),
        added(0, {**MESSAGE, "content": []}),
        event("output_text.delta", output_index=0, content_index=0, delta="Hel"),
        done(0, MESSAGE),
        added(1, {**CALL, "arguments": ""}),
        done(1, CALL),
        event("completed", response=response(usage={"input_tokens": 7})),
    )

    assert shown(found.messages) == [("assistant", [PART]), ("assistant", [CALL])]
    assert (found.complete, found.usage) == (True, {"input_tokens": 7})


def test_a_stream_without_items_has_its_last_output() -> None:
    found = streamed(event("completed", response=response(MESSAGE)))

    assert shown(found.messages) == [("assistant", [PART])]


def test_a_stream_that_breaks_off_keeps_what_has_come() -> None:
    found = streamed(
        added(0, {**REASONING, "summary": []}),
        event("reasoning_summary_text.delta", output_index=0, summary_index=0, delta="h"),
        event("reasoning_summary_text.delta", output_index=0, summary_index=0, delta="m"),
        done(0, REASONING),
        added(1, {**MESSAGE, "content": [], "status": "in_progress"}),
        event("output_text.delta", output_index=1, content_index=0, delta="Hel"),
        event("output_text.delta", output_index=1, content_index=1, delta="lo"),
        event("refusal.delta", output_index=1, content_index=2, delta="no"),
        added(2, {**CALL, "arguments": "", "status": "in_progress"}),
        event("function_call_arguments.delta", output_index=2, delta='{"pa'),
        event("custom_tool_call_input.delta", output_index=3, delta="*** Be"),
        event("audio.delta", output_index=4, delta="AAAA"),
    )

    assert not found.complete
    said = [
        REASONING,
        {"type": "output_text", "text": "Hel"},
        {"type": "output_text", "text": "lo"},
        {"type": "refusal", "refusal": "no"},
    ]
    broken = {**CALL, "arguments": '{"pa', "status": "in_progress"}
    assert shown(found.messages) == [
        ("assistant", said),
        ("assistant", [broken]),
        ("assistant", [{"type": "custom_tool_call", "input": "*** Be"}]),
    ]


def test_deltas_alone_are_enough() -> None:
    found = Responses().stream(split(b"".join(RESPONSES_EVENTS)))

    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]}
    assert shown(found.messages) == [
        ("assistant", [thought, {"type": "output_text", "text": "Hello"}])
    ]
    assert found.complete


@pytest.mark.parametrize(
    "last",
    [
        {"type": "error", "code": "server_error", "message": "no more"},
        event("failed", response=response(status="failed", error={"message": "no more"})),
    ],
)
def test_an_error_ends_a_stream(last: dict[str, Any]) -> None:
    found = streamed(done(0, MESSAGE), last)

    assert (found.error, found.complete, len(found.messages)) == ("no more", False, 1)


@pytest.mark.parametrize(
    "odd",
    [
        event("output_item.done", output_index=[], item=[]),
        event("output_item.added", item={"type": 5}),
        event("output_text.delta", output_index={}, content_index=[], delta=5),
        event("completed", response="x"),
        {"type": ["response.completed"]},
        {"type": 5},
    ],
)
def test_odd_events_break_nothing(odd: dict[str, Any]) -> None:
    found = streamed(done(0, MESSAGE), odd)

    assert shown(found.messages)[0] == ("assistant", [PART])


def test_an_item_of_a_kind_that_is_not_known_is_the_assistants() -> None:
    item = {"type": "image_generation_call", "id": "ig", "result": "aGk="}

    assert shown(streamed(done(0, item)).messages) == [("assistant", [item])]
