"""OpenAI embeddings: `POST /v1/embeddings`; unit vectors that follow from seed and text."""

from __future__ import annotations

import base64
import hashlib
import math
import sys
from array import array
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fairlead.core.clock import Clock
from fairlead.gateway.simulated.model import simulated_name
from fairlead.gateway.simulated.shape import InvalidFieldError, encode
from fairlead.gateway.simulated.tokens import estimate

_DIMENSIONS = 1_536
_MAX_INPUTS = 2_048
_MAX_VALUES = 2_048 * 1_536
_BETWEEN_YIELDS = 16


class EmbeddingsRequest(msgspec.Struct):
    """The fields of a request that matter here. `input` is text(s) or list(s) of token numbers."""

    model: Annotated[str, Meta(min_length=1)]
    input: str | list[str | int | list[int]]
    dimensions: Annotated[int, Meta(ge=1, le=4_096)] | None = None
    encoding_format: Literal["float", "base64"] | None = None


def inputs_of(request: EmbeddingsRequest) -> list[bytes]:
    """Each input as bytes: UTF-8, or four bytes per token number."""
    given = request.input
    if isinstance(given, str):
        return [given.encode()]
    if not given or len(given) > _MAX_INPUTS * 64:
        problem = f"expected 1 to {_MAX_INPUTS:,} inputs, or the token numbers of one"
        raise InvalidFieldError("input", problem, "invalid_value")
    if all(isinstance(item, int) for item in given):
        return [_tokens(given)]
    inputs = [item.encode() if isinstance(item, str) else _tokens(item) for item in given]
    values = len(inputs) * (request.dimensions or _DIMENSIONS)
    if len(inputs) > _MAX_INPUTS or values > _MAX_VALUES:
        problem = f"at most {_MAX_INPUTS:,} inputs and {_MAX_VALUES:,} numbers in the answer"
        raise InvalidFieldError("input", problem, "invalid_value")
    return inputs


def tokens_of(inputs: list[bytes]) -> int:
    """Estimated tokens of all inputs."""
    return sum(estimate(item) for item in inputs)


async def embed(request: EmbeddingsRequest, inputs: list[bytes], seed: int, clock: Clock) -> bytes:
    """The answer; lets other work run in between, for large lists take a second."""
    dimensions = request.dimensions or _DIMENSIONS
    as_text = request.encoding_format == "base64"
    data = []
    for index, item in enumerate(inputs):
        if index % _BETWEEN_YIELDS == _BETWEEN_YIELDS - 1:
            await clock.sleep(0)
        vector = unit_vector(f"{seed} {request.model} ".encode() + item, dimensions)
        encoded = encode(_base64(vector) if as_text else vector.tolist())
        fields = {"object": "embedding", "index": index, "embedding": msgspec.Raw(encoded)}
        data.append(msgspec.Raw(encode(fields)))
    total = tokens_of(inputs)
    return encode(
        {
            "object": "list",
            "data": data,
            "model": simulated_name(request.model),
            "usage": {"prompt_tokens": total, "total_tokens": total},
        }
    )


def unit_vector(content: bytes, dimensions: int) -> array[float]:
    """`dimensions` 32-bit floats of Euclidean length 1, the same for the same content."""
    numbers = array("I", hashlib.shake_128(content).digest(4 * dimensions))
    centred = [number / 0x7FFF_FFFF - 1.0 for number in numbers]
    length = math.sqrt(sum(value * value for value in centred)) or 1.0
    return array("f", [value / length for value in centred])


def _tokens(item: object) -> bytes:
    if not isinstance(item, list) or not all(type(n) is int and 0 <= n < 1 << 32 for n in item):
        raise InvalidFieldError("input", "expected texts or lists of token numbers", "invalid_type")
    return b"".join(number.to_bytes(4, "little") for number in item)


def _base64(vector: array[float]) -> str:
    if sys.byteorder == "big":
        vector = vector[:]
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode()
