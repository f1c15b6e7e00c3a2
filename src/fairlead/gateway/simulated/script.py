"""Scripted answers: a TOML file of rules, so that assistants can be driven through a whole task.

Matching keeps no state: what has happened is read from the conversation in the request, so an
identical run gets identical answers.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from fairlead.errors import ConfigurationError
from fairlead.gateway.simulated.prompt import Call, Prompt, Situation

_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"unknown field `(?P<name>[^`]*)`")


class ScriptedCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tool call that a rule answers with."""

    name: str
    arguments: dict[str, Any] = {}


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One `[[rule]]`: conditions, all of which must hold, and an answer."""

    model: str = "*"
    """Pattern (`fnmatch`) of the requested model."""
    turn: int | list[int] | None = None
    """How often the assistant has spoken already."""
    contains: str | None = None
    """Found in the last user message that has text."""
    matches: str | None = None
    """A regular expression that is searched there."""
    after_tool: bool | None = None
    """Whether tool results have come since the assistant last spoke."""
    result_contains: str | None = None
    """Found in those results."""
    result_matches: str | None = None
    prompt_contains: str | None = None
    """Found anywhere in the prompt: system text, tools, all messages."""
    once: bool = False
    """Not where the assistant has given this answer in the conversation before."""
    text: str | None = None
    thinking: str | None = None
    """Shown where the request asks for thinking."""
    tool_calls: tuple[ScriptedCall, ...] = ()


class Script:
    """Rules in order; the first that fits answers."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self.rules = tuple(rules)

    def find(self, prompt: Prompt, now: Situation) -> Rule | None:
        """The first rule for `prompt`, or None.

        A rule whose tools the request does not offer (or forbids) does not fit: assistants ask
        for titles and summaries in between.
        """
        offered = {tool.name for tool in prompt.tools} if prompt.choice != "none" else set()
        for rule in self.rules:
            if (
                all(call.name in offered for call in rule.tool_calls)
                and _fits(rule, prompt.model, now)
                and not (rule.once and _was_given(rule, prompt))
            ):
                return rule
        return None


def load_script(path: Path) -> Script:
    """The rules in `path`; `ConfigurationError` names file, rule, key and what to do."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError("script", str(path), f"cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError("script", str(path), f"is not valid TOML: {error}") from None
    tables = document.pop("rule", None)
    if document or not isinstance(tables, list):
        found = ", ".join(document) or type(tables).__name__
        raise ConfigurationError(
            "script", str(path), f"holds [[rule]] tables and nothing else; found {found}"
        )
    return Script([_rule(path, number, table) for number, table in enumerate(tables, 1)])


def _rule(path: Path, number: int, table: Any) -> Rule:
    where = f"{path}: rule {number}"
    try:
        rule = msgspec.convert(table, Rule)
    except msgspec.ValidationError as error:
        raise _explained(where, table, str(error)) from None
    if rule.text is None and not rule.tool_calls:
        raise ConfigurationError(f"{where}: text", None, "give text, tool_calls or both")
    for key in ("matches", "result_matches"):
        expression = getattr(rule, key)
        try:
            re.compile(expression or "")
        except re.error as error:
            raise ConfigurationError(
                f"{where}: {key}", expression, f"mend the regular expression: {error}"
            ) from None
    return rule


def _explained(where: str, table: Any, message: str) -> ConfigurationError:
    parts = _AT.match(message)
    what, path = (parts["what"], parts["path"] or "") if parts else (message, "")
    unknown = _UNKNOWN.search(what)
    if unknown:
        owner = ScriptedCall if path.startswith(".tool_calls") else Rule
        path = f"{path}.{unknown['name']}"
        what = f"unknown key; known: {', '.join(owner.__struct_fields__)}"
    key = path.lstrip(".") or "rule"
    value = table.get(key.partition("[")[0]) if isinstance(table, dict) else table
    return ConfigurationError(f"{where}: {key}", value, what)


def _fits(rule: Rule, model: str, now: Situation) -> bool:
    turns = [rule.turn] if isinstance(rule.turn, int) else rule.turn
    return (
        (turns is None or now.turn in turns)
        and fnmatchcase(model, rule.model)
        and (rule.after_tool is None or rule.after_tool == (now.results is not None))
        and _found(rule.contains, rule.matches, now.user_text)
        and _found(rule.result_contains, rule.result_matches, now.results)
        and (rule.prompt_contains is None or rule.prompt_contains.encode() in now.rendered)
    )


def _found(part: str | None, expression: str | None, text: str | None) -> bool:
    if part is None and expression is None:
        return True
    return (
        text is not None
        and (part is None or part in text)
        and (expression is None or re.search(expression, text) is not None)
    )


def _was_given(rule: Rule, prompt: Prompt) -> bool:
    said = [turn for turn in prompt.turns if turn.role == "assistant"]
    calls = [call for turn in said for call in turn.calls]
    if rule.text is not None and not any(rule.text.strip() in turn.text for turn in said):
        return False
    return all(any(_same(old, call) for old in calls) for call in rule.tool_calls)


def _same(old: Call, call: ScriptedCall) -> bool:
    if old.name != call.name:
        return False
    try:
        arguments = msgspec.json.decode(old.arguments)
    except msgspec.DecodeError:
        return False  # an assistant may keep a call whose arguments were cut short
    return bool(arguments == msgspec.to_builtins(call.arguments))
