"""What makes two bodies the same: properties of the canonical form."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from fairlead.errors import RequestError
from fairlead.gateway.keys import (
    LABEL_FIELDS,
    MAX_STRICT_BODY,
    BodyDigests,
    canonical_form,
    read_facts,
)
from support.bodies import (
    BODIES,
    FIELDS,
    LABELS,
    SCALARS,
    VALUES,
    Json,
    at,
    copy_of,
    counts,
    places,
    same,
    spelled,
)

SEEDS = st.integers(0, 2**32)


def canonical(body: Json) -> bytes:
    form = canonical_form(json.dumps(body).encode())
    assert form is not None
    return form


# ---- the canonical form


@given(BODIES, SEEDS, SEEDS)
def test_order_white_space_and_escapes_do_not_matter(body: Json, one: int, two: int) -> None:
    first = spelled(body, one).encode()
    second = spelled(body, two).encode()

    assert canonical_form(first) == canonical_form(second) == canonical(body)
    assert canonical_form(orjson.dumps(body)) == canonical(body)


@given(BODIES, VALUES, st.data())
@example({"messages": [{"content": True}]}, 1, None)
@example({"seed": 1}, 1.0, None)
def test_any_value_changed_anywhere_matters(
    body: Json, value: Json, data: st.DataObject | None
) -> None:
    paths = [path for path in places(body) if counts(path)]
    assume(paths)
    path = data.draw(st.sampled_from(paths)) if data else paths[-1]
    assume(not same(at(body, path), value))
    changed = copy_of(body)
    at(changed, path[:-1])[path[-1]] = value

    assert _differ(canonical(body), canonical(changed), at(body, path), value)


def _differ(first: bytes, second: bytes, old: Json, new: Json) -> bool:
    # JSON has one integer zero however it is signed; all else must be told apart.
    return first != second or (old == new == 0 and type(old) is type(new) is int)


@given(BODIES, st.data())
def test_any_field_removed_anywhere_matters(body: Json, data: st.DataObject) -> None:
    paths = [path for path in places(body) if counts(path)]
    assume(paths)
    path = data.draw(st.sampled_from(paths))
    changed = copy_of(body)
    del at(changed, path[:-1])[path[-1]]

    assert canonical(body) != canonical(changed)


@given(BODIES, FIELDS, VALUES, st.data())
def test_any_field_added_anywhere_matters(
    body: Json, field: str, value: Json, data: st.DataObject
) -> None:
    inside = [path for path in places(body) if isinstance(at(body, path), dict) and counts(path)]
    path = data.draw(st.sampled_from([(), *inside]))
    assume(field not in at(body, path) and (path or field not in LABELS))
    changed = copy_of(body)
    at(changed, path)[field] = value

    assert canonical(body) != canonical(changed)


@given(st.lists(VALUES, min_size=2, max_size=4), st.data())
def test_the_order_of_a_list_matters(items: list[Json], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(items))
    assume(not same(items, shuffled))

    assert canonical({"messages": items}) != canonical({"messages": shuffled})


@pytest.mark.parametrize("label", LABEL_FIELDS)
@given(body=BODIES, value=VALUES)
def test_labels_do_not_matter_at_the_top_but_inside(label: str, body: Json, value: Json) -> None:
    plain = {key: inner for key, inner in body.items() if key != label}

    assert canonical({**plain, label: value}) == canonical(plain)
    inner = {"role": "user", "content": "hello"}
    assert canonical({"messages": [{**inner, label: value}]}) != canonical({"messages": [inner]})


def test_the_labels_are_those_of_the_specification() -> None:
    assert set(LABEL_FIELDS) == set(LABELS)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("0", "0.0"),
        ("1", "true"),
        ("0", "false"),
        ("null", "0"),
        ('""', "null"),
        ('"1"', "1"),
        ("[]", "{}"),
        ("[]", "[[]]"),
        ("[1,2]", "[12]"),
        ('"a"', '"A"'),
        ('"é"', '"e\u0301"'),
        ("18446744073709551615", "18446744073709551614"),
        ("9007199254740993", "9007199254740992"),
        ("0.1", "0.10000000000000002"),
    ],
)
def test_values_that_are_alike_are_told_apart(one: str, two: str) -> None:
    first, second = (canonical_form(f'{{"x": {text}}}'.encode()) for text in (one, two))

    assert first is not None
    assert first != second


def test_keys_that_could_run_into_each_other_do_not() -> None:
    bodies = [{"a": {"b": 1}}, {"a": {}, "b": 1}, {"a": '{"b":1}'}, {'a":{"b': 1}, {"a.b": 1}]

    assert len({canonical(body) for body in bodies}) == len(bodies)


AMBIGUOUS = {
    "duplicate key": b'{"a":1,"a":2}',
    "duplicate key, equal values": b'{"a":1,"a":1}',
    "duplicate key beside an escape": b'{"a":1,"a":2,"b":"\\u003a"}',
    "duplicate key, one escaped": b'{"a":1,"\\u0061":2}',
    "duplicate key, both escaped differently": b'{"\\u00e9":1,"\xc3\xa9":2}',
    "duplicate empty key": b'{"":1,"":2}',
    "duplicate key far apart": b'{"a":1,' + b'"x":[0,1,2],' + b'"a":2}',
    "duplicate key nested": b'{"messages":[{"role":"user","role":"system"}]}',
    "duplicate key deep down": b'{"a":' + b'{"b":[' * 50 + b'{"c":1,"c":2}' + b"]}" * 50 + b"}",
    "duplicate label": b'{"user":"a","user":"b"}',
    "duplicate key in a label": b'{"metadata":{"a":1,"a":2}}',
    "duplicate key after a surrogate pair": b'{"\\ud83d\\ude00":1,"\xf0\x9f\x98\x80":2}',
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":Infinity}',
    "negative infinity": b'{"a":-Infinity}',
    "beyond a double": b'{"a":1e999}',
    "beyond a double, negative": b'{"a":[-1e400]}',
    "beyond 64 bits": b'{"a":18446744073709551616}',
    "beyond 64 bits, negative": b'{"a":-9223372036854775809}',
    "thousands of digits": b'{"a":' + b"9" * 10_000 + b"}",
    "lone high surrogate": b'{"a":"\\ud800"}',
    "lone low surrogate": b'{"a":"\\udc00"}',
    "lone surrogate in a key": b'{"\\ud800":1}',
    "surrogates swapped": b'{"a":"\\ude00\\ud83d"}',
    "surrogate encoded in UTF-8": b'{"a":"\xed\xa0\x80"}',
    "overlong UTF-8": b'{"a":"\xc0\xaf"}',
    "not UTF-8": b'{"a":"\xff"}',
    "byte order mark": b'\xef\xbb\xbf{"a":1}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "UTF-16 without mark": '{"a":1}'.encode("utf-16-le"),
    "UTF-32": '{"a":1}'.encode("utf-32-be"),
    "not an object": b"[]",
    "a scalar": b'"text"',
    "null": b"null",
    "two documents": b"{}{}",
    "trailing text": b'{"a":1} x',
    "trailing zero byte": b'{"a":1}\x00',
    "a comment": b'{"a":1/**/}',
    "trailing comma": b'{"a":1,}',
    "single quotes": b"{'a':1}",
    "raw control character": b'{"a":"\n"}',
    "leading zero": b'{"a":01}',
    "a plus sign": b'{"a":+1}',
    "a bare point": b'{"a":.5}',
    "cut short": b'{"a":1',
    "white space alone": b"  ",
}


@pytest.mark.parametrize("body", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_what_parsers_disagree_on_has_no_key(body: bytes) -> None:
    assert canonical_form(body) is None
    digests = BodyDigests()
    # The second time it is remembered.
    assert digests.digest(body) is None
    assert digests.digest(body) is None


TWICE = "\x00twice"


@given(BODIES, st.data(), SEEDS)
def test_a_key_written_twice_anywhere_is_noticed(
    body: Json, data: st.DataObject, seed: int
) -> None:
    objects = [path for path in [(), *places(body)] if isinstance(at(body, path), dict)]
    filled = [path for path in objects if at(body, path)]
    assume(filled)
    path = data.draw(st.sampled_from(filled))
    marked = copy_of(body)
    field = data.draw(st.sampled_from(sorted(at(marked, path))))
    at(marked, path)[TWICE] = 1
    text = spelled(marked, seed)
    (marker,) = [literal for literal in _strings(text) if json.loads(literal) == TWICE]
    twice = text.replace(marker, spelled(field, seed + 1))

    assert canonical_form(text.encode()) is not None
    assert canonical_form(twice.encode()) is None


def _strings(text: str) -> list[str]:
    """Every string literal in JSON text."""
    found, start, escaped = [], -1, False
    for index, one in enumerate(text):
        if escaped:
            escaped = False
        elif one == "\\":
            escaped = True
        elif one == '"':
            if start < 0:
                start = index
            else:
                found.append(text[start : index + 1])
                start = -1
    return found


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize("depth", [100, 254, 1000, 10_000, 500_000])
def test_depth_is_an_answer_or_a_clear_error(opening: bytes, depth: int) -> None:
    closing = b"]" if opening == b"[" else b"}"
    body = b'{"model":"m","x":' + opening * depth + b"1" + closing * depth + b"}"
    form = canonical_form(body)
    error = refusal(body)

    assert form is None or depth < 1000
    assert error is None or ("nested too deeply" in error and depth > 254)


def refusal(body: bytes) -> str | None:
    """What the reader says of the body; None where it takes it. Any other error is a bug."""
    try:
        facts = read_facts(body)
    except RequestError as error:
        return f"{error.status}: {error}"
    assert isinstance(facts.model, str)
    return None


@given(st.binary(max_size=60) | st.text(max_size=40).map(str.encode))
def test_no_body_raises_anything_but_a_clear_error(body: bytes) -> None:
    canonical_form(body)
    assert (refusal(body) or "400").startswith("400")


# ---- the digest's memory


def test_a_body_seen_before_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = BodyDigests()
    # The first time it is only glimpsed, the second time remembered.
    first = digests.digest(b'{"a": 1, "b": 2}')
    assert digests.digest(b'{"a": 1, "b": 2}') == first
    monkeypatch.setattr("fairlead.gateway.keys.canonical_form", lambda _: pytest.fail("parsed"))

    assert digests.digest(b'{"a": 1, "b": 2}') == first


def test_the_memory_is_bounded_and_forgetting_changes_nothing() -> None:
    digests = BodyDigests(max_entries=10)
    bodies = [b'{"a":%d}' % n for n in range(200)] + [b"ambiguous"] * 3
    once = [digests.digest(body) for body in bodies for _ in range(2)][::2]

    assert len(digests._digests) == 10
    assert len(digests._glimpsed) == 10
    assert [digests.digest(body) for body in bodies] == once
    assert len(set(once)) == 201


def test_a_body_is_told_apart_wherever_it_differs() -> None:
    """Bodies are first told apart by their ends: what is alike there must still get its own."""
    digests = BodyDigests()
    pad = "x" * 2000
    bodies = [json.dumps({"a": pad, "b": n, "c": pad}).encode() for n in (1, 2, 3)]
    for _ in range(3):
        assert len({digests.digest(body) for body in bodies}) == 3


def test_a_large_body_that_is_not_compact_is_ambiguous_without_the_slow_parser(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fairlead.gateway.keys._strict_parse", lambda _: pytest.fail("parsed"))
    body = b'{"a": "' + b"x" * MAX_STRICT_BODY + b'"}'

    assert canonical_form(body) is None
    assert canonical_form(body.replace(b": ", b":")) is not None


def test_no_body_and_an_empty_object_are_two() -> None:
    digests = BodyDigests()

    assert digests.digest(b"") is not None
    assert digests.digest(b"") != digests.digest(b"{}")


@given(SCALARS)
def test_a_model_that_is_no_text_is_refused(value: Json) -> None:
    assume(not isinstance(value, str))

    with pytest.raises(RequestError, match="model must be a string") as caught:
        read_facts(json.dumps({"model": value}).encode())
    assert caught.value.param == "model"
