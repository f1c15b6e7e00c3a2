"""What the unscripted model says: plain sentences that call themselves simulated."""

from __future__ import annotations

import hashlib

from fairlead.gateway.simulated.tokens import BYTES_PER_TOKEN

_SENTENCES = (
    "These sentences only fill the length that was asked for.",
    "They are chosen by the seed and by the content of the request.",
    "The same request with the same seed gets the same sentences.",
    "Nothing here is advice, and nothing here is a fact.",
    "A real model server would put its answer in this place.",
    "The pace of these words follows the tokens per second that were set.",
    "The wait before the first of them follows the length of the prompt.",
    "A longer prompt waits longer, unless its beginning was seen before.",
    "Usage figures count four bytes of text as one token.",
    "No text of the request is repeated here.",
    "Errors, delays and broken streams can be asked for by headers.",
    "A script can replace this text by answers of your own.",
    "Tools are called when the request names one of them.",
    "After a tool's result the answer is always text.",
    "This stream ends as a real one does.",
    "Clients may stop reading at any time; the rest is then not sent.",
)


def answer(digest: bytes, tokens: int) -> str:
    """Text of exactly `tokens` tokens for a request with this digest."""
    opening = f"Simulated answer {digest[:4].hex()}: no model has read this request."
    return _exactly(opening, digest, tokens)


def thought(digest: bytes, tokens: int) -> str:
    """Thinking of exactly `tokens` tokens."""
    opening = f"Simulated thinking {digest[:4].hex()}: no model is at work."
    return _exactly(opening, hashlib.sha256(digest).digest(), tokens)


def _exactly(opening: str, digest: bytes, tokens: int) -> str:
    size = tokens * BYTES_PER_TOKEN
    parts, length = [opening], len(opening)
    # No sentence is shorter than 35 characters, so this is enough of them.
    for choice in hashlib.shake_128(digest).digest(size // 35 + 1):
        if length >= size:
            break
        parts.append(_SENTENCES[choice % len(_SENTENCES)])
        length += len(parts[-1]) + 1
    return " ".join(parts)[: size - 1] + "."
