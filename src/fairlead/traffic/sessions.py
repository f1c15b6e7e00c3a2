"""Where each session is: a bounded table, and where those go that are about to get a place."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

import msgspec

from fairlead.traffic.member import Account

_LONGEST_KEY = 100
_EXPIRED_PER_CALL = 2


def session_key(session: str, model: str) -> str:
    """What the table knows a session by; empty for none.

    Per model, because prompt caches are, and a session's models may be served by different
    servers. Bounded in size, because sessions and models are the callers' words.
    """
    if not session:
        return ""
    key = f"{session}\n{model}"
    if len(key) <= _LONGEST_KEY:
        return key
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class _Entry(msgspec.Struct, gc=False):
    """Not watched by the garbage collector: no entry is reachable from what it holds."""

    account: Account
    used: float


class _Gathering(msgspec.Struct, gc=False):
    account: Account
    requests: int


class SessionTable:
    """Session keys to accounts: least recently served out first, or after `ttl` seconds."""

    def __init__(self, max_sessions: int, ttl: float) -> None:
        self.moved = 0
        self._max_sessions = max_sessions
        self._ttl = ttl
        # Ordered by use, and use is always now: the first entry is the one that expires first.
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._gatherings: dict[str, _Gathering] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def gatherings(self) -> int:
        """Sessions with requests in flight that were sent while they had no place."""
        return len(self._gatherings)

    def home(self, key: str, now: float) -> Account | None:
        """The place of a session, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now - entry.used > self._ttl:
            self._drop(key)
            return None
        return entry.account

    def served(self, key: str, account: Account, left: Account | None, now: float) -> None:
        """A request of the session was answered by `account`, which is its place if it has none.

        Or if its place is still the one it `left`; another place that it got meanwhile stands.
        """
        self._expire(now)
        entry = self._entries.get(key)
        if entry is None:
            self._insert(key, account, now)
            return
        entry.used = now
        self._entries.move_to_end(key)
        if left is not None and entry.account is left and account is not left:
            self.moved += 1
            left.member.sessions -= 1
            account.member.sessions += 1
            entry.account = account

    def _insert(self, key: str, account: Account, now: float) -> None:
        if len(self._entries) >= self._max_sessions:
            self._drop(next(iter(self._entries)))
        self._entries[key] = _Entry(account, now)
        account.member.sessions += 1

    def _expire(self, now: float) -> None:
        # A few per call: what expires is paid for by what comes, and no call pays for all.
        for _ in range(_EXPIRED_PER_CALL):
            first = next(iter(self._entries), None)
            if first is None or now - self._entries[first].used <= self._ttl:
                return
            self._drop(first)

    def _drop(self, key: str) -> None:
        self._entries.pop(key).account.member.sessions -= 1

    def gathering(self, key: str) -> Account | None:
        """Where the session's other requests went that found it without a place, while they run.

        A hundred sub-agents that start together would scatter otherwise.
        """
        gathering = self._gatherings.get(key)
        return None if gathering is None else gathering.account

    def gather(self, key: str, account: Account) -> None:
        """One more request of the session is on its way without a place; the next go here."""
        gathering = self._gatherings.get(key)
        if gathering is None:
            self._gatherings[key] = _Gathering(account, 1)
        else:
            gathering.account = account
            gathering.requests += 1

    def disperse(self, key: str) -> None:
        """One of those requests is over."""
        gathering = self._gatherings[key]
        gathering.requests -= 1
        if gathering.requests == 0:
            del self._gatherings[key]

    def clear(self) -> None:
        """Forget every place; requests on their way keep theirs."""
        for key in list(self._entries):
            self._drop(key)

    def __repr__(self) -> str:
        return f"<SessionTable {len(self)}/{self._max_sessions}, {self.moved} moved>"
