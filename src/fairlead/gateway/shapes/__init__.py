"""What differs between the model APIs, and nothing else."""

from __future__ import annotations

from fairlead.gateway.legs.base import Headers
from fairlead.gateway.shapes.anthropic import Anthropic
from fairlead.gateway.shapes.base import Shape
from fairlead.gateway.shapes.openai import OpenAI, OpenAIResponses

OPENAI = OpenAI()
OPENAI_RESPONSES = OpenAIResponses()
ANTHROPIC = Anthropic()


def shape_of(path: bytes, headers: Headers) -> Shape:
    """The API a request speaks: by path where it is one API's alone, else by its version header."""
    if path == b"/v1/chat/completions":
        return OPENAI
    if path == b"/v1/messages" or path.startswith((b"/v1/messages/", b"/v1/complete")):
        return ANTHROPIC
    if path == b"/v1/responses" or path.startswith(b"/v1/responses/"):
        return OPENAI_RESPONSES
    for name, _ in headers:
        if name == b"anthropic-version":
            return ANTHROPIC
    return OPENAI


__all__ = ["ANTHROPIC", "OPENAI", "OPENAI_RESPONSES", "Shape", "shape_of"]
