"""Glob patterns over relative paths, matched in time linear in the path (pure).

`*` stands for any characters of a name, `?` for one, `[abc]`, `[a-z]` and `[!a]` for one of some,
`**` as a whole component for any directories (none as well), `{one,two}` for either, and `\\` takes
the next character as it is. As in a shell, a pattern begins at the root: `*.py` matches `a.py`, and
only `**/*.py` matches `src/a.py` as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from fairlead.errors import RequestError

MAX_PATTERN = 1_000
"""Characters."""
MAX_ALTERNATIVES = 64
"""What braces may amount to, multiplied."""

_MAGIC = re.compile(r"[*?\[{\\]")


class GlobResult(msgspec.Struct, frozen=True):
    """Paths that match a pattern."""

    paths: tuple[str, ...]
    """Sorted."""
    is_complete: bool
    """False: there are more than were asked for."""


class Glob:
    """A pattern that was compiled."""

    def __init__(self, pattern: str, base: str, compiled: re.Pattern[str]) -> None:
        self.pattern = pattern
        self.base = base
        """The directory below which all that matches lies; empty: the root."""
        self._fullmatch = compiled.fullmatch

    def matches(self, path: str) -> bool:
        """Whether the pattern stands for a relative path."""
        return self._fullmatch(path) is not None

    def __repr__(self) -> str:
        return f"<Glob {self.pattern!r}>"


def compile_glob(pattern: str) -> Glob:
    """The pattern, ready to match; raises `RequestError` 422 saying what is wrong with it."""
    if not pattern:
        raise _wrong("it is empty; ** stands for every file")
    if len(pattern) > MAX_PATTERN:
        raise _wrong(f"it has more than {MAX_PATTERN:,} characters")
    if "\0" in pattern:
        raise _wrong("it contains a NUL")
    if pattern.startswith("/"):
        raise _wrong("it is absolute: begin at the workspace's root, without a /")
    alternatives = list(_expanded(pattern))
    splits = [_components(one) for one in alternatives]
    source = "|".join(f"(?:{_regex(components)})" for components in splits)
    return Glob(pattern, _base(splits), re.compile(source, re.DOTALL))


# ---- braces


def _expanded(pattern: str) -> Iterator[str]:
    """What the pattern is without braces, one for each choice."""
    pending, count = [pattern], 0
    while pending:
        current = pending.pop()
        span = _brace(current)
        if span is None:
            yield current
            count += 1
        else:
            start, end = span
            choices = _choices(current[start + 1 : end])
            pending += [current[:start] + one + current[end + 1 :] for one in reversed(choices)]
        if count + len(pending) > MAX_ALTERNATIVES:
            raise _wrong(f"its braces stand for more than {MAX_ALTERNATIVES} patterns")


def _brace(pattern: str) -> tuple[int, int] | None:
    """Where the first brace opens and closes."""
    depth = start = 0
    for place, character in _outside_sets(pattern):
        if character == "{":
            start = start if depth else place
            depth += 1
        elif character == "}":
            depth -= 1
            if depth < 0:
                raise _wrong("a } closes nothing")
            if not depth:
                return start, place
    if depth:
        raise _wrong("a { is not closed")
    return None


def _choices(inner: str) -> list[str]:
    """What stands between the commas, but for those within further braces."""
    found, depth, begin = [], 0, 0
    for place, character in _outside_sets(inner):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and not depth:
            found.append(inner[begin:place])
            begin = place + 1
    return [*found, inner[begin:]]


def _outside_sets(pattern: str) -> Iterator[tuple[int, str]]:
    """Places and characters that are not escaped, nor in a set of characters."""
    place = 0
    while place < len(pattern):
        character = pattern[place]
        if character == "\\":
            place += 2
        elif character == "[":
            place = _set_end(pattern, place) + 1
        else:
            yield place, character
            place += 1


def _set_end(pattern: str, start: int) -> int:
    """Where the set of characters that begins at `start` ends; a ] that comes first is one."""
    first = start + 1
    if pattern[first : first + 1] in {"!", "^"}:
        first += 1
    end = pattern.find("]", first + 1)
    if end < 0:
        raise _wrong("a [ is not closed")
    return end


# ---- regular expressions


def _components(pattern: str) -> list[str]:
    components = pattern.split("/")
    if ".." in components:
        raise _wrong("it contains '..'")
    return [one for one in components if one not in {"", "."}]


def _regex(components: Sequence[str]) -> str:
    """A regular expression for one pattern without braces.

    Between two `**` the first place that fits is as good as any other, so what was matched there is
    never tried elsewhere: an atomic group. The same holds for names and `*`.
    """
    groups: list[list[str]] = [[]]
    for component in components:
        if component == "**":
            groups.append([])
        else:
            groups[-1].append(_name(component))
    first, *later = groups
    if not later:
        return "/".join(first)
    parts = ["".join(f"{name}/" for name in first)]
    *middle, last = later
    for group in middle:
        if group:
            names = "".join(f"{name}/" for name in group)
            parts.append(f"(?>(?:[^/]+/)*?{names})")
    parts.append("(?:[^/]+/)*" + ("/".join(last) if last else "[^/]+"))
    return "".join(parts)


def _name(component: str) -> str:
    """A regular expression for a name."""
    first, *later = _between_stars(component)
    if not later:
        return first
    *middle, last = later
    return "".join([first, *(f"(?>[^/]*?{one})" for one in middle if one), f"[^/]*{last}"])


def _between_stars(component: str) -> list[str]:
    """The parts of fixed length, as regular expressions."""
    parts, place = [""], 0
    while place < len(component):
        character = component[place]
        if character == "*":
            parts.append("")
        elif character == "?":
            parts[-1] += "[^/]"
        elif character == "[":
            end = _set_end(component, place)
            parts[-1] += _set(component[place + 1 : end])
            place = end
        else:
            if character == "\\":
                place += 1
                character = component[place : place + 1]
                if not character:
                    raise _wrong("a \\ stands at the end")
            parts[-1] += re.escape(character)
        place += 1
    return parts


def _set(inner: str) -> str:
    negated = inner[0] in "!^"
    characters = inner[1:] if negated else inner
    for low, dash, high in zip(characters, characters[1:], characters[2:], strict=False):
        if dash == "-" and low > high:
            raise _wrong(f"[{inner}] has a range that goes down")
    escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", characters)
    return f"(?!/)[{'^' if negated else ''}{escaped}]"


def _base(splits: Sequence[Sequence[str]]) -> str:
    """The directories with which all alternatives begin, as far as they are literal."""
    bases = [_literal(components[:-1]) for components in splits]
    shared = []
    for names in zip(*bases, strict=False):
        if len(set(names)) > 1:
            break
        shared.append(names[0])
    return "/".join(shared)


def _literal(components: Sequence[str]) -> list[str]:
    found: list[str] = []
    for component in components:
        if _MAGIC.search(component):
            break
        found.append(component)
    return found


def _wrong(complaint: str) -> RequestError:
    message = f"the pattern cannot be used: {complaint}"
    return RequestError(422, message, param="pattern", code="pattern")
