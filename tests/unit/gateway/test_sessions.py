"""Whose request it is: names before fingerprints, never another tenant's, the same for as long as a
conversation grows; how urgent it is, and what it needs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fairlead.core.identity import LOCAL_PRINCIPAL, Principal
from fairlead.errors import RequestError
from fairlead.gateway.base import ModelRequest
from fairlead.gateway.legs.base import Headers
from fairlead.gateway.sessions import (
    MAX_RAW_ID,
    SESSION_HEADERS,
    capabilities_of,
    flow_of,
    priority_of,
    session_of,
)
from support.bodies import BODIES
from support.gateway import make_request

CHAT, RESPONSES, MESSAGES = b"/v1/chat/completions", b"/v1/responses", b"/v1/messages"
COUNT, EMBEDDINGS = b"/v1/messages/count_tokens", b"/v1/embeddings"
CONVERSATIONS = [CHAT, RESPONSES, MESSAGES, COUNT]
PATHS = [*CONVERSATIONS, EMBEDDINGS, b"/v1/completions", b"/v1/models"]
PRIORITIES = ["critical", "high", "normal", "low"]

TENANTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NOT_UTF8 = b'{"model":"m","prompt_cache_key":"\xff\xfe"}'
NESTED = b'{"model":"m","messages":' + b"[" * 100_000
SURROGATE = rb'{"model":"m","prompt_cache_key":"\ud800","messages":[{"content":"\ud800"}]}'


def session(
    body: Any,
    path: bytes = CHAT,
    headers: Headers | None = None,
    principal: Principal = LOCAL_PRINCIPAL,
) -> str:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return session_of(make_request(data, path=path, headers=headers, principal=principal), data)


def said(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def block(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **more}


# Named sessions


@pytest.mark.parametrize("name", SESSION_HEADERS)
def test_a_header_names_the_session_whatever_the_body_says(name: bytes) -> None:
    headers = [(name, b"run-7")]

    assert session({"prompt_cache_key": "other"}, headers=headers) == "5:local/run-7"
    assert session(b"no JSON", headers=headers) == "5:local/run-7"


def test_the_first_header_of_the_list_wins() -> None:
    headers = [(name, b"from " + name) for name in SESSION_HEADERS]

    for name in SESSION_HEADERS:
        assert session({}, headers=list(reversed(headers))) == f"5:local/from {name.decode()}"
        headers = [field for field in headers if field[0] != name]


def test_an_empty_header_names_nothing() -> None:
    headers = [(b"x-session-id", b""), (b"thread-id", b"t")]

    assert session({}, headers=headers) == "5:local/t"


def test_the_cache_key_in_the_body_comes_before_the_user_id() -> None:
    body = {"prompt_cache_key": "key", "metadata": {"user_id": "user"}}

    assert session(body, MESSAGES) == "5:local/key"
    assert session(body, RESPONSES) == "5:local/key"


def test_a_user_id_names_the_session_on_anthropics_paths_alone() -> None:
    user_id = "user_1_account_2_session_3"
    body = {"metadata": {"user_id": user_id}}

    assert session(body, MESSAGES) == session(body, COUNT) == f"5:local/{user_id}"
    assert session(body, CHAT) == session({}, CHAT)


@pytest.mark.parametrize("wrong", [None, 5, 0.5, True, [], ["key"], {"a": 1}, ""])
def test_a_name_of_another_type_names_nothing(wrong: Any) -> None:
    body = {"model": "m", "messages": [said("user", "hello")]}
    unnamed = session(body, MESSAGES)

    assert session({**body, "prompt_cache_key": wrong}, MESSAGES) == unnamed
    assert session({**body, "metadata": {"user_id": wrong}}, MESSAGES) == unnamed
    assert session({**body, "metadata": wrong}, MESSAGES) == unnamed


def test_a_long_name_is_kept_as_its_digest() -> None:
    longest = session({}, headers=[(b"x-session-id", b"a" * MAX_RAW_ID)])
    longer = session({}, headers=[(b"x-session-id", b"a" * (MAX_RAW_ID + 1))])
    other = session({}, headers=[(b"x-session-id", b"a" * MAX_RAW_ID + b"b")])

    assert longest == "5:local/" + "a" * MAX_RAW_ID
    assert len(longer) == len(other) == len("5:local/") + 32
    assert longer != other
    assert len(session({"prompt_cache_key": "é" * MAX_RAW_ID})) == len("5:local/") + 32


@given(st.sampled_from(SESSION_HEADERS), st.binary(min_size=1, max_size=600), st.binary())
def test_any_bytes_in_a_header_are_a_name(name: bytes, value: bytes, body: bytes) -> None:
    first = session(body, headers=[(name, value)])

    assert first == session(b"", headers=[(name, value)])
    assert first != session(body, headers=[(name, value + b".")])
    assert first.encode().startswith(b"5:local/")


# Fingerprints


def grown(path: bytes, count: int, system: Any, user: Any) -> dict[str, Any]:
    """A conversation of `count` messages, the first of which never change."""
    later = [said("assistant" if i % 2 == 0 else "user", f"turn {i}") for i in range(count)]
    later += [said("system", "a late remark")] if count > 2 else []
    if path == CHAT:
        return {"model": "m", "messages": [said("system", system), said("user", user), *later]}
    if path == RESPONSES:
        return {"model": "m", "instructions": system, "input": [said("user", user), *later]}
    return {"model": "m", "system": system, "messages": [said("user", user), *later]}


@given(st.sampled_from(CONVERSATIONS), st.text(max_size=30), st.text(max_size=30), st.integers(1))
def test_a_growing_conversation_keeps_its_session(
    path: bytes, system: str, user: str, seed: int
) -> None:
    count = seed % 40
    first = session(grown(path, 0, system, user), path)

    assert first == session(grown(path, count, system, user), path)
    assert first != session(grown(path, count, system, user + "!"), path)
    assert first != session(grown(path, count, system + "!", user), path)


@pytest.mark.parametrize("path", CONVERSATIONS)
@pytest.mark.parametrize("change", [{"model": "n"}, {"user": "b"}, {"tenant": "t"}])
def test_model_user_and_tenant_make_other_sessions(path: bytes, change: dict[str, str]) -> None:
    body = grown(path, 3, "be brief", "hello")
    principal = Principal(change.get("tenant", "local"), change.get("user", "local"))

    other = session({**body, "model": change.get("model", "m")}, path, principal=principal)

    assert other != session(body, path)


def test_counting_tokens_belongs_to_the_conversation_that_is_counted() -> None:
    body = grown(MESSAGES, 3, "be brief", "hello")

    assert session(body, COUNT) == session(body, MESSAGES)


def test_a_developer_message_is_a_system_message() -> None:
    hello = said("user", "hello")
    first, second = said("developer", "one"), said("developer", "two")

    assert session({"messages": [first, hello]}) == session({"messages": [first, second, hello]})
    assert session({"messages": [first, hello]}) != session({"messages": [second, hello]})
    assert session({"messages": [first, hello]}) != session({"messages": [hello]})


def test_the_spelling_of_a_message_does_not_matter() -> None:
    plain = {"model": "m", "system": "be brief", "messages": [said("user", 'say "é"')]}
    marked = {
        "messages": [
            {"content": [block('say "é"', cache_control={"type": "ephemeral"})], "role": "user"},
            said("assistant", "é"),
        ],
        "system": [block("be "), block("brief", cache_control={"type": "ephemeral"})],
        "model": "m",
    }
    spread = json.dumps(marked, ensure_ascii=False, indent=2).encode()

    assert session(plain, MESSAGES) == session(marked, MESSAGES) == session(spread, MESSAGES)


def test_an_input_may_be_a_string_or_a_list() -> None:
    content = [{"type": "input_text", "text": "a\nb"}]

    as_text = session({"model": "m", "input": "a\nb"}, RESPONSES)

    assert as_text == session({"model": "m", "input": [said("user", content)]}, RESPONSES)
    assert as_text != session({"model": "m", "input": "a"}, RESPONSES)


def test_items_that_are_no_messages_do_not_matter() -> None:
    hello = said("user", "hello")
    reasoning = {"type": "reasoning", "summary": []}

    first = session({"input": [hello]}, RESPONSES)

    assert first == session({"input": [reasoning, None, hello]}, RESPONSES)


def test_content_of_an_unknown_form_counts_as_it_stands() -> None:
    first = session({"messages": [said("user", {"parts": ["a"]})]})

    assert first == session({"messages": [said("user", {"parts": ["a"]}), said("user", "b")]})
    assert first != session({"messages": [said("user", {"parts": ["b"]})]})
    assert session({"messages": [said("user", None)]}) == session({"messages": []})


def test_only_the_beginning_of_a_long_text_counts() -> None:
    start = "x" * 16_384

    first = session({"messages": [said("user", start)]})

    assert first == session({"messages": [said("user", start + "y")]})
    assert first != session({"messages": [said("user", start[1:])]})


def test_texts_do_not_run_into_each_other() -> None:
    one = {"messages": [said("system", "ab"), said("user", "c")]}
    two = {"messages": [said("system", "a"), said("user", "bc")]}

    assert session(one) != session(two)


@pytest.mark.parametrize("path", [EMBEDDINGS, b"/v1/completions", b"/v1/models"])
def test_other_paths_have_one_session_per_user_and_model(path: bytes) -> None:
    first = session({"model": "m", "input": ["a"], "messages": [said("user", "a")]}, path)

    assert first == session({"model": "m", "input": "b", "messages": [said("user", "b")]}, path)
    assert first != session({"model": "n", "input": ["a"]}, path)
    assert session({"prompt_cache_key": "key"}, path) == "5:local/key"


@pytest.mark.parametrize("path", CONVERSATIONS)
@pytest.mark.parametrize(
    "wrong", [{"messages": "x", "input": 5}, {"messages": [1], "input": [[]]}, {"messages": {}}]
)
def test_a_body_of_another_form_still_has_model_and_name(
    path: bytes, wrong: dict[str, Any]
) -> None:
    by_model = session({**wrong, "model": "m"}, path)

    assert by_model == session({**wrong, "model": "m"}, path)
    assert by_model != session({**wrong, "model": "n"}, path)
    assert session({**wrong, "prompt_cache_key": "key"}, path) == "5:local/key"


@given(st.sampled_from(PATHS), st.binary(max_size=200) | BODIES.map(json.dumps).map(str.encode))
@example(CHAT, NOT_UTF8)
@example(CHAT, NESTED)
@example(CHAT, SURROGATE)
@example(MESSAGES, rb'{"metadata":{"user_id":"\ud800"}}')
@example(CHAT, b'{"messages":[{"role":"user","content":' + b"[" * 100_000)
def test_any_body_has_a_session(path: bytes, body: bytes) -> None:
    found = session(body, path)

    assert found == session(body, path)
    assert found.encode().startswith(b"5:local/")


@given(TENANTS, TENANTS, st.sampled_from(SESSION_HEADERS), st.binary(max_size=300), BODIES)
@example("a", "a/b", b"x-session-id", b"b/c", {})
def test_tenants_never_share_a_session(
    one: str, two: str, name: bytes, value: bytes, body: Any
) -> None:
    first, second = Principal(one, "u", verified=True), Principal(two, "u", verified=True)

    for headers in ([], [(name, value)], [(name, one.encode() + b"/" + value)]):
        mine = session(body, MESSAGES, headers, first)
        theirs = session(body, MESSAGES, headers, second)
        assert (mine == theirs) == (one == two)


def test_a_tenant_cannot_spell_another_tenants_session() -> None:
    mine = session({}, headers=[(b"x-session-id", b"b/c")], principal=Principal("a", "u"))
    theirs = session({}, headers=[(b"x-session-id", b"c")], principal=Principal("a/b", "u"))

    assert mine != theirs


# Flows


def request(headers: Headers | None = None, **more: Any) -> ModelRequest:
    return make_request(headers=headers, **more)


def test_a_verified_user_is_one_flow_whatever_the_headers_say() -> None:
    ada = Principal("team", "ada", verified=True)
    headers = [(b"x-claude-code-session-id", b"s")]

    flow = flow_of(request(principal=ada), "")

    assert flow == flow_of(request(headers, principal=ada), "session")
    assert flow != flow_of(request(principal=Principal("team", "bob", verified=True)), "")
    assert flow != flow_of(request(principal=Principal("else", "ada", verified=True)), "")


def test_without_verified_users_claude_codes_session_is_the_flow_else_the_session() -> None:
    headers = [(b"x-claude-code-session-id", b"parent"), (b"x-session-id", b"child")]

    assert flow_of(request(headers), "5:local/child") == "5:local/parent"
    assert flow_of(request(headers[1:]), "5:local/child") == "5:local/child"


# Priorities

ROUTES = [
    (b"/v1/chat/completions", "normal"),
    (b"/v1/messages", "normal"),
    (b"/v1/anything", "normal"),
    (b"/v1/modelsx", "normal"),
    (b"/v1/messages/count_tokens", "high"),
    (b"/v1/models", "high"),
    (b"/v1/models/gpt-5", "high"),
    (b"/v1/embeddings", "low"),
]


@pytest.mark.parametrize(("path", "expected"), ROUTES)
@pytest.mark.parametrize("word", PRIORITIES)
def test_the_route_decides_unless_the_caller_may(path: bytes, expected: str, word: str) -> None:
    asking = request([(b"x-fairlead-priority", word.encode())], path=path)
    lower = PRIORITIES[max(PRIORITIES.index(word), PRIORITIES.index(expected))]

    assert priority_of(request(path=path), "any") == expected
    assert priority_of(asking, "any") == word
    assert priority_of(asking, "lower") == lower
    assert priority_of(asking, "off") == expected


def test_case_and_space_around_a_priority_do_not_matter() -> None:
    assert priority_of(request([(b"x-fairlead-priority", b" Critical\t")]), "any") == "critical"


@given(st.binary(max_size=20))
@example(b"")
def test_an_unknown_priority_is_refused_with_the_four_words(value: bytes) -> None:
    if value.strip().lower().decode("latin-1") in PRIORITIES:
        return
    asking = request([(b"x-fairlead-priority", value)])

    for allowed in ("any", "lower"):
        with pytest.raises(RequestError, match="critical, high, normal, low") as caught:
            priority_of(asking, allowed)  # type: ignore[arg-type]  # one of the literals
        assert (caught.value.status, caught.value.param) == (400, "x-fairlead-priority")
    assert priority_of(asking, "off") == "normal"


# Capabilities


def capabilities(*values: bytes) -> tuple[str, ...]:
    return capabilities_of(request([(b"x-fairlead-capability", value) for value in values]))


def test_capabilities_are_words_between_commas_each_once() -> None:
    assert capabilities() == ()
    assert capabilities(b"gpu") == ("gpu",)
    assert capabilities(b" gpu ,, long-context,gpu", b"vision") == ("gpu", "long-context", "vision")
    assert capabilities("größe".encode()) == ("größe",)
    assert capabilities(b",".join([b"gpu"] * 100)) == ("gpu",)


@pytest.mark.parametrize("value", [b"a,b,c,d,e,f,g,h,i", b"x" * 65], ids=["many", "long"])
def test_too_many_or_too_long_capabilities_are_refused(value: bytes) -> None:
    with pytest.raises(RequestError, match="at most 8 words of at most 64") as caught:
        capabilities(value)
    assert (caught.value.status, caught.value.param) == (400, "x-fairlead-capability")


def test_eight_capabilities_of_64_characters_are_taken() -> None:
    words = [letter * 64 for letter in "abcdefgh"]

    assert capabilities(",".join(words).encode()) == tuple(words)


@given(st.lists(st.binary(max_size=100), max_size=4))
def test_any_bytes_are_capabilities_or_refused(values: list[bytes]) -> None:
    try:
        found = capabilities(*values)
    except RequestError:
        found = ()

    assert len(found) <= 8
    assert all(0 < len(word) <= 64 for word in found)
    assert [word.encode().decode() for word in found] == list(found)
