"""The prefix cache of a model server, counted in whole blocks."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence


class BlockCache:
    """At most `max_blocks` blocks, the least recently used leave first.

    An id stands for a block and everything before it, so a block is found only behind a known
    beginning; as in the simulated upstream, whose cache works on the prompt's bytes.
    """

    def __init__(self, max_blocks: float = math.inf) -> None:
        self._max_blocks = max_blocks
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def look_up(self, blocks: Sequence[int]) -> int:
        """How many leading `blocks` are known; all of them are from now on."""
        known = next((n for n, block in enumerate(blocks) if block not in self._blocks), None)
        # Last block first: a beginning without its continuation is still useful, not vice versa.
        for block in reversed(blocks):
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        while len(self._blocks) > self._max_blocks:
            self._blocks.popitem(last=False)
        return len(blocks) if known is None else known
