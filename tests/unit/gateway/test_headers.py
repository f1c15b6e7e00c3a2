"""Which header fields pass: open lists both ways, except for the hop's own and credentials."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.headers import (
    CREDENTIALS,
    HOP_BY_HOP,
    answered,
    caller_credential,
    forwarded,
)
from fairlead.gateway.legs.base import Headers
from support.gateway import ScriptedLeg, make_upstream

UPSTREAM = make_upstream(ScriptedLeg())
CALLERS = make_upstream(ScriptedLeg(), credentials="caller")
KEPT: Headers = [
    (b"anthropic-version", b"2023-06-01"),
    (b"anthropic-beta", b"one"),
    (b"x-unheard-of", b"1"),
    (b"anthropic-beta", b"two"),
    (b"x-unheard-of", b""),
    (b"user-agent", b"agent/1 \xe9"),
    (b"accept-encoding", b"gzip, br"),
    (b"content-type", b"application/json; charset=utf-8"),
    (b"content-encoding", b"zstd"),
    (b"openai-organization", b"org"),
    (b"x-request-id", b"abc"),
]


def test_unknown_fields_pass_with_their_order_and_duplicates() -> None:
    assert forwarded(KEPT, CALLERS, None) == KEPT
    assert forwarded(KEPT, UPSTREAM, None) == KEPT
    assert answered(KEPT) == KEPT


@pytest.mark.parametrize("name", [*HOP_BY_HOP, b"host", b"content-length", b"expect"])
def test_fields_of_the_hop_stay_here(name: bytes) -> None:
    assert forwarded([(name, b"x"), *KEPT], UPSTREAM, None) == KEPT
    assert forwarded([(name, b"x"), *KEPT], CALLERS, None) == KEPT


@pytest.mark.parametrize("name", [*HOP_BY_HOP])
def test_fields_of_the_upstreams_hop_stay_there(name: bytes) -> None:
    assert answered([(name, b"x"), *KEPT]) == KEPT


def test_the_lists_hold_what_the_standards_name() -> None:
    rfc_9110 = {b"connection", b"keep-alive", b"te", b"transfer-encoding", b"upgrade"}

    assert rfc_9110 | {b"proxy-authorization", b"proxy-authenticate"} <= HOP_BY_HOP
    assert {b"authorization", b"x-api-key", b"cookie"} <= CREDENTIALS


def test_fields_that_connection_names_stay_here() -> None:
    headers = [(b"connection", b"keep-alive, X-Private ,"), (b"x-private", b"1"), *KEPT]
    headers += [(b"connection", b"x-other"), (b"x-other", b"1")]

    assert forwarded(headers, UPSTREAM, None) == KEPT
    assert answered(headers) == KEPT


def test_what_is_meant_for_this_node_stays_here() -> None:
    ours = [(b"x-fairlead-cache", b"on"), (b"x-fairlead-future", b"1")]

    assert forwarded(ours + KEPT, UPSTREAM, None) == KEPT
    assert forwarded(ours + KEPT, CALLERS, None) == KEPT


def test_quota_and_retry_fields_pass_to_the_client() -> None:
    fields: Headers = [
        (b"retry-after", b"7"),
        (b"anthropic-ratelimit-tokens-remaining", b"1"),
        (b"x-ratelimit-limit-requests", b"2"),
        (b"request-id", b"req_1"),
        (b"x-request-id", b"req_2"),
        (b"content-length", b"5"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
    ]

    assert answered(fields) == fields


CALLER: Headers = [(name, b"secret of the caller") for name in sorted(CREDENTIALS)]


def test_the_callers_credentials_are_replaced() -> None:
    sent = forwarded(CALLER + KEPT, UPSTREAM, "sk-node")

    assert sent == [*KEPT, (b"authorization", b"Bearer sk-node")]


def test_without_a_key_of_ours_none_is_sent() -> None:
    assert forwarded(CALLER + KEPT, UPSTREAM, None) == KEPT


def test_the_callers_credentials_pass_where_that_is_configured() -> None:
    assert forwarded(CALLER + KEPT, CALLERS, "sk-node") == CALLER + KEPT


@pytest.mark.parametrize(
    ("shape", "key", "field"),
    [
        ("openai", "sk-1", (b"authorization", b"Bearer sk-1")),
        ("simulated", "sk-1", (b"authorization", b"Bearer sk-1")),
        ("anthropic", "sk-ant-api03-1", (b"x-api-key", b"sk-ant-api03-1")),
        ("anthropic", "sk-ant-oat01-1", (b"authorization", b"Bearer sk-ant-oat01-1")),
    ],
)
def test_each_api_takes_its_key_in_its_own_field(
    shape: str, key: str, field: tuple[bytes, bytes]
) -> None:
    assert forwarded([], make_upstream(ScriptedLeg(), shape=shape), key) == [field]


NAMES = st.sampled_from(
    [b"authorization", b"x-api-key", b"connection", b"host", b"x-a", b"x-b", b"te", b"cookie"]
)


@given(st.lists(st.tuples(NAMES, st.sampled_from([b"x-a", b"close", b"secret", b"x-b, te"]))))
def test_no_credential_of_the_caller_ever_leaves(headers: Headers) -> None:
    sent = forwarded(headers, UPSTREAM, "sk-node")

    assert [field for field in sent if field[0] in CREDENTIALS] == [
        (b"authorization", b"Bearer sk-node")
    ]
    assert all(field in headers for field in sent[:-1])


def test_a_credential_partitions_by_field_and_value() -> None:
    plain = [field for field in KEPT if not field[0].startswith(b"openai-")]
    assert caller_credential(plain) == b""
    assert caller_credential([(b"authorization", b"a"), *plain]) == b"a"
    # One credential may act for several accounts.
    assert caller_credential([(b"openai-organization", b"o"), *plain]) == b"o"
    one = caller_credential([(b"authorization", b"a"), (b"x-api-key", b"b")])
    two = caller_credential([(b"authorization", b"a")])
    assert one != two
