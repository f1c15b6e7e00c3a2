"""What may be cached: directives, policies, and the reason that an answer may not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import RequestError
from fairlead.gateway.keys import (
    MAX_KEYED_BODY,
    NO_DIRECTIVES,
    Directives,
    Policy,
    bypass_reason,
    policy_for,
    read_directives,
    read_facts,
)
from fairlead.gateway.legs.base import Headers
from support.gateway import make_request

GENERATING = [b"/v1/chat/completions", b"/v1/responses", b"/v1/messages"]
ALWAYS_DETERMINISTIC = [b"/v1/embeddings", b"/v1/messages/count_tokens"]


def reason(
    body: bytes,
    path: bytes = b"/v1/chat/completions",
    policy: Policy = "deterministic",
    directives: Directives = NO_DIRECTIVES,
    method: bytes = b"POST",
) -> str | None:
    request = make_request(body, path=path, method=method)
    return bypass_reason(request, read_facts(body or b"{}"), directives, policy)


@pytest.mark.parametrize("path", GENERATING)
@pytest.mark.parametrize(
    ("temperature", "expected"),
    [
        (b'"temperature":0', None),
        (b'"temperature":0.0', None),
        (b'"temperature":-0.0', None),
        (b'"temperature":0e5', None),
        (b'"temperature":false', "temperature"),
        (b'"temperature":"0"', "temperature"),
        (b'"temperature":null', "temperature"),
        (b'"temperature":[0]', "temperature"),
        (b'"temperature":0.1', "temperature"),
        (b'"temperature":1', "temperature"),
        (b'"temperature":-1', "temperature"),
        (b'"top_p":0', "temperature"),
    ],
)
def test_deterministic_means_a_temperature_of_zero(
    path: bytes, temperature: bytes, expected: str | None
) -> None:
    body = b'{"model":"m",' + temperature + b"}"

    assert reason(body, path) == expected
    assert reason(body, path, policy="all") is None
    assert reason(body, path, directives=Directives(switch="on")) is None
    assert reason(body, path, policy="off") == "policy"


@pytest.mark.parametrize("path", ALWAYS_DETERMINISTIC)
@pytest.mark.parametrize("policy", ["deterministic", "all"])
def test_embeddings_and_token_counts_are_always_deterministic(path: bytes, policy: Policy) -> None:
    assert reason(b'{"model":"m"}', path, policy) is None
    assert reason(b'{"model":"m"}', path, "off") == "policy"


def test_the_list_of_models_is_cacheable() -> None:
    assert reason(b"", b"/v1/models", method=b"GET") is None
    assert reason(b"", b"/v1/models", "off", method=b"GET") == "policy"
    assert reason(b"", b"/v1/models", method=b"POST") == "not-cacheable"
    assert reason(b"", b"/v1/models/m", method=b"GET") == "not-cacheable"


@pytest.mark.parametrize("policy", ["deterministic", "all"])
@pytest.mark.parametrize("switch", [None, "on"])
@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (b'"store":true', "store"),
        (b'"store":1', "store"),
        (b'"store":"yes"', "store"),
        (b'"background":true', "background"),
        (b'"background":{}', "background"),
        (b'"previous_response_id":"resp_1"', "previous-response-id"),
        (b'"previous_response_id":""', "previous-response-id"),
        (b'"conversation":"conv_1"', "conversation"),
        (b'"conversation":{"id":"conv_1"}', "conversation"),
        (b'"store":false', None),
        (b'"store":null', None),
        (b'"background":false', None),
        (b'"background":null', None),
        (b'"previous_response_id":null', None),
        (b'"conversation":null', None),
    ],
)
def test_server_side_state_is_never_cached(
    policy: Policy, switch: str | None, field: bytes, expected: str | None
) -> None:
    body = b'{"model":"m","temperature":0,' + field + b"}"
    directives = Directives(switch="on" if switch else None)

    for path in GENERATING:
        assert reason(body, path, policy, directives) == expected


@pytest.mark.parametrize(
    ("directives", "expected"),
    [
        (Directives(switch="off"), "off"),
        (Directives(no_store=True), "no-store"),
        (Directives(no_store=True, switch="on"), "no-store"),
        (Directives(no_store=True, switch="off"), "off"),
        (Directives(no_cache=True), None),
        (Directives(only_if_cached=True), None),
        (Directives(max_age=0.0), None),
    ],
)
def test_the_callers_wish(directives: Directives, expected: str | None) -> None:
    for path in [*GENERATING, *ALWAYS_DETERMINISTIC]:
        assert reason(b'{"model":"m","temperature":0}', path, "all", directives) == expected


def test_the_operators_off_is_stronger_than_the_callers_on() -> None:
    wish = Directives(switch="on")

    assert reason(b'{"model":"m","temperature":0}', policy="off", directives=wish) == "policy"


@pytest.mark.parametrize("policy", ["deterministic", "all"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        (b"POST", b"/v1/files"),
        (b"POST", b"/v1/images/generations"),
        (b"POST", b"/v1/messages/batches"),
        (b"POST", b"/v1/chat/completions/"),
        (b"POST", b"/v1/Chat/completions"),
        (b"GET", b"/v1/chat/completions"),
        (b"DELETE", b"/v1/responses"),
        (b"PUT", b"/v1/embeddings"),
        (b"HEAD", b"/v1/models"),
    ],
)
def test_every_other_request_passes_by(policy: Policy, method: bytes, path: bytes) -> None:
    assert reason(b'{"model":"m","temperature":0}', path, policy, method=method) == "not-cacheable"


def test_a_huge_body_passes_by() -> None:
    room = MAX_KEYED_BODY - len(b'{"model":"m","temperature":0,"x":""}')
    body = b'{"model":"m","temperature":0,"x":"%b"}'

    assert reason(body % (b"x" * room)) is None
    assert reason(body % (b"x" * (room + 1))) == "size"


# ---- directives


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], Directives()),
        ([b""], Directives()),
        ([b"no-store"], Directives(no_store=True)),
        ([b"No-Store"], Directives(no_store=True)),
        ([b"no-cache"], Directives(no_cache=True)),
        ([b"only-if-cached"], Directives(only_if_cached=True)),
        ([b"max-age=60"], Directives(max_age=60)),
        ([b'max-age="60"'], Directives(max_age=60)),
        ([b"max-age=0"], Directives(max_age=0)),
        ([b" max-age = 5 , no-cache"], Directives(max_age=5, no_cache=True)),
        ([b"no-cache", b"no-store"], Directives(no_cache=True, no_store=True)),
        ([b"no-transform, max-stale=4, unheard-of"], Directives()),
        ([b"max-age=-1"], Directives()),
        ([b"max-age=soon"], Directives()),
        ([b"max-age="], Directives()),
        ([b"max-age"], Directives()),
        ([b"max-age=1.5"], Directives()),
        ([b"max-age=\xb2"], Directives()),
        ([b"x-no-store"], Directives()),
        ([b",,=,;"], Directives()),
    ],
)
def test_cache_control(lines: list[bytes], expected: Directives) -> None:
    headers = [(b"cache-control", line) for line in lines]

    assert read_directives(make_request(headers=headers)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"on", "on"), (b"off", "off"), (b" ON ", "on"), (b"Off", "off")],
)
def test_the_switch(value: bytes, expected: str) -> None:
    request = make_request(headers=[(b"x-fairlead-cache", value)])

    assert read_directives(request).switch == expected


@pytest.mark.parametrize("value", [b"", b"yes", b"1", b"on, off", b"\xff"])
def test_a_switch_that_is_neither_is_refused(value: bytes) -> None:
    request = make_request(headers=[(b"x-fairlead-cache", value)])

    with pytest.raises(RequestError, match="'on' or 'off'") as caught:
        read_directives(request)
    assert (caught.value.status, caught.value.param) == (400, "x-fairlead-cache")


@given(st.lists(st.binary(max_size=40), max_size=3))
def test_no_cache_control_breaks_the_reader(lines: list[bytes]) -> None:
    headers: Headers = [(b"cache-control", line) for line in lines]
    age = read_directives(make_request(headers=headers)).max_age

    assert age is None or age >= 0


# ---- policies by model


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-x", "all"),
        ("claude-y", "off"),
        ("gpt-1", "deterministic"),
        ("Claude-x", "deterministic"),
        ("", "deterministic"),
    ],
)
def test_the_first_pattern_that_matches_decides(model: str, expected: Policy) -> None:
    overrides: dict[str, Policy] = {"claude-x": "all", "claude-*": "off", "claude-y": "all"}

    assert policy_for(model, "deterministic", overrides) == expected
