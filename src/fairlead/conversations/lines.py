"""Threads as lines of JSON: what is exported, and taken in again elsewhere.

The first line names format and version, each other one is an event of the log, in the order of
their keys (tenant, thread, origin, sequence). The same log always gives the same bytes.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import BinaryIO, NoReturn

import msgspec

from fairlead.conversations.base import ThreadLog
from fairlead.conversations.inputs import checked_id
from fairlead.conversations.records import (
    Branched,
    Change,
    Edited,
    LogPosition,
    Removed,
    Said,
    ThreadEvent,
)
from fairlead.conversations.texts import value_of
from fairlead.errors import NotFoundError, RequestError

FORMAT, VERSION = "fairlead.threads", 1
MAX_LINE = 64 * 1024 * 1024
"""Bytes of a line, its end counted."""
MAX_NAME = 1_024
"""Characters of a tenant or an origin."""
BATCH_EVENTS, BATCH_BYTES = 500, 8 * 1024 * 1024
"""Threads are added together until they are as much; a thread is never split."""

_PAGE = 200
_TOP = (1 << 63) - 1
"""The largest whole number that the engines keep."""

Key = tuple[str, str, str, int]
Progress = Callable[[int], object]
"""Is told how many events are done."""


class _Header(msgspec.Struct, frozen=True):
    format: str
    version: int


class _Line(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    tenant: str
    thread: str
    origin: str
    sequence: int
    id: str
    hlc: int
    change: Change
    content: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    content_text: str | msgspec.UnsetType = msgspec.UNSET
    """In the place of `content` where its JSON text cannot stand in a line as it is."""


_encode = msgspec.json.Encoder().encode
_header = msgspec.json.Decoder(_Header).decode
_raw = msgspec.json.Decoder(msgspec.Raw).decode
_line = msgspec.json.Decoder(_Line).decode


# ---- out


async def export_events(
    store: ThreadLog,
    write: Callable[[bytes], object],
    *,
    tenant: str | None = None,
    threads: Sequence[str] = (),
    progress: Progress = lambda _: None,
) -> int:
    """Write the whole log, one tenant's, or only some of its threads; how many events they are.

    `threads` need a tenant; raises `NotFoundError` for one that it does not have.
    """
    write(_encode(_Header(FORMAT, VERSION)) + b"\n")
    pages = all_events(store, tenant)
    if threads:
        if tenant is None:
            raise RequestError(422, "threads are of one tenant: name it", param="tenant")
        pages = _events_of(store, tenant, threads)
    done = 0
    async for page in pages:
        for event in page:
            write(encode_line(event))
        done += len(page)
        progress(done)
    return done


async def all_events(
    store: ThreadLog, tenant: str | None = None
) -> AsyncIterator[Sequence[ThreadEvent]]:
    """The log (or one tenant's) by pages, in the order of keys."""
    after = None
    while page := await store.events(after, _PAGE, tenant):
        yield page
        after = LogPosition(*_key(page[-1]))


async def _events_of(
    store: ThreadLog, tenant: str, threads: Sequence[str]
) -> AsyncIterator[Sequence[ThreadEvent]]:
    for thread in sorted({checked_id(thread) for thread in threads}):
        events = await store.thread_events(tenant, thread)
        if not events:
            raise NotFoundError("thread", thread)
        yield sorted(events, key=_key)


def encode_line(event: ThreadEvent) -> bytes:
    """The line of an event, with its end."""
    line = _Line(*_key(event), event.id, event.hlc, event.change)
    content = event.content
    if content is None:
        pass
    elif _fits(content):
        line = msgspec.structs.replace(line, content=msgspec.Raw(content))
    else:
        line = msgspec.structs.replace(line, content_text=content.decode())
    return _encode(line) + b"\n"


def _fits(content: bytes) -> bool:
    """Whether it comes out of a line as it was put in."""
    if b"\n" in content or b"\r" in content or content != content.strip():
        return False
    try:
        _raw(content)
    except msgspec.DecodeError:  # such as half of a surrogate pair
        return False
    return True


def _key(event: ThreadEvent) -> Key:
    return event.tenant, event.thread, event.origin, event.sequence


# ---- in


async def import_events(
    store: ThreadLog, file: BinaryIO, progress: Progress = lambda _: None
) -> tuple[int, int]:
    """Add the events of a file to the log: how many it has, and how many of them were new.

    What is there already stays as it is. Raises `RequestError` naming the line at fault; what came
    before its thread may have been added by then, and does no harm when it is imported again.
    """
    reader = _Reader(file)
    batch: list[ThreadEvent] = []
    size = done = new = 0
    while thread := reader.thread():
        batch += thread
        size += sum(len(event.content or b"") for event in thread)
        if len(batch) >= BATCH_EVENTS or size >= BATCH_BYTES:
            new += await store.add(batch)
            done += len(batch)
            batch, size = [], 0
            progress(done)
    new += await store.add(batch) if batch else 0
    progress(done + len(batch))
    return done + len(batch), new


class _Reader:
    """Takes threads from a file, one by one, and lets nothing through that no log could hold."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._number = 0
        self._check_header()
        self._next = self._event()

    def thread(self) -> list[ThreadEvent]:
        """All events of the next thread; none at the end."""
        found: list[ThreadEvent] = []
        contents: set[str] = set()
        while (event := self._next) is not None:
            if found and _key(event)[:2] != _key(found[0])[:2]:
                break
            found.append(event)
            if event.content is not None:
                contents.add(event.id)
            self._next = self._event()
            if self._next is not None and _key(self._next) <= _key(event):
                self._refuse("it is not in the order of tenant, thread, origin and sequence")
        for one in found:
            _check_link(one, contents)
        return found

    def _check_header(self) -> None:
        line = self._read()
        try:
            header = _header(line or b"")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._refuse(f"this is no export of threads (no format {FORMAT!r})")
        if header.format != FORMAT:
            self._refuse(f"the format {header.format[:64]!r} is not {FORMAT!r}")
        if header.version != VERSION:
            self._refuse(f"version {header.version}, this program reads version {VERSION}")

    def _event(self) -> ThreadEvent | None:
        data = self._read()
        if data is None:
            return None
        try:
            data.decode()
            return _taken(_line(data))
        except (msgspec.MsgspecError, ValueError, RecursionError, RequestError) as error:
            self._refuse(str(error))

    def _read(self) -> bytes | None:
        data = self._file.readline(MAX_LINE + 1)
        self._number += 1
        if not data:
            return None
        if len(data) > MAX_LINE:
            self._refuse(f"it is longer than {MAX_LINE >> 20} MiB")
        if not data.endswith(b"\n"):
            self._refuse("it breaks off: the file is not whole")
        return data

    def _refuse(self, why: str) -> NoReturn:
        raise RequestError(422, f"line {self._number}: {why}", param="file", code="invalid")


def _taken(line: _Line) -> ThreadEvent:
    """The event of a line; raises `ValueError` or `RequestError` where it cannot be one."""
    _check_ids(line)
    content = _content(line)
    if content is not None:
        value_of(content)
    change = line.change
    numbers = [line.sequence - 1, line.hlc]
    if isinstance(change, Said):
        numbers += [change.timestamp, change.branch + 1]
    if isinstance(change, Branched):
        numbers += [change.branch - 1, *(one for pair in change.basis for one in pair)]
    if not all(0 <= number < _TOP for number in numbers):
        raise ValueError("a number is out of its range")
    if isinstance(change, Said) and change.same_as is not None:
        needs_content = False
    else:
        needs_content = isinstance(change, Said | Edited)
    if needs_content != (content is not None):
        raise ValueError("it has no content" if needs_content else "it cannot have a content")
    return ThreadEvent(
        line.tenant,
        line.thread,
        line.origin,
        line.sequence,
        line.id,
        line.hlc,
        change,
        content,
    )


def _check_link(event: ThreadEvent, contents: set[str]) -> None:
    same_as = event.change.same_as if isinstance(event.change, Said) else None
    if same_as is not None and same_as not in contents:
        message = f"event {event.id} has the content of {same_as}, which its thread does not have"
        raise RequestError(422, message, param="file", code="invalid")


def _check_ids(line: _Line) -> None:
    ids = [line.thread, line.id]
    if isinstance(line.change, Edited | Removed):
        ids.append(line.change.message)
    if isinstance(line.change, Said) and line.change.same_as is not None:
        ids.append(line.change.same_as)
    for one in ids:
        if str(uuid.UUID(one)) != one:
            raise ValueError(f"{one[:64]!r} is not the canonical form of an id")
    if not all(0 < len(name) <= MAX_NAME for name in (line.tenant, line.origin)):
        raise ValueError(f"tenant and origin have 1 to {MAX_NAME} characters")


def _content(line: _Line) -> bytes | None:
    if line.content_text is not msgspec.UNSET:
        return line.content_text.encode()
    return None if line.content is msgspec.UNSET else bytes(line.content)
