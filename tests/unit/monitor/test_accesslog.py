from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.identity import Principal
from fairlead.gateway.base import UsageRecord
from fairlead.monitor.accesslog import AccessLine, AccessLog, LogFormat
from fairlead.monitor.redaction import Redactor
from fairlead.monitor.writer import LineWriter
from fairlead.testing.clock import ManualClock

Make = Callable[..., UsageRecord]


class Kept(LineWriter):
    """Keeps the lines instead of writing them."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), Redactor())
        self.lines: list[bytes] = []

    def put(self, line: bytes) -> bool:
        self.lines.append(line)
        return True


def line_of(record: UsageRecord, log_format: LogFormat) -> bytes:
    writer = Kept()
    AccessLog(writer, log_format, ManualClock(1_700_000_000.25))(record)
    (line,) = writer.lines
    return line


def test_json_has_the_fields_in_order(usage: Make) -> None:
    line = line_of(usage(), "json")
    assert line.endswith(b"}\n")
    assert list(json.loads(line).items()) == [
        ("time", "2023-11-14T22:13:20.250Z"),
        ("request_id", "req-1"),
        ("method", "POST"),
        ("path", "/v1/messages"),
        ("status", 200),
        ("shape", "anthropic"),
        ("model", "claude-x"),
        ("upstream", "up-1"),
        ("cache", "miss"),
        ("cache_detail", ""),
        ("outcome", "ok"),
        ("seconds", 0.2),
        ("first_byte", 0.05),
        ("queued", 0.02),
        ("request_bytes", 1000),
        ("response_bytes", 200),
        ("tokens", 42),
        ("tenant", "red"),
        ("user", "ann"),
    ]


def test_text_is_one_readable_line(usage: Make) -> None:
    assert line_of(usage(), "text").decode() == (
        "2023-11-14T22:13:20.250Z 200 POST /v1/messages 0.2000s outcome=ok cache=miss"
        " cache_detail=- shape=anthropic model=claude-x upstream=up-1 first_byte=0.0500"
        " queued=0.0200"
        " request_bytes=1000 response_bytes=200 tokens=42 tenant=red user=ann request_id=req-1\n"
    )


def test_what_is_unknown_is_left_open(usage: Make) -> None:
    record = usage(first_byte=None, input_tokens=None, output_tokens=None, upstream="")
    fields = json.loads(line_of(record, "json"))
    assert (fields["first_byte"], fields["tokens"]) == (None, None)
    text = line_of(record, "text")
    assert b" first_byte=- " in text
    assert b" tokens=- " in text
    assert b" upstream=- " in text


@given(model=st.text(), user=st.text(), path=st.text())
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_field_can_end_a_line_or_move_the_cursor(
    log_format: LogFormat, model: str, user: str, path: str
) -> None:
    record = UsageRecord(
        request_id="r", principal=Principal("t", user), method="POST", path=path, model=model
    )
    line = line_of(record, log_format)
    text = line[:-1].decode()
    assert line[-1:] == b"\n"
    assert text.isprintable()


@pytest.mark.parametrize(
    "model", ["a\nb", "\x1b[2J", "\x9b31m", "\u2028", "\ud800", "ü\x00", "\x7f"]
)
def test_json_gives_back_what_it_was_given(usage: Make, model: str) -> None:
    line = line_of(usage(model=model), "json")
    assert line.isascii()
    assert json.loads(line)["model"] == model


def test_a_value_with_blanks_cannot_pretend_to_be_more_fields(usage: Make) -> None:
    line = line_of(usage(model="m tokens=9"), "text")
    assert b'model="m tokens=9" ' in line


def test_long_values_are_cut(usage: Make) -> None:
    fields: dict[str, Any] = json.loads(line_of(usage(model="m" * 10_000, path="/" * 9000), "json"))
    assert (len(fields["model"]), len(fields["path"])) == (256, 256)


async def test_the_time_follows_the_clock(usage: Make) -> None:
    clock, writer = ManualClock(1_700_000_000.9994), Kept()
    log = AccessLog(writer, "json", clock)
    log(usage())
    await clock.advance(0.5)
    log(usage())
    times = [json.loads(line)["time"] for line in writer.lines]
    assert times == ["2023-11-14T22:13:20.999Z", "2023-11-14T22:13:21.499Z"]


async def test_secrets_in_fields_do_not_reach_the_stream(usage: Make) -> None:
    stream = io.BytesIO()
    async with LineWriter(stream, Redactor()) as writer:
        AccessLog(writer, "json")(usage(path="/v1/sk-ant-1234567890"))
    assert b"1234567890" not in stream.getvalue()
    assert json.loads(stream.getvalue())["path"] == "/v1/sk-***"


def test_the_line_has_no_place_for_queries_headers_or_bodies() -> None:
    assert not {"query", "headers", "body", "prompt"} & set(AccessLine.__struct_fields__)
