"""Full-text search in the SQLite file: FTS5, ranked by BM25; runs in a reader's thread.

Every word of the index has its tenant's number before it, so a search meets no entry of another
tenant, and a word counts as rare or common within the tenant.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from operator import attrgetter

import apsw
import msgspec

from fairlead.conversations.codec import decode_content, metadata_of
from fairlead.conversations.records import Head, Hit, Match, SearchQuery
from fairlead.conversations.sqlite_rows import HEAD, conjunction, head_of
from fairlead.conversations.texts import message_text, snippet, terms_of
from fairlead.core.statements import load_statements

MAX_COMPARED = 5_000
"""Matches that are ranked: the newest of those that the viewer may see."""
MAX_MATCHES = 3
"""Matches that are shown of a thread: the best."""

SQL = {
    name: sql.replace("{head}", HEAD).replace("{newest}", "newest")
    for name, sql in load_statements(
        "fairlead.conversations", "sql", "sqlite", "search.sql"
    ).items()
}
_SEES_OWN, _SEES_ALL = "(c.user_id = :user OR c.is_shared = 1)", "1"


class _Found(msgspec.Struct, order=True, frozen=True):
    """A message or title with all the words; the better and newer the greater."""

    score: float
    row: int
    """Of the message; 0 for a title."""
    sequence: int


class _Thread(msgspec.Struct):
    """A thread and what was found in it."""

    conversation: int
    found: list[_Found]

    @property
    def rank(self) -> tuple[float, int, int]:
        """The better and newer the greater."""
        best = max(self.found)
        return best.score, best.row, self.conversation


def search(query: SearchQuery, connection: apsw.Connection) -> list[Hit]:
    """`ThreadStore.search`; the score is BM25 (SQLite manual, FTS5, section 5.1.1)."""
    terms = terms_of(query.text)
    tenant = connection.execute(SQL["tenant"], (query.viewer.tenant,)).get
    if not terms or tenant is None:
        return []
    end = query.offset + query.limit
    threads = heapq.nlargest(end, _find(query, tenant, terms, connection), key=attrgetter("rank"))
    return [_hit(thread, terms, connection) for thread in threads[query.offset :]]


def search_statements(query: SearchQuery) -> tuple[str, str]:
    """The statements that find messages and titles."""
    visible = _SEES_ALL if query.viewer.user is None else _SEES_OWN
    return (
        SQL["messages"].replace("{visible}", visible),
        SQL["titles"].replace("{visible}", visible),
    )


def _find(
    query: SearchQuery, tenant: int, terms: Sequence[str], connection: apsw.Connection
) -> list[_Thread]:
    values = {
        "words": conjunction(tenant, terms),
        "tenant": query.viewer.tenant,
        "user": query.viewer.user,
        "newest": MAX_COMPARED,
    }
    in_messages, in_titles = search_statements(query)
    threads: dict[int, list[_Found]] = {}
    # FTS5's scores are negative, the best the lowest.
    for score, row, sequence, conversation in connection.execute(in_messages, values):
        threads.setdefault(conversation, []).append(_Found(-score, row, sequence))
    for score, conversation in connection.execute(in_titles, values):
        threads.setdefault(conversation, []).append(_Found(-score, 0, 0))
    return [_Thread(conversation, found) for conversation, found in threads.items()]


def _hit(thread: _Thread, terms: Sequence[str], connection: apsw.Connection) -> Hit:
    head = head_of(connection.execute(SQL["head"], (thread.conversation,)).get)
    best = heapq.nlargest(MAX_MATCHES, thread.found)
    matches = tuple(_match(one, head, terms, connection) for one in best)
    return Hit(head, matches, best[0].score)


def _match(found: _Found, head: Head, terms: Sequence[str], connection: apsw.Connection) -> Match:
    if not found.row:
        return Match(None, snippet(head.title, terms) or "")
    data, content = connection.execute(SQL["message"], (found.row,)).get
    text = message_text(decode_content(content), metadata_of(data))
    return Match(found.sequence, snippet(text, terms) or "")
