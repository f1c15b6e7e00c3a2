"""`/api/threads` of a node, as a plain client calls it; everything blocks."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

_TIMEOUT = 30.0
_PAGE = 500


class Answer(NamedTuple):
    """A status and the JSON that came with it."""

    status: int
    body: Any


def call(url: str, method: str, path: str, body: object = None) -> Answer:
    """One request; raises `OSError` where the node goes away meanwhile."""
    request = urllib.request.Request(  # noqa: S310 - our own node
        f"{url}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310 - our own node
            return Answer(answer.status, json.loads(answer.read() or b"null"))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, json.loads(error.read() or b"null"))


def create(url: str, **fields: object) -> str:
    """The id of a new thread."""
    answer = call(url, "POST", "/api/threads", fields)
    assert answer.status == 201, answer
    thread: str = answer.body["id"]
    return thread


def everything(url: str, thread: str) -> list[dict[str, Any]]:
    """All messages of a thread, page by page from the first."""
    found: list[dict[str, Any]] = []
    after = 0
    while True:
        path = f"/api/threads/{thread}/messages?after={after}&limit={_PAGE}"
        answer = call(url, "GET", path)
        assert answer.status == 200, answer
        found += answer.body["messages"]
        if answer.body["next"] is None:
            return found
        after = answer.body["next"]


class Load:
    """Clients that append one message after another until they are stopped, or the node is gone."""

    def __init__(self, url: str, threads: Sequence[str], name: str) -> None:
        self.acknowledged: dict[str, str] = {}
        """What was said, by message id."""
        self.refused: list[Answer] = []
        """Answers other than 201."""
        self._name = name
        self._stopped = False
        self._told = threading.Condition()
        self._clients = [
            threading.Thread(target=self._client, args=(url, thread, number))
            for number, thread in enumerate(threads)
        ]

    def wait_for(self, count: int) -> None:
        """Return when that many messages were acknowledged altogether."""
        with self._told:
            enough = self._told.wait_for(lambda: len(self.acknowledged) >= count, _TIMEOUT)
        assert enough, f"{len(self.acknowledged)} acknowledged; refused: {self.refused[:3]}"

    def _client(self, url: str, thread: str, number: int) -> None:
        count = 0
        while not self._stopped:
            count += 1
            text = f"message {count} of client {number} in {self._name}"
            message = {"role": "user", "content": text}
            try:
                answer = call(url, "POST", f"/api/threads/{thread}/messages", message)
            except OSError:  # the node is gone; whether this one was stored is open
                return
            with self._told:
                if answer.status == 201:
                    self.acknowledged[answer.body["messages"][0]["id"]] = text
                else:
                    self.refused.append(answer)
                self._told.notify_all()

    def __enter__(self) -> Self:
        for client in self._clients:
            client.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped = True
        for client in self._clients:
            client.join(_TIMEOUT)
