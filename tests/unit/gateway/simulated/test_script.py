from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fairlead.errors import ConfigurationError
from fairlead.gateway.simulated.prompt import Call, Prompt, Tool, Turn, render, situation
from fairlead.gateway.simulated.script import Script, load_script


def load(tmp_path: Path, text: str) -> Script:
    path = tmp_path / "script.toml"
    path.write_text(text)
    return load_script(path)


def find(script: Script, *turns: Turn, **fields: Any) -> str | None:
    prompt = Prompt(model=fields.pop("model", "gpt-4"), turns=turns, **fields)
    rule = script.find(prompt, situation(prompt, render(prompt)))
    return rule.text if rule else None


USER = Turn("user", "fix the login bug")
READ = Turn("assistant", "", (Call("read", '{ "path": "a.py" }'),))
RESULT = Turn("tool", "def login(): pass")
TOOLS = (Tool("read", {}),)


@pytest.mark.parametrize(
    ("condition", "fits"),
    [
        ('model = "gpt-*"', True),
        ('model = "claude-*"', False),
        ("turn = 1", True),
        ("turn = [0, 2]", False),
        ('contains = "login"', True),
        ('contains = "logout"', False),
        ('matches = "log(in|out) bug$"', True),
        ('matches = "^login"', False),
        ("after_tool = true", True),
        ("after_tool = false", False),
        ('result_contains = "def login"', True),
        ('result_contains = "def logout"', False),
        ('result_matches = "pass$"', True),
        ('prompt_contains = "a.py"', True),
        ('prompt_contains = "b.py"', False),
    ],
)
def test_each_condition(tmp_path: Path, condition: str, fits: bool) -> None:
    script = load(tmp_path, f'[[rule]]\n{condition}\ntext = "yes"\n')
    assert (find(script, USER, READ, RESULT) == "yes") is fits


def test_the_first_rule_that_fits_answers(tmp_path: Path) -> None:
    script = load(
        tmp_path,
        '[[rule]]\nturn = 0\ntext = "first"\n[[rule]]\ntext = "later"\n[[rule]]\ntext="no"',
    )
    assert find(script, USER) == "first"
    assert find(script, USER, READ, RESULT) == "later"


def test_result_conditions_need_a_result(tmp_path: Path) -> None:
    script = load(tmp_path, '[[rule]]\nresult_matches = ""\ntext = "yes"\n')
    assert find(script, USER) is None


def test_rules_with_tools_that_are_not_offered_do_not_fit(tmp_path: Path) -> None:
    script = load(
        tmp_path,
        '[[rule]]\ntext = "tool"\ntool_calls = [{name = "read"}]\n[[rule]]\ntext = "title"',
    )
    assert find(script, USER, tools=TOOLS) == "tool"
    assert find(script, USER, tools=TOOLS, choice="none") == "title"
    assert find(script, USER) == "title"


def test_once_looks_at_the_conversation(tmp_path: Path) -> None:
    script = load(
        tmp_path,
        '[[rule]]\nonce = true\ntext = "I read it."\n'
        'tool_calls = [{name = "read", arguments = {path = "a.py"}}]\n'
        '[[rule]]\ntext = "done"\n',
    )
    assert find(script, USER, tools=TOOLS) == "I read it."
    # Called before, but with other words: it was not this answer.
    assert find(script, USER, READ, RESULT, tools=TOOLS) == "I read it."
    said = Turn("assistant", "I read it.\n", READ.calls)
    assert find(script, USER, said, RESULT, tools=TOOLS) == "done"
    other = Turn("assistant", "I read it.", (Call("read", '{"path": "b.py"}'),))
    assert find(script, USER, other, RESULT, tools=TOOLS) == "I read it."
    cut = Turn("assistant", "I read it.", (Call("read", '{"path": '),))
    assert find(script, USER, cut, RESULT, tools=TOOLS) == "I read it."


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rule = 3", r"\[\[rule\]\] tables"),
        ("[other]\n", "found other"),
        ("[[rule]]\ntext = ", "not valid TOML"),
        ('[[rule]]\ntext = "x"\n[[rule]]\n', "rule 2: text.*give text, tool_calls or both"),
        ('[[rule]]\ntext = "x"\nturns = 1\n', "rule 1: turns = 1: unknown key; known: model"),
        ('[[rule]]\ntext = "x"\nturn = "1"\n', "rule 1: turn = '1': .*int"),
        ('[[rule]]\ntext = "x"\nmatches = "("\n', r"rule 1: matches = '\(': mend"),
        ('[[rule]]\ntool_calls = [{tool = "x"}]\n', "rule 1: tool_calls"),
        ('[[rule]]\ntool_calls = [{name = "x", args = 1}]\n', "known: name, arguments"),
    ],
)
def test_errors_name_file_rule_key_and_fix(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        load(tmp_path, text)
    assert "script.toml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing\.toml.*No such file"):
        load_script(tmp_path / "nothing.toml")
