"""Where settings come from: a file, then the environment over it, then flags over both.

Each source becomes plain values under full keys, with a note of where each came from; nothing is
judged here but what cannot be read at all.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fairlead.settings.catalogue import PREFIX, SECTIONS, variable_of
from fairlead.settings.problems import Report, unknown_variable
from fairlead.settings.redaction import shown

FILE_NAME = "fairlead.toml"
_UPSTREAMS = f"{PREFIX}UPSTREAMS"
Raw = dict[str, Any]

# Kubernetes gives every container of a namespace such variables for a Service named "fairlead".
_KUBERNETES = re.compile(r"FAIRLEAD_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)\w*)")
_KUBERNETES_PORT = re.compile(r"(tcp|udp|sctp)://", re.IGNORECASE)
_LINE = re.compile(r"\(at line (\d+), column \d+\)")

_PROVIDERS = {
    "openai": ("OPENAI_API_KEY", "OPENAI_BASE_URL", "https://api.openai.com/v1"),
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "https://api.anthropic.com"),
}


@dataclass
class Gathered:
    """What the sources gave together, and where each key came from."""

    raw: Raw = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    file: Path | None = None
    from_file: set[str] = field(default_factory=set)
    """The full keys whose value stands in the file."""
    places: dict[str, Path] = field(default_factory=dict)
    """`home`, and `base` for relative paths: the file's directory or the working directory."""

    def put(self, section: str, name: str, value: object, origin: str) -> None:
        """Set one value over what is there."""
        table = self.raw.setdefault(section, {})
        if isinstance(table, dict):  # else the file is wrong there, which is told anyway
            table[name] = value
            self.note(f"{section}.{name}", origin)

    def note(self, key: str, origin: str, *, in_file: bool = False) -> None:
        """Remember where `key` came from."""
        self.origins[key] = origin
        (self.from_file.add if in_file else self.from_file.discard)(key)


def gather(
    config: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object], report: Report
) -> Gathered:
    """Read all sources, the strongest last. `overrides` maps full keys to values; None is unset."""
    home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    gathered = Gathered(places={"base": Path.cwd(), "home": home})
    if file := _find(config, environ, home, report):
        _read_file(gathered, file, report)
    _read_environment(gathered, environ, report)
    for key, value in overrides.items():
        if value is not None:
            section, _, name = key.partition(".")
            _put(gathered, section, name, value, "--" + name.replace("_", "-"))
    if not gathered.raw.get("upstreams"):
        _default_upstreams(gathered, environ)
    if gathered.file:
        gathered.places["base"] = gathered.file.absolute().parent
    for name in SECTIONS:
        gathered.raw.setdefault(name, {})
    return gathered


def _find(
    config: Path | None, environ: Mapping[str, str], home: Path, report: Report
) -> Path | None:
    if config is not None:
        if not config.is_file():
            report.add("--config", shown(config), "there is no such file")
            return None
        return config
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "fairlead" / FILE_NAME
    return next((path for path in (Path(FILE_NAME), user) if path.is_file()), None)


def _read_file(gathered: Gathered, file: Path, report: Report) -> None:
    try:
        text = file.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
    except OSError as error:
        report.add(str(file), "", f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        report.add(str(file), "", f"is not UTF-8 text (byte {error.start})")
    except tomllib.TOMLDecodeError as error:
        found = _LINE.search(str(error))
        line = int(found[1]) if found else len(text.splitlines())
        lines = text.splitlines()[line - 1 : line]
        # Only what stands before the sign: the value may be a secret in the wrong place.
        given = shown(lines[0].partition("=")[0].strip()) if lines else ""
        report.add(f"{file}, line {line}", given, f"is not valid TOML: {error}")
    else:
        gathered.raw, gathered.file = raw, file
        _note_all(gathered, str(file))


def _note_all(gathered: Gathered, origin: str) -> None:
    for section, table in gathered.raw.items():
        if section in SECTIONS and isinstance(table, dict):
            for name in table:
                gathered.note(f"{section}.{name}", origin, in_file=True)
        else:
            gathered.note(section, origin, in_file=True)


def _read_environment(gathered: Gathered, environ: Mapping[str, str], report: Report) -> None:
    known = {
        variable_of(section, name): (section, name)
        for section, model in SECTIONS.items()
        for name in model.model_fields
    }
    if text := environ.get(_UPSTREAMS):
        _read_upstreams(gathered, text, report)
    key_names = _key_names(gathered.raw)
    for variable, text in sorted(environ.items()):
        if variable in known:
            _put(gathered, *known[variable], text, variable)
        elif (
            variable.startswith(PREFIX)
            and variable not in key_names
            and not _is_kubernetes(variable, text)
        ):
            report.errors.append(unknown_variable(variable))


def _read_upstreams(gathered: Gathered, text: str, report: Report) -> None:
    try:
        gathered.raw["upstreams"] = json.loads(text)
    except (ValueError, RecursionError) as error:
        # The value is not shown: it is long, and may hold what does not belong in it.
        report.add(_UPSTREAMS, "", f"must be a JSON array of upstreams: {error}")
    else:
        gathered.note("upstreams", _UPSTREAMS)


def _key_names(raw: Raw) -> set[str]:
    """What `key_env` names, and `FAIRLEAD_UPSTREAMS` itself: variables that are no mistake."""
    names = {_UPSTREAMS}
    upstreams = raw.get("upstreams")
    for upstream in upstreams if isinstance(upstreams, list) else []:
        given = upstream.get("key_env") if isinstance(upstream, dict) else None
        names.update([given] if isinstance(given, str) else [str(item) for item in given or ()])
    return names


def _is_kubernetes(variable: str, text: str) -> bool:
    if variable == f"{PREFIX}PORT":
        return _KUBERNETES_PORT.match(text) is not None
    return _KUBERNETES.fullmatch(variable) is not None


def _put(gathered: Gathered, section: str, name: str, value: object, origin: str) -> None:
    value = _coerced(section, name, value, gathered.places)
    gathered.put(section, name, value, origin)


def _coerced(section: str, name: str, value: object, places: Mapping[str, Path]) -> object:
    """A variable's or a flag's text as the type that the setting has, or unchanged if it is wrong.

    TOML has types and is held to them later; text is read by the setting it is meant for: as it
    stands, or as JSON where the setting is a list, a table or one of several numbers.
    """
    for reading in _readings(value):
        try:
            table = SECTIONS[section].model_validate({name: reading}, context=places)
        except ValidationError:
            continue  # judged, and told with its origin, together with everything else
        return getattr(table, name)
    return value


def _readings(value: object) -> list[object]:
    """What `value` may mean, likeliest first."""
    if not isinstance(value, str):
        return [value]
    try:
        decoded = json.loads(value)
    except (ValueError, RecursionError):
        return [value]
    return [decoded, value] if isinstance(decoded, (list, dict)) else [value, decoded]


def _default_upstreams(gathered: Gathered, environ: Mapping[str, str]) -> None:
    """Upstreams that the providers' own variables describe, else a simulated one."""
    upstreams: list[Raw] = []
    used: list[str] = []
    for name, (key, url, public) in _PROVIDERS.items():
        given = [variable for variable in (key, url) if environ.get(variable)]
        if given:
            upstream: Raw = {"name": name, "shape": name, "base_url": environ.get(url) or public}
            upstreams.append(upstream | ({"key_env": [key]} if key in given else {}))
            used += given
    gathered.raw["upstreams"] = upstreams or [{"name": "simulated", "shape": "simulated"}]
    gathered.note("upstreams", ", ".join(used) or "default")
