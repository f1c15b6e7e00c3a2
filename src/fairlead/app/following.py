"""What stands before a response that goes on from another by its id (pure).

With `previous_response_id` an assistant sends only what is new: the conversation so far is the
upstream's to know, and here it has to be remembered, or each turn would be a conversation of its
own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fairlead.core.identity import Principal
from fairlead.core.lru import SizedLRU

REMEMBERED, REMEMBERED_BYTES = 20_000, 16 * 1024 * 1024
"""Responses; what goes on from one that was forgotten, as by a restart, begins a branch."""
MAX_TURNS = 2_000
"""Turns that are followed back."""

_ENTRY = 300
"""Bytes that a message or a turn takes in memory besides its content, about."""

Key = tuple[str, str, str]
"""Tenant, user, response: a guessed id finds nobody else's conversation."""


class Known(msgspec.Struct, frozen=True):
    """A message as it is stored, whoever says it and whenever."""

    role: str
    content: bytes
    metadata: Mapping[str, Any]
    digest: str
    text: str
    title: str
    """For a thread that begins with it; empty where it gives none."""
    metadata_size: int
    """Bytes as JSON."""

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        return _ENTRY + len(self.content) + len(self.text) + self.metadata_size


class _Turn(msgspec.Struct, frozen=True):
    session: str
    previous: str
    said: Sequence[Known]

    @property
    def size(self) -> int:
        return _ENTRY + sum(known.size for known in self.said)


class Following:
    """The latest responses, each with what its own turn has said."""

    def __init__(self) -> None:
        self._turns: SizedLRU[Key, _Turn] = SizedLRU(
            REMEMBERED, REMEMBERED_BYTES, lambda turn: turn.size
        )

    def before(self, principal: Principal, previous: str) -> tuple[str, Sequence[Known]] | None:
        """Session and messages of the conversation up to a response; None: it is not known."""
        turns: list[_Turn] = []
        turn = self._turn(principal, previous)
        while turn is not None and len(turns) < MAX_TURNS:
            turns.append(turn)
            turn = self._turn(principal, turn.previous)
        if not turns:
            return None
        return turns[0].session, [known for turn in reversed(turns) for known in turn.said]

    def keep(
        self,
        principal: Principal,
        response: str,
        session: str,
        previous: str,
        said: Sequence[Known],
    ) -> None:
        """Remember a turn; `previous` is empty where it began a conversation."""
        key = principal.tenant, principal.user, response
        self._turns.put(key, _Turn(session, previous, said))

    def _turn(self, principal: Principal, response: str) -> _Turn | None:
        return self._turns.get((principal.tenant, principal.user, response)) if response else None
