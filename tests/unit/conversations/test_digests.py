from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.conversations.digests import digest_of
from fairlead.errors import RequestError


def digest(content: Any, role: str = "assistant", **metadata: Any) -> str:
    return digest_of(role, msgspec.json.encode(content), metadata)


def text(value: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, **more}


def call(name: str = "read", arguments: Any = '{"path": "a", "n": 1}', **more: Any) -> Any:
    return {
        "id": "c1",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
        **more,
    }


USE = {"type": "tool_use", "id": "t1", "name": "read", "input": {"path": "a", "n": None}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "found"}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "done"}
FUNCTION = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1,"b":2}'}


@pytest.mark.parametrize(
    ("sent", "sent_again"),
    [
        ("hello", "  hello\n"),
        ("hello", [text("hello")]),
        ("hello", [text("hello", cache_control={"type": "ephemeral"})]),
        ("hello", [{"type": "input_text", "text": "hello"}]),
        (
            "hello",
            [{"type": "output_text", "text": "hello ", "annotations": [], "logprobs": []}],
        ),
        ("hello", [text("hello"), text(" ")]),
        ("hello", [THOUGHT, text("hello")]),
        ("hello", [{"type": "redacted_thinking", "data": "x"}, text("hello", citations=None)]),
        ("hello", [{"type": "reasoning", "id": "rs_1", "summary": []}, text("hello")]),
        (None, ""),
        (None, []),
        (USE, [USE]),
        ([USE], [{**USE, "cache_control": {"type": "ephemeral"}, "caller": {"type": "direct"}}]),
        ([USE], [dict(reversed(USE.items()))]),
        ([RESULT], [{**RESULT, "content": [text("found ")], "is_error": False}]),
        ([RESULT], [{**RESULT, "cache_control": {"type": "ephemeral"}}]),
        ([IMAGE], [{**IMAGE, "cache_control": None}]),
        ([FUNCTION], [{**FUNCTION, "id": "fc_1", "status": "completed"}]),
        ([FUNCTION], [{**FUNCTION, "arguments": '{ "b" : 2, "a" : 1 }'}]),
        ([OUTPUT], [{**OUTPUT, "id": "x", "status": None}]),
        ([OUTPUT], [{**OUTPUT, "output": [{"type": "input_text", "text": "done"}]}]),
        ([{**FUNCTION, "arguments": ""}], [{**FUNCTION, "arguments": "{}"}]),
        ([{**FUNCTION, "arguments": '{"t": 30.0}'}], [{**FUNCTION, "arguments": '{"t":30}'}]),
        ([{**USE, "input": {"t": [1.0, 1.5]}}], [{**USE, "input": {"t": [1, 1.5]}}]),
        ({"a": 1, "b": {"c": None}}, {"b": {}, "a": 1, "d": None}),
    ],
)
def test_the_same_message_has_the_same_digest(sent: Any, sent_again: Any) -> None:
    assert digest(sent) == digest(sent_again)


@pytest.mark.parametrize(
    "different",
    [
        ["hello", "Hello", "hello!", "", [text("hel"), text("lo")], ["call"]],
        [
            [USE],
            [{**USE, "id": "t2"}],
            [{**USE, "name": "write"}],
            [{**USE, "input": {"path": "b", "n": None}}],
            [{**USE, "input": {"path": "a"}}],
            [{**USE, "input": {"path": "a ", "n": None}}],
            [{**USE, "input": {"path": "a", "n": None, "id": 1}}],
            [text("so"), USE],
            [USE, text("so")],
        ],
        [
            [RESULT],
            [{**RESULT, "content": "lost"}],
            [{**RESULT, "content": None}],
            [{**RESULT, "tool_use_id": "t2"}],
            [{**RESULT, "content": [text("found"), IMAGE]}],
            [OUTPUT],
            [{**OUTPUT, "output": "undone"}],
        ],
        [
            [IMAGE],
            [{**IMAGE, "source": {**IMAGE["source"], "data": "aGs="}}],
            [{"type": "image", "source": {"type": "url", "url": "https://one"}}],
            [{"type": "image", "source": {"type": "url", "url": "https://two"}}],
            [{"type": "image_url", "image_url": {"url": "https://one"}}],
        ],
        [[FUNCTION], [{**FUNCTION, "arguments": '{"a":1,"b":3}'}], [{**FUNCTION, "name": "g"}]],
        [[{"type": "item_reference", "id": "1"}], [{"type": "item_reference", "id": "2"}]],
        [[THOUGHT], [{**THOUGHT, "thinking": "oh"}], "", 0, False, {"a": 0}],
        [[{"type": ["odd"]}], [{"type": 3}], [3], [{}], [[]]],
    ],
)
def test_other_messages_have_other_digests(different: list[Any]) -> None:
    assert len({digest(content) for content in different}) == len(different)


