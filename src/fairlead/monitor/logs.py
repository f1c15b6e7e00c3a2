"""The log root: structlog and every library's logger through one handler and one redactor.

Prompts are not logged: nothing here is given bodies, and tracebacks carry no local variables.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from fairlead.monitor.accesslog import LogFormat, escape_controls
from fairlead.monitor.redaction import Redactor
from fairlead.monitor.writer import LineWriter

# Loggers that are set up by their library or its server; they are made to go through the root.
_LIBRARIES = ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "aiohttp")
_SHARED: tuple[Processor, ...] = (
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)
# What this program's own modules say in `extra`; libraries' extras are for their own formatters.
_EXTRAS = ("request_id", "path")


class LogRoot(logging.StreamHandler[TextIO]):
    """The one handler: formats, redacts, and writes to a stream or through a `LineWriter`.

    Before `writer` is set and after it is closed, lines are written directly, so that nothing said
    during start and end is lost; in between a stuck stream does not block the caller.
    """

    def __init__(self, stream: TextIO, redactor: Redactor) -> None:
        super().__init__(stream)
        self.redactor = redactor
        self.writer: LineWriter | None = None
        self.failures = 0
        """Records that could not be formatted or written."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as redacted text."""
        try:
            text = super().format(record)
        except (TypeError, ValueError, KeyError):
            # The message does not fit its arguments. Neither is shown: this is the one place
            # where the standard library would print them raw.
            self.failures += 1
            text = super().format(_substitute(record))
        return self.redactor(text)

    def emit(self, record: logging.LogRecord) -> None:
        """Hand the line to the writer while there is one that is open."""
        if self.writer is None or not self.writer.is_open:
            super().emit(record)
        else:
            self.writer.put(self.format(record).encode("utf-8", "backslashreplace") + b"\n")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - logging's own
        """Count what could not be written; printing it would go to the same broken stream."""
        self.failures += 1


def configure_logging(
    log_format: LogFormat, level: str, *, redactor: Redactor, stream: TextIO | None = None
) -> LogRoot:
    """Set up structlog and the root logger; replaces what was set up before.

    `level` is a name such as `info`; `stream` is standard error unless given. A server must be
    told not to set up logging itself (uvicorn: `log_config=None`).
    """
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = LogRoot(stream or sys.stderr, redactor)
    handler.setFormatter(_formatter(log_format))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # The node writes its own access log.
    logging.getLogger("uvicorn.access").disabled = True
    return handler


def _substitute(record: logging.LogRecord) -> logging.LogRecord:
    words = {"msg": "a log record could not be formatted", "pathname": record.pathname}
    place = {"name": record.name, "levelno": record.levelno, "levelname": record.levelname}
    return logging.makeLogRecord(words | place | {"lineno": record.lineno})


def _formatter(log_format: LogFormat) -> logging.Formatter:
    formatter = structlog.stdlib.ProcessorFormatter
    renderers: list[Processor] = [structlog.processors.JSONRenderer()]
    if log_format == "text":
        renderers = [_escape, structlog.dev.ConsoleRenderer(colors=False)]
    return formatter(
        processors=[
            formatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            *renderers,
        ],
        foreign_pre_chain=[*_SHARED, structlog.stdlib.ExtraAdder(_EXTRAS)],
    )


def _escape(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Keep a value from starting a line of its own; a traceback keeps its lines."""
    for key, value in event.items():
        if key == "exception":
            event[key] = "\n".join(map(escape_controls, value.split("\n")))
        elif isinstance(value, str):
            event[key] = escape_controls(value)
    return event
