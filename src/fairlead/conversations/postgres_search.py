"""Full-text search in PostgreSQL: by a GIN index over words, ranked by how close they stand."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fairlead.conversations.codec import decode_content, metadata_of
from fairlead.conversations.postgres_pool import Connections, statements
from fairlead.conversations.postgres_read import heads
from fairlead.conversations.postgres_rows import TITLE_SEQUENCE, Row, conjunction
from fairlead.conversations.records import Head, Hit, Match, SearchQuery
from fairlead.conversations.texts import message_text, snippet, terms_of

MAX_COMPARED = 5_000
"""Matches that are ranked: the newest."""
MAX_MATCHES = 3
"""Matches that are shown of a thread: the best."""

_SEARCH = statements("search")["search"]
_VISIBLE = {
    False: _SEARCH.replace(b"{visible}", b"AND (c.user_id = %(user)s OR c.is_shared)"),
    True: _SEARCH.replace(b"{visible}", b""),
}
_SMALL = 64 * 1024


async def search(connections: Connections, query: SearchQuery) -> list[Hit]:
    """`ThreadStore.search`; the score is `ts_rank_cd` by 1 + log length (manual, 12.3.3)."""
    terms = terms_of(query.text)
    viewer = query.viewer
    if not terms:
        return []
    values = {
        "words": conjunction(viewer.tenant, terms),
        "tenant": viewer.tenant,
        "user": viewer.user,
        "newest": MAX_COMPARED,
        "matches": MAX_MATCHES,
        "limit": query.limit,
        "offset": query.offset,
    }
    async with connections.connection() as connection:
        cursor = await connection.execute(_VISIBLE[viewer.user is None], values)
        rows = await cursor.fetchall()
        keys = list(dict.fromkeys((viewer.tenant, row[0]) for row in rows))
        # Between the two statements one may have been deleted, or be shared no longer.
        seen = [head for head in await heads(connection, keys) if viewer.sees(head)]
    if sum(len(row[4] or b"") for row in rows) < _SMALL:
        return _hits(rows, seen, terms)
    # What takes milliseconds does not hold up the event loop.
    return await asyncio.to_thread(_hits, rows, seen, terms)


def _hits(rows: Sequence[Row], found: Sequence[Head], terms: Sequence[str]) -> list[Hit]:
    by_id = {head.id: head for head in found}
    matches: dict[str, list[Match]] = {}
    scores: dict[str, float] = {}
    for thread, score, sequence, data, content in rows:
        if thread in by_id:
            scores[thread] = score
            text = (
                "" if content is None else message_text(decode_content(content), metadata_of(data))
            )
            match = _match(by_id[thread], sequence, text, terms)
            matches.setdefault(thread, []).append(match)
    return [Hit(by_id[thread], tuple(matches[thread]), score) for thread, score in scores.items()]


def _match(head: Head, sequence: int, text: str, terms: Sequence[str]) -> Match:
    if sequence == TITLE_SEQUENCE:
        return Match(None, snippet(head.title, terms) or head.title)
    return Match(sequence, snippet(text, terms) or "")