def test_the_role_counts() -> None:
    assert digest("hello", "user") != digest("hello", "assistant")


@pytest.mark.parametrize(
    ("metadata", "resent"),
    [
        ({}, {"model": "large", "usage": {"input": 3}, "tool_calls": None, "name": ""}),
        ({"tool_calls": [call()]}, {"tool_calls": [call(index=0)]}),
        ({"tool_calls": [call()]}, {"tool_calls": [call(arguments='{"n":1,"path":"a"}')]}),
        ({"tool_calls": [call()]}, {"tool_calls": [call(arguments={"n": 1, "path": "a"})]}),
        (
            {"tool_calls": [call()]},
            {"tool_calls": [{"id": "c1", "name": "read", "arguments": '{"path": "a", "n": 1}'}]},
        ),
        (
            {"tool_calls": [call(arguments="{broken")]},
            {"tool_calls": [call(arguments=" {broken ")]},
        ),
    ],
)
def test_what_does_not_count_of_metadata(metadata: Any, resent: Any) -> None:
    assert digest(None, **metadata) == digest("", **resent)


def test_what_tells_messages_apart_that_have_no_content() -> None:
    said: list[dict[str, Any]] = [
        {},
        {"refusal": "I cannot"},
        {"refusal": "I will not"},
        {"reasoning_content": "hm"},
        {"reasoning_content": "oh"},
        {"audio": {"data": "aGk="}},
    ]
    assert len({digest(None, **metadata) for metadata in said}) == len(said)
    assert digest("yes", reasoning_content="hm") == digest("yes")


def test_what_counts_of_metadata() -> None:
    different: list[dict[str, Any]] = [
        {},
        {"tool_calls": [call()]},
        {"tool_calls": [call(), call()]},
        {"tool_calls": [call("write")]},
        {"tool_calls": [call(arguments='{"path": "b", "n": 1}')]},
        {"tool_calls": [call(arguments="{broken")]},
        {"tool_calls": [{**call(), "id": "c2"}]},
        {"tool_calls": ["odd"]},
        {"tool_calls": 5},
        {"tool_calls": {"odd": 1}},
        {"tool_call_id": "c1"},
        {"tool_call_id": "c2"},
        {"name": "c1"},
    ]
    assert len({digest("x", **metadata) for metadata in different}) == len(different)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.floats(-1e9, 1e9),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=12,
)


@given(json_values)
def test_key_order_and_white_space_do_not_count(value: Any) -> None:
    plain = msgspec.json.encode(value)
    pretty = orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)
    assert digest_of("user", plain, {}) == digest_of("user", pretty, {})
    assert len(digest_of("user", plain, {})) == 32


@given(st.text(), st.text())
def test_texts_differ_as_they_differ(one: str, other: str) -> None:
    assert (digest(one) == digest([text(other)])) == (one.strip() == other.strip())


def test_half_of_a_surrogate_pair_is_digested_and_no_json_is_refused() -> None:
    assert digest_of("user", b'"\\ud83d"', {}) == digest("\ufffd", "user")
    with pytest.raises(RequestError):
        digest_of("user", b"{", {})


def test_a_content_that_is_nested_too_deeply_is_refused() -> None:
    for depth in (900, 100_000):
        with pytest.raises(RequestError, match="deeply"):
            digest_of("user", b'{"a":' * depth + b"1" + b"}" * depth, {})
