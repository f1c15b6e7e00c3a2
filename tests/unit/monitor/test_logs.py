from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from fairlead.monitor.accesslog import LogFormat
from fairlead.monitor.logs import LogRoot, configure_logging
from fairlead.monitor.redaction import Redactor
from fairlead.monitor.writer import LineWriter

SECRET = "upstream-key-0123"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("uvicorn.access").disabled = False
    structlog.reset_defaults()


class Output:
    """The log root on a stream that can be read."""

    def __init__(self, log_format: LogFormat, level: str = "info") -> None:
        self.stream = io.StringIO()
        redactor = Redactor()
        redactor.register(SECRET)
        self.root: LogRoot = configure_logging(
            log_format, level, redactor=redactor, stream=self.stream
        )

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def records(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.text.splitlines()]


def test_structlog_and_libraries_share_one_format() -> None:
    output = Output("json")
    structlog.get_logger("fairlead.x").info("opened", port=8100)
    logging.getLogger("uvicorn.error").warning("slow %s", "start")
    ours, theirs = output.records()
    assert (ours["event"], ours["port"], ours["level"]) == ("opened", 8100, "info")
    assert (theirs["event"], theirs["level"]) == ("slow start", "warning")
    assert theirs["logger"] == "uvicorn.error"
    logging.getLogger("fairlead.web").error("failed", extra={"request_id": "r1", "other": 2})
    extra = output.records()[-1]
    assert extra["request_id"] == "r1"
    assert "other" not in extra
    assert set(ours) >= {"timestamp", "logger"}


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_secret_gets_out(log_format: LogFormat) -> None:
    output = Output(log_format)
    log = structlog.get_logger("fairlead.x")
    log.info("with", **{SECRET: 1}, key=SECRET, header="Bearer abc.def")
    logging.getLogger("lib").error("sent %r", {"x-api-key": "12345"})
    try:
        raise ValueError(f"redis://:hunter2@host failed, {SECRET}")
    except ValueError:
        log.exception("failed")
        logging.getLogger("lib").exception("failed")
    for secret in (SECRET, "abc.def", "12345", "hunter2"):
        assert secret not in output.text
    assert output.text.count("Traceback") == 2


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_tracebacks_show_no_local_variables(log_format: LogFormat) -> None:
    output = Output(log_format)

    def answer(prompt: str) -> None:
        raise KeyError(len(prompt))

    try:
        answer(" ".join(["tell", "me", "a", "story"]))
    except KeyError:
        structlog.get_logger().exception("failed")
    assert "answer(" in output.text
    assert "tell me a story" not in output.text


def test_a_text_message_cannot_start_a_line_or_move_the_cursor() -> None:
    output = Output("text")
    logging.getLogger("lib").warning("a\n2026 [info] forged \x1b[2J")
    structlog.get_logger().warning("b", value="c\nd\x9b")
    assert len(output.text.splitlines()) == 2
    assert output.text.replace("\n", "").isprintable()


def test_levels_hold_for_both() -> None:
    output = Output("json", level="warning")
    structlog.get_logger("fairlead.x").info("quiet")
    logging.getLogger("lib").info("quiet")
    logging.getLogger("lib").warning("loud")
    assert [record["event"] for record in output.records()] == ["loud"]


def test_the_servers_own_access_log_is_off() -> None:
    output = Output("json")
    logging.getLogger("uvicorn.access").info("GET /v1/messages?key=1")
    assert output.text == ""


def test_a_message_that_does_not_fit_its_arguments_is_not_shown_raw(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = Output("json")
    logging.getLogger("lib").warning("%d", "secret argument")
    (record,) = output.records()
    assert (record["event"], record["logger"]) == ("a log record could not be formatted", "lib")
    assert output.root.failures == 1
    assert capsys.readouterr().err == ""


def test_a_stream_that_broke_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output("json")
    output.stream.close()
    logging.getLogger("lib").warning("unheard")
    assert output.root.failures == 1
    assert capsys.readouterr().err == ""


async def test_through_a_writer_while_it_is_open() -> None:
    output, stream = Output("json"), io.BytesIO()
    async with LineWriter(stream, output.root.redactor) as output.root.writer:
        structlog.get_logger().info("during")
    structlog.get_logger().info("after")
    assert json.loads(stream.getvalue())["event"] == "during"
    assert [record["event"] for record in output.records()] == ["after"]


def test_configuring_twice_gives_one_line_each() -> None:
    Output("text")
    output = Output("json")
    logging.getLogger("lib").warning("once")
    assert len(output.records()) == 1
