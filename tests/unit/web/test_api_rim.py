from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from fairlead.web.rim import Rim, choose_request_id

SCOPE: dict[str, Any] = {
    "type": "http",
    "method": "GET",
    "path": "/api/x",
    "headers": [(b"x-request-id", b"abc")],
}


async def run(rim: Rim) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("nobody reads the body")

    await rim(dict(SCOPE), receive, send)
    return sent


async def test_a_fault_before_the_answer_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("a detail")

    start, body = await run(Rim(app))
    assert start["status"] == 500
    assert (b"x-request-id", b"abc") in start["headers"]
    assert b"a detail" not in body["body"]


async def test_a_fault_within_the_answer_breaks_it_off() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        await run(Rim(app))


async def test_other_scopes_pass() -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def nothing(*_: Any) -> Any:
        raise AssertionError

    await Rim(app)({"type": "lifespan"}, nothing, nothing)
    assert seen == ["lifespan"]


@given(st.binary(max_size=200))
def test_a_request_id_is_always_safe_to_send_back(own: bytes) -> None:
    chosen = choose_request_id([(b"x-request-id", own)])
    assert 1 <= len(chosen) <= 128
    assert all("!" <= char <= "~" for char in chosen)
    if own.isascii() and own.decode().isprintable() and b" " not in own and 0 < len(own) <= 128:
        assert chosen.encode() == own


def test_the_first_usable_one_counts() -> None:
    headers = [(b"x-request-id", b"not usable"), (b"x-request-id", b"good")]
    assert choose_request_id(headers) == "good"
