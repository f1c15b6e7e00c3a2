"""The prefix cache: which leading blocks of a prompt the model server has computed before."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import msgspec

from fairlead.gateway.simulated.tokens import BYTES_PER_TOKEN, estimate

BLOCK_TOKENS = 512
_BLOCK_BYTES = BLOCK_TOKENS * BYTES_PER_TOKEN


class PrefixLookup(msgspec.Struct, frozen=True):
    """What the cache knew of one prompt; in tokens."""

    prompt: int
    cached: int
    """Leading tokens that were held already."""
    stored: int
    """Tokens that this prompt added."""


class PrefixStatistics(msgspec.Struct, frozen=True):
    """Blocks held, and found, not found and evicted since the start."""

    blocks: int
    max_blocks: int
    hits: int
    misses: int
    evictions: int


class PrefixCache:
    """At most `max_blocks` blocks of 512 tokens, least recently used leave first.

    A block's key is the hash of its bytes and of the key before it, so a block is found only
    behind the same beginning; models do not share. As in vLLM's automatic prefix caching, only
    whole blocks count and the last token is always computed.
    """

    def __init__(self, max_blocks: int) -> None:
        self.max_blocks = max_blocks
        self._blocks: OrderedDict[bytes, None] = OrderedDict()
        self._hits = self._misses = self._evictions = 0

    def look_up(self, model: str, prompt: bytes) -> PrefixLookup:
        """Find `prompt`'s known beginning and remember all of it."""
        tokens = estimate(prompt)
        keys = self._keys(model, prompt, max(tokens - 1, 0) // BLOCK_TOKENS)
        known = next((n for n, key in enumerate(keys) if key not in self._blocks), len(keys))
        self._hits += known
        self._misses += len(keys) - known
        self._remember(keys)
        return PrefixLookup(tokens, known * BLOCK_TOKENS, (len(keys) - known) * BLOCK_TOKENS)

    def statistics(self) -> PrefixStatistics:
        """Counts now."""
        return PrefixStatistics(
            len(self._blocks), self.max_blocks, self._hits, self._misses, self._evictions
        )

    def _keys(self, model: str, prompt: bytes, blocks: int) -> list[bytes]:
        key = hashlib.blake2b(model.encode(), digest_size=16).digest()
        keys = []
        # Blocks beyond the bound could never be found again: they are not even hashed.
        for start in range(0, min(blocks, self.max_blocks) * _BLOCK_BYTES, _BLOCK_BYTES):
            block = prompt[start : start + _BLOCK_BYTES]
            key = hashlib.blake2b(block, digest_size=16, key=key).digest()
            keys.append(key)
        return keys

    def _remember(self, keys: list[bytes]) -> None:
        # Last block first: a beginning without its continuation is still useful, not vice versa.
        for key in reversed(keys):
            self._blocks[key] = None
            self._blocks.move_to_end(key)
        while len(self._blocks) > self.max_blocks:
            self._blocks.popitem(last=False)
            self._evictions += 1
