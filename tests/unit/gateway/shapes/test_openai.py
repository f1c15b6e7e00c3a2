"""OpenAI's shapes: errors its own client reads, ends it would accept, usage where it puts it."""

from __future__ import annotations

import json

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.shapes import OPENAI, OPENAI_RESPONSES
from fairlead.gateway.shapes.base import Shape, Usage

BOTH = pytest.mark.parametrize("shape", [OPENAI, OPENAI_RESPONSES], ids=lambda shape: shape.name)


def chunk(**fields: object) -> bytes:
    event = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", **fields}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def delta(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return chunk(choices=[choice])


DONE = b"data: [DONE]\n\n"
CHAT = delta("Hel") + delta("lo", "stop")


def typed(kind: str, **fields: object) -> bytes:
    data = json.dumps({"type": kind, **fields}).encode()
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


RESPONSE = {"id": "r", "status": "completed", "usage": {"input_tokens": 7, "output_tokens": 5}}
RESPONSES = typed(
    "response.created", sequence_number=0, response={"id": "r", "status": "in_progress"}
) + typed("response.output_text.delta", sequence_number=1, delta="Hi")
COMPLETED = typed("response.completed", sequence_number=2, response=RESPONSE)


def client(body: bytes, status: int = 200, kind: str = "text/event-stream") -> openai.OpenAI:
    answer = httpx2.Response(status, content=body, headers={"content-type": kind})
    transport = httpx2.MockTransport(lambda _: answer)
    return openai.OpenAI(
        api_key="sk-x",
        base_url="http://node/v1",
        max_retries=0,
        http_client=httpx2.Client(transport=transport),
    )


# ---- errors


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (502, openai.InternalServerError),
        (503, openai.InternalServerError),
        (504, openai.InternalServerError),
    ],
)
def test_the_official_client_reads_our_errors(
    status: int, kind: type[openai.APIStatusError]
) -> None:
    body = OPENAI.error_body(status, 'it is "so"\n', "model", "model_not_found")
    with (
        client(body, OPENAI.error_status(status), "application/json") as sdk,
        pytest.raises(kind) as caught,
    ):
        sdk.models.list()

    assert caught.value.status_code == status
    assert caught.value.body == {
        "message": 'it is "so"\n',
        "type": caught.value.type,
        "param": "model",
        "code": "model_not_found",
    }
    assert caught.value.type != "authentication_error"


def test_the_official_client_reads_the_end_of_a_broken_chat() -> None:
    body = CHAT + OPENAI.stream_error("upstream 'x': gone", "upstream_broken", CHAT)
    seen: list[str | None] = []
    with client(body) as sdk:
        parts = sdk.chat.completions.create(model="m", messages=[], stream=True)
        with pytest.raises(openai.APIError, match="upstream 'x': gone") as caught:
            seen.extend(part.choices[0].delta.content for part in parts)

    assert seen == ["Hel", "lo"]
    assert caught.value.code == "upstream_broken"


def test_the_official_client_reads_the_end_of_a_broken_response() -> None:
    body = RESPONSES + OPENAI_RESPONSES.stream_error("gone", "upstream_broken", RESPONSES)
    with client(body) as sdk:
        *before, last = sdk.responses.create(model="m", input="x", stream=True)

    assert [event.type for event in before] == ["response.created", "response.output_text.delta"]
    assert last.type == "error"
    assert (last.message, last.code, last.sequence_number) == ("gone", "upstream_broken", 2)


@BOTH
def test_an_error_event_begins_a_line_of_its_own(shape: Shape) -> None:
    whole = typed("response.created", sequence_number=4)

    assert shape.stream_error("m", "c", b"").startswith((b"data: ", b"event: "))
    assert shape.stream_error("m", "c", whole).startswith((b"data: ", b"event: "))
    for cut in range(1, len(whole)):
        assert shape.stream_error("m", "c", whole[:cut]).startswith(b"\n\n")
    assert shape.stream_error("m", "c", whole).endswith(b"\n\n")


def test_sequence_numbers_go_on_from_what_is_known() -> None:
    def number(sent: bytes) -> object:
        event = OPENAI_RESPONSES.stream_error("m", "c", sent)
        return json.loads(event.partition(b"data: ")[2])["sequence_number"]

    assert number(b"") == 0
    assert number(RESPONSES) == 2
    # What is known may begin and end within an event.
    assert number(b'ce_number":9}\n\n' + RESPONSES + b'event: x\ndata: {"sequence_nu') == 2
    assert number(b'data: {"sequence_number":"x"}\n\n') == 0


# ---- what is whole


@pytest.mark.parametrize(
    ("body", "whole"),
    [
        (CHAT + DONE, True),
        ((CHAT + DONE).replace(b"\n", b"\r\n"), True),
        (CHAT + b"data:[DONE]\n\n", True),
        (CHAT + b": ping\n\n" + DONE, True),
        (CHAT + b"data: [DONE]", True),
        (CHAT, False),
        (CHAT[:-10], False),
        (b"", False),
        (CHAT + b'data: {"error":{"message":"boom"}}\n\n' + DONE, False),
        (CHAT + b'data:{"error":{"message":"boom"}}\n\n' + DONE, False),
        (CHAT + b'data: { "error": {"message":"boom"}}\n\n' + DONE, False),
        (CHAT + b'data: {"id":"c","error":{"message":"boom"}}\n\n' + DONE, False),
        (CHAT + b'data: {"object":"error","message":"boom","code":500}\n\n' + DONE, False),
        (CHAT + b'event: error\ndata: {"message":"boom"}\n\n' + DONE, False),
        (CHAT + b'event:error\ndata: {"message":"boom"}\n\n' + DONE, False),
        (delta('say "data: {\\"error\\"" or\nevent: error', "stop") + DONE, True),
        (chunk(choices=[], error=None) + CHAT + DONE, True),
        (CHAT + DONE + delta("more"), False),
    ],
)
def test_a_chat_stream_is_whole_with_its_last_event_and_no_error(body: bytes, whole: bool) -> None:
    assert OPENAI.read(body, stream=True).complete == whole


