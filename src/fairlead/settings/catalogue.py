"""Every setting by its full name: what it accepts, its default, its environment variable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fairlead.settings.redaction import shown
from fairlead.settings.sections import Document, UpstreamSection
from fairlead.settings.values import SIZE, Allowed, size_text

PREFIX = "FAIRLEAD_"
SECTIONS: dict[str, type[BaseModel]] = {
    name: field.annotation
    for name, field in Document.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}


@dataclass(frozen=True)
class Entry:
    """One setting. `variable` is None for the keys of an upstream, which are set together."""

    key: str
    allowed: str
    default: str
    variable: str | None


def entries() -> Iterator[Entry]:
    """All settings, section by section."""
    for section, model in SECTIONS.items():
        for name, field in model.model_fields.items():
            variable = variable_of(section, name)
            yield Entry(f"{section}.{name}", allowed(field), _default(field), variable)
    for name, field in UpstreamSection.model_fields.items():
        yield Entry(f"upstreams.{name}", allowed(field), _default(field), None)


def variable_of(section: str, name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{section}__{name}".upper()


def model_at(location: Sequence[str | int]) -> type[BaseModel] | None:
    """The model whose keys stand at `location`, or None where a value stands there."""
    match location:
        case []:
            return Document
        case [str() as section]:
            return SECTIONS.get(section)
        case ["upstreams", int()]:
            return UpstreamSection
    return None


def field_at(location: Sequence[str | int]) -> FieldInfo | None:
    """The setting that `location` is, or lies within; None where there is no such setting."""
    match location:
        case ["upstreams", int(), str() as name, *_]:
            return UpstreamSection.model_fields.get(name)
        case [str() as section, str() as name, *_] if section in SECTIONS:
            return SECTIONS[section].model_fields.get(name)
        case [str() as name, *_]:
            return Document.model_fields.get(name)
    return None


def dotted(location: Sequence[str | int]) -> str:
    """A location as it is written: `upstreams[0].models[1]`, `cache.policies."qwen*"`."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain = part.replace("_", "").replace("-", "").isalnum()
            text += ("." if text else "") + (part if plain else f'"{part}"')
    return text


def allowed(field: FieldInfo) -> str:
    """The words for what a setting accepts."""
    kind, metadata = _unwrap(field)
    for item in metadata:
        if isinstance(item, Allowed):
            return item.text
    if get_origin(kind) is Literal:
        return _either([shown(value) for value in get_args(kind)])
    if kind is bool:
        return "true or false"
    if kind is int or kind is float:
        return ("a whole number" if kind is int else "a number") + _bounds(metadata)
    return "a table"


def _unwrap(field: FieldInfo) -> tuple[Any, list[Any]]:
    """The type and the metadata of a setting, which `… | None` hides one level further down."""
    kind: Any = field.annotation
    metadata = list(field.metadata)
    if type(None) in get_args(kind):
        kind = next(item for item in get_args(kind) if item is not type(None))
    if hasattr(kind, "__metadata__"):
        metadata += kind.__metadata__
        kind = get_args(kind)[0]
    return kind, [part for item in metadata for part in getattr(item, "metadata", [item])]


def _bounds(metadata: list[Any]) -> str:
    words = {"ge": "from", "gt": "above", "le": "to"}
    found = ((word, getattr(item, name, None)) for name, word in words.items() for item in metadata)
    return "".join(f" {word} {bound}" for word, bound in found if bound is not None)


def _either(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default is not None and SIZE in _unwrap(field)[1]:
        default = size_text(default)
    return "none" if default is None else shown(default)
