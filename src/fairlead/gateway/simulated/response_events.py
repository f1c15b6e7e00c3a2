"""OpenAI responses: the answer as one object or as typed events."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec

from fairlead.gateway.simulated.model import Answer, Block
from fairlead.gateway.simulated.shape import Event, encode, typed
from fairlead.gateway.simulated.tokens import pieces

_PREFIX = {"thinking": "rs_", "text": "msg_", "tool": "fc_"}


class ResponseWriter:
    """Writes one answer.

    `echo` holds the fields of the response that repeat the request, encoded; `encrypted` adds the
    reasoning's (made up) encrypted form.
    """

    def __init__(self, answer: Answer, echo: dict[str, msgspec.Raw], *, encrypted: bool) -> None:
        self._answer = answer
        self._echo = echo
        self._encrypted = encrypted
        self._choice = answer.choices[0]
        self._sequence = 0

    def plain(self) -> bytes:
        """The finished `response` object."""
        return encode(self._finished())

    def events(self) -> Iterator[Event]:
        """All events in order; to be iterated once."""
        for kind in ("response.created", "response.in_progress"):
            yield self._event(kind, response=self._response("in_progress", []))
        for index, block in enumerate(self._choice.blocks):
            opening = self._item(block, "in_progress", empty=True)
            yield self._event("response.output_item.added", output_index=index, item=opening)
            place = {"item_id": opening["id"], "output_index": index}
            yield from self._block(block, place)
            whole = self._item(block, self._status(block))
            yield self._event("response.output_item.done", output_index=index, item=whole)
        finished = self._finished()
        yield self._event(f"response.{finished['status']}", response=finished)

    def _block(self, block: Block, place: dict[str, Any]) -> Iterator[Event]:
        if block.kind == "tool":
            yield from self._deltas("response.function_call_arguments", block, place)
            done = {**place, "arguments": block.text, "name": block.name}
            yield self._event("response.function_call_arguments.done", **done)
        elif block.kind == "thinking":
            part = {**place, "summary_index": 0}
            opening = {"type": "summary_text", "text": ""}
            yield self._event("response.reasoning_summary_part.added", **part, part=opening)
            yield from self._deltas("response.reasoning_summary_text", block, part)
            yield self._event("response.reasoning_summary_text.done", **part, text=block.text)
            whole = {"type": "summary_text", "text": block.text}
            yield self._event("response.reasoning_summary_part.done", **part, part=whole)
        else:
            part = {**place, "content_index": 0}
            yield self._event("response.content_part.added", **part, part=_output_text(""))
            extra = {**part, "logprobs": []}
            yield from self._deltas("response.output_text", block, extra)
            yield self._event("response.output_text.done", **extra, text=block.text)
            yield self._event("response.content_part.done", **part, part=_output_text(block.text))

    def _deltas(self, kind: str, block: Block, place: dict[str, Any]) -> Iterator[Event]:
        head = typed(f"{kind}.delta", place).removesuffix(b"}\n\n")
        for piece in pieces(block.text):
            number, self._sequence = self._sequence, self._sequence + 1
            tail = b',"sequence_number":%d,"delta":%s}\n\n' % (number, encode(piece))
            yield head + tail, True

    def _event(self, kind: str, **fields: object) -> Event:
        number, self._sequence = self._sequence, self._sequence + 1
        return typed(kind, {"sequence_number": number, **fields}), False

    def _status(self, block: Block) -> str:
        cut = self._choice.finish == "length" and block is self._choice.blocks[-1]
        return "incomplete" if cut else "completed"

    def _item(self, block: Block, status: str, *, empty: bool = False) -> dict[str, Any]:
        item: dict[str, Any] = {"id": _PREFIX[block.kind] + block.id}
        text = "" if empty else block.text
        if block.kind == "thinking":
            summary = [] if empty else [{"type": "summary_text", "text": text}]
            item |= {"type": "reasoning", "summary": summary}
            return item | ({"encrypted_content": _encrypted(block)} if self._encrypted else {})
        if block.kind == "tool":
            call = {"call_id": f"call_{block.id}", "name": block.name, "arguments": text}
            return item | {"type": "function_call", "status": status, **call}
        content = [] if empty else [_output_text(text)]
        return item | {"type": "message", "status": status, "role": "assistant", "content": content}

    def _finished(self) -> dict[str, Any]:
        status = "incomplete" if self._choice.finish == "length" else "completed"
        output = [self._item(block, self._status(block)) for block in self._choice.blocks]
        response = self._response(status, output)
        response["usage"] = self._usage()
        if status == "incomplete":
            response["incomplete_details"] = {"reason": "max_output_tokens"}
        else:
            response["completed_at"] = response["created_at"]
        return response

    def _response(self, status: str, output: list[Any]) -> dict[str, Any]:
        return {
            "id": f"resp_{self._answer.id[:48]}",
            "object": "response",
            "created_at": self._answer.created,
            "status": status,
            "background": False,
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "model": self._answer.model,
            "output": output,
            "service_tier": "default",
            "usage": None,
            **self._echo,
        }

    def _usage(self) -> dict[str, Any]:
        usage = self._answer.usage
        return {
            "input_tokens": usage.prompt.prompt,
            "input_tokens_details": {
                "cached_tokens": usage.prompt.cached,
                "cache_write_tokens": usage.prompt.stored,
            },
            "output_tokens": usage.output,
            "output_tokens_details": {"reasoning_tokens": usage.thinking},
            "total_tokens": usage.prompt.prompt + usage.output,
        }


def _output_text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _encrypted(block: Block) -> str:
    return base64.b64encode(hashlib.sha512(b"simulated" + block.id.encode()).digest()).decode()
