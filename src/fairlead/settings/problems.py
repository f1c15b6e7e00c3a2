"""What is wrong with a configuration, told so that the reader can mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from pydantic_core import ErrorDetails

from fairlead.errors import ConfigurationError
from fairlead.settings.catalogue import (
    SECTIONS,
    allowed,
    dotted,
    entries,
    field_at,
    model_at,
    variable_of,
)
from fairlead.settings.redaction import names_secret, shown

Origins = Mapping[str, str]
"""Full key -> the file, variable or flag that gave it."""


class SettingError(ConfigurationError):
    """One setting cannot be used.

    `value` is what was given, already fit to be shown, or empty where nothing was given (or it
    must not be shown); `origin` the file, variable or flag it came from.
    """

    def __init__(self, key: str, value: str, fix: str, origin: str = "") -> None:
        super().__init__(key, value, fix)
        self.origin = origin

    @property
    def what(self) -> str:
        """Key, value and origin, without the fix."""
        value = f" = {self.value}" if self.value else ""
        origin = f" ({self.origin})" if self.origin else ""
        return f"{self.key}{value}{origin}"

    def __str__(self) -> str:
        return f"{self.what}: {self.fix}"


class InvalidConfigurationError(ConfigurationError):
    """All that is wrong with the configuration; `errors` holds the single ones."""

    def __init__(self, errors: Sequence[SettingError]) -> None:
        first = errors[0]
        super().__init__(first.key, first.value, first.fix)
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


class Report:
    """Gathers problems, so that all of them are told at once."""

    def __init__(self) -> None:
        self.errors: list[SettingError] = []

    def add(self, key: str, value: str, fix: str, origin: str = "") -> None:
        """Note one problem."""
        self.errors.append(SettingError(key, value, fix, origin))

    def check(self) -> None:
        """Raise `InvalidConfigurationError` if anything was noted."""
        if self.errors:
            raise InvalidConfigurationError(self.errors)


def origin_of(key: str, origins: Origins) -> str:
    """Where the setting `key`, or what holds it, was given; empty for a default."""
    while key not in origins:
        cut = max(key.rfind("."), key.rfind("["))
        if cut < 0:
            return ""
        key = key[:cut]
    return origins[key]


def translate(error: ErrorDetails, origins: Origins) -> SettingError:
    """Pydantic's finding in our words: full key, value, allowed values, origin."""
    location = error["loc"]
    key = dotted(location)
    origin = origin_of(key, origins)
    if error["type"] == "extra_forbidden":
        return _unknown(location, error["input"], origin)
    words = _words(error)
    if error["type"] == "missing":
        return SettingError(key, "", f"is required: {words}", origin)
    if error["type"] == "value_error":
        return SettingError(key, shown(error["input"]), str(error["ctx"]["error"]), origin)
    return SettingError(key, shown(error["input"]), f"must be {words}", origin)


def _words(error: ErrorDetails) -> str:
    """What would be right there: the setting's own words, or those for one item of a list."""
    if error["type"] == "literal_error":
        return str(error["ctx"]["expected"]).replace("'", '"')
    if error["type"] == "string_type" and isinstance(error["loc"][-1], int):
        return "a string"
    field = field_at(error["loc"])
    return allowed(field) if field else "a table"


def _unknown(location: Sequence[str | int], value: object, origin: str) -> SettingError:
    key, name = dotted(location), str(location[-1])
    if names_secret(name):
        return SettingError(key, "", f"a secret does not belong here: {_secret_fix(key)}", origin)
    model = model_at(location[:-1])
    siblings = list(model.model_fields) if model else []
    parent = dotted(location[:-1])
    names = [f"{parent}.{sibling}" if parent else sibling for sibling in siblings]
    near = closest(key, names) or _elsewhere(name)
    fix = f"unknown key{_question(near)}; allowed: {', '.join(siblings)}"
    return SettingError(key, shown(value), fix, origin)


def _secret_fix(key: str) -> str:
    section = key.partition(".")[0]
    if section in {"cache", "storage"}:
        variable = variable_of(section, "url")
        return f"give the URL with its password in {variable} or in {section}.url_file"
    return (
        "name the environment variable that holds it in key_env, "
        "or the file that holds it in key_file, under [[upstreams]]"
    )


def _elsewhere(name: str) -> str | None:
    """The setting of this very name in another section."""
    for section, model in SECTIONS.items():
        if name in model.model_fields:
            return f"{section}.{name}"
    return None


def closest(word: str, words: Iterable[str]) -> str | None:
    """The most similar of `words`, if one is similar at all."""
    found = difflib.get_close_matches(word, list(words), n=1, cutoff=0.7)
    return found[0] if found else None


def _question(near: str | None) -> str:
    return f" (did you mean {near}?)" if near else ""


def unknown_variable(name: str) -> SettingError:
    """A `FAIRLEAD_…` variable that no setting answers to."""
    known = [entry.variable for entry in entries() if entry.variable] + ["FAIRLEAD_UPSTREAMS"]
    near = closest(name, known)
    fix = f"unknown variable{_question(near)}"
    if near is None:
        fix += "; settings are FAIRLEAD_SECTION__KEY (two underscores) and FAIRLEAD_UPSTREAMS"
    return SettingError(name, "", fix)