@pytest.mark.parametrize(
    ("body", "whole"),
    [
        (b'{"id":"c","choices":[]}', True),
        (b'{"object":"list","data":[]}', True),
        (b'{"id":"c","error":null}', True),
        (b'{"error":{"message":"boom"}}', False),
        (b'{"object":"error","message":"boom","code":500}', False),
        (b'{"id":"c"', False),
        (b"[]", False),
        (b"<html>", False),
        (b"\xff", False),
        (b"", False),
        (b'{"x":' + b"[" * 50_000, False),
    ],
)
def test_a_plain_answer_is_whole_when_it_is_an_object_without_error(
    body: bytes, whole: bool
) -> None:
    assert OPENAI.read(body, stream=False).complete == whole


@pytest.mark.parametrize(
    ("body", "whole"),
    [
        (RESPONSES + COMPLETED, True),
        ((RESPONSES + COMPLETED).replace(b"\n", b"\r\n"), True),
        (RESPONSES, False),
        (RESPONSES + typed("response.failed", response={"status": "failed"}), False),
        (RESPONSES + typed("response.incomplete", response={"status": "incomplete"}), False),
        (RESPONSES + typed("error", message="boom") + COMPLETED, False),
        (RESPONSES + COMPLETED + typed("error", message="boom"), False),
        (b"", False),
    ],
)
def test_a_responses_stream_is_whole_when_it_completed(body: bytes, whole: bool) -> None:
    assert OPENAI_RESPONSES.read(body, stream=True).complete == whole


@pytest.mark.parametrize("status", ["completed", "failed", "incomplete", "in_progress", None])
def test_a_plain_response_is_whole_when_it_completed(status: str | None) -> None:
    body = json.dumps({"id": "r", "status": status}).encode()

    assert OPENAI_RESPONSES.read(body, stream=False).complete == (status == "completed")


# ---- usage


def test_chat_usage() -> None:
    figures = {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15}
    plain = json.dumps({"choices": [], "usage": figures}).encode()
    streamed = chunk(choices=[], usage=None) + CHAT + chunk(choices=[], usage=figures) + DONE

    assert OPENAI.read(plain, stream=False).usage == Usage(11, 4)
    assert OPENAI.read(streamed, stream=True).usage == Usage(11, 4)
    assert OPENAI.read(CHAT + DONE, stream=True).usage == Usage()
    assert Usage().total is None
    assert Usage(11, 4).total == 15
    assert Usage(11).total == 11


def test_usage_that_grows_is_read_at_its_last() -> None:
    streamed = b"".join(
        chunk(choices=[], usage={"prompt_tokens": 3, "completion_tokens": n}) for n in (1, 2, 3)
    )

    assert OPENAI.read(streamed + DONE, stream=True).usage == Usage(3, 3)


def test_responses_usage() -> None:
    assert OPENAI_RESPONSES.read(json.dumps(RESPONSE).encode(), stream=False).usage == Usage(7, 5)
    assert OPENAI_RESPONSES.read(RESPONSES + COMPLETED, stream=True).usage == Usage(7, 5)
    assert OPENAI_RESPONSES.read(RESPONSES, stream=True).usage == Usage()


def test_a_large_last_event_known_only_by_its_end_still_tells_usage() -> None:
    """`response.completed` repeats instructions and tools: it is longer than what is kept of it."""
    response = {"id": "r", "instructions": "x" * 50_000, "output": [], **RESPONSE, "metadata": {}}
    body = RESPONSES + typed("response.completed", sequence_number=2, response=response)

    assert OPENAI_RESPONSES.read(body[-16_384:], stream=True).usage == Usage(7, 5)


@BOTH
@pytest.mark.parametrize(
    "usage",
    [None, [], "many", {"prompt_tokens": "7"}, {"prompt_tokens": -1}, {"prompt_tokens": True},
     {"prompt_tokens": 1e3}, {"prompt_tokens": 2**60}],
    ids=str,
)  # fmt: skip
def test_figures_that_cannot_be_are_not_known(shape: Shape, usage: object) -> None:
    body = json.dumps({"usage": usage, "response": {"usage": usage}}).encode()

    assert shape.read(body, stream=False).usage == Usage()
    assert shape.read(b"data: " + body + b"\n\n", stream=True).usage == Usage()


@BOTH
@given(body=st.binary(max_size=80), stream=st.booleans())
def test_garbage_is_never_whole_and_tells_nothing(shape: Shape, body: bytes, stream: bool) -> None:
    assert not shape.read(b"\x00" + body, stream=stream).complete or stream
    assert shape.read(body, stream=stream).usage == Usage()
    assert shape.stream_error("m", "c", body).endswith(b"\n\n")
