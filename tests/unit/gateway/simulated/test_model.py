from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from fairlead.errors import RequestError
from fairlead.gateway.simulated import Script, SimulatedOptions
from fairlead.gateway.simulated.model import Answer, SimulatedModel
from fairlead.gateway.simulated.prompt import Call, Prompt, Tool, Turn
from fairlead.gateway.simulated.script import Rule, ScriptedCall, load_script
from fairlead.testing import ManualClock

WEATHER = Tool("get_weather", {"type": "object", "properties": {"city": {"type": "string"}}})
TIME = Tool("get_time", {"type": "object", "properties": {}, "required": []})


def model(script: Script | None = None, **options: Any) -> SimulatedModel:
    return SimulatedModel(SimulatedOptions(**options), script or Script(), ManualClock())


def prompt(text: str = "hello", *more: Turn, **fields: Any) -> Prompt:
    return Prompt(model="gpt-4", turns=(Turn("user", text), *more), **fields)


def content(answer: Answer) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for block in answer.choices[0].blocks]


def called(answer: Answer) -> list[str]:
    return [block.name for block in answer.choices[0].blocks if block.kind == "tool"]


def test_an_answer_says_that_it_is_simulated_and_is_as_long_as_asked() -> None:
    answer = model(answer_tokens=50).answer(prompt())
    assert answer.model == "simulated-gpt-4"
    assert content(answer)[0][1].startswith("Simulated answer")
    assert answer.usage.output == 50


def test_the_same_seed_and_requests_give_the_same_answers() -> None:
    one, two = model(), model()
    requests = [prompt(), prompt("other", temperature=1.0), prompt()]
    assert [one.answer(request) for request in requests] == [two.answer(r) for r in requests]


def test_another_seed_content_or_model_gives_another_answer() -> None:
    first = content(model().answer(prompt()))
    assert content(model(seed=1).answer(prompt())) != first
    assert content(model().answer(prompt("hello!"))) != first
    other = msgspec.structs.replace(prompt(), model="gpt-5")
    assert content(model().answer(other)) != first


@pytest.mark.parametrize("temperature", [None, 0.0])
def test_without_temperature_a_repeated_request_gets_the_same_text_but_its_own_id(
    temperature: float | None,
) -> None:
    one = model()
    first, second = (one.answer(prompt(temperature=temperature)) for _ in range(2))
    assert content(first) == content(second)
    assert first.id != second.id


def test_with_temperature_a_repeated_request_varies() -> None:
    one = model()
    request = prompt(temperature=0.7)
    assert content(one.answer(request)) != content(one.answer(request))


def test_choices_differ() -> None:
    choices = model().answer(prompt(choices=3)).choices
    assert len({choice.blocks for choice in choices}) == 3


def test_too_many_long_choices_are_refused() -> None:
    with pytest.raises(RequestError, match="n ×"):
        model().answer(prompt(choices=100), 100_000)


def test_max_tokens_cuts() -> None:
    answer = model().answer(prompt(max_tokens=7))
    assert answer.choices[0].finish == "length"
    assert answer.usage.output == 7


def test_the_first_stop_sequence_cuts() -> None:
    answer = model().answer(prompt(stop=("read", "Z", "model", "")))
    choice = answer.choices[0]
    assert (choice.finish, choice.sequence) == ("sequence", "model")
    assert choice.blocks[0].text.endswith(": no ")


@pytest.mark.parametrize(
    ("text", "fields", "names"),
    [
        ("weather?", {}, []),
        ("please use get_time.", {}, ["get_time"]),
        ("get_time_zone", {}, []),
        ("use get_time", {"choice": "none"}, []),
        ("weather?", {"choice": "required"}, ["get_weather"]),
        ("use get_time", {"choice": "required"}, ["get_time"]),
        ("weather?", {"choice": "required", "forced": "get_time"}, ["get_time"]),
    ],
)
def test_which_tool_is_called(text: str, fields: dict[str, Any], names: list[str]) -> None:
    answer = model().answer(prompt(text, tools=(WEATHER, TIME), **fields))
    assert called(answer) == names
    assert answer.choices[0].finish == ("tool" if names else "stop")


def test_after_a_tool_result_it_answers_in_text_whatever_is_forced() -> None:
    past = (Turn("assistant", "", (Call("get_time", "{}"),)), Turn("tool", "noon"))
    request = prompt("get_time", *past, tools=(TIME,), choice="required", forced="get_time")
    assert called(model().answer(request)) == []


def test_the_next_task_may_call_again() -> None:
    past = (Turn("assistant", "", (Call("get_time", "{}"),)), Turn("tool", "noon"))
    more = (*past, Turn("assistant", "It is noon."), Turn("user", "get_time again"))
    assert called(model().answer(prompt("get_time", *more, tools=(TIME,)))) == ["get_time"]


def test_forcing_a_tool_that_is_not_offered_is_refused() -> None:
    with pytest.raises(RequestError, match="nothing_here"):
        model().answer(prompt(tools=(TIME,), choice="required", forced="nothing_here"))


def test_a_tool_call_that_does_not_fit_is_left_out() -> None:
    tool = Tool("f", {"const": {"long": "x" * 100}})
    answer = model().answer(prompt("f", tools=(tool,), max_tokens=5))
    assert (content(answer), answer.choices[0].finish) == ([], "length")


def test_arguments_are_an_object_whatever_the_schema() -> None:
    answer = model().answer(prompt("f", tools=(Tool("f", {"type": "string"}),)))
    assert content(answer) == [("tool", "{}")]


def test_a_huge_default_is_refused() -> None:
    with pytest.raises(RequestError, match="65,536"):
        model().answer(prompt(schema={"const": "x" * 70_000}))


def test_thinking_comes_first_and_leaves_room() -> None:
    answer = model().answer(prompt(thinking=True, max_tokens=20))
    assert [kind for kind, _ in content(answer)] == ["thinking", "text"]
    assert (answer.usage.thinking, answer.usage.output) == (10, 20)


def test_structured_output_meets_its_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    assert content(model().answer(prompt(schema=schema))) == [("text", '{"a":1}')]


def test_a_script_answers(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(
        '[[rule]]\nthinking = "hm"\ntext = "Reading."\n'
        'tool_calls = [{name = "get_time", arguments = {zone = "UTC"}}]\n'
    )
    script = load_script(path)
    request = prompt(tools=(TIME,), thinking=True)
    expected = [("thinking", "hm"), ("text", "Reading."), ("tool", '{"zone":"UTC"}')]
    assert content(model(script).answer(request)) == expected
    without = msgspec.structs.replace(request, thinking=False)
    assert content(model(script).answer(without)) == expected[1:]


def test_tool_call_ids_are_the_same_in_an_identical_run_and_differ_within_one() -> None:
    rule = Rule(tool_calls=(ScriptedCall("get_time"), ScriptedCall("get_time")))
    runs = [model(Script([rule])).answer(prompt(tools=(TIME,))) for _ in range(2)]
    ids = [[block.id for block in run.choices[0].blocks] for run in runs]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2


def test_the_prefix_cache_counts() -> None:
    one = model()
    long = prompt("word " * 2_000)
    assert one.answer(long).usage.prompt.cached == 0
    assert one.answer(long).usage.prompt.cached == 2_048
