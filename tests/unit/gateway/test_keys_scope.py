"""What else makes two requests the same: API, headers, and who asks."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fairlead.core.identity import Principal
from fairlead.gateway.base import ModelRequest
from fairlead.gateway.keys import (
    KEY_HEADERS,
    BodyDigests,
    Scope,
    make_key,
    scope_tag,
)
from fairlead.gateway.legs.base import Headers
from fairlead.gateway.shapes import shape_of
from support.bodies import (
    CHARACTERS,
)
from support.gateway import make_request

NAMES = st.text(CHARACTERS, max_size=8)


def key_of(request: ModelRequest, scope: Scope = "team", credential: bytes | None = None) -> bytes:
    digest = BodyDigests().digest(request.body)
    assert digest is not None
    tag = scope_tag(request.principal, scope, credential)
    return make_key(request, shape_of(request.path, request.headers).name, "m", tag, digest).digest


# ---- the key

BODY = b'{"model":"m","temperature":0}'


def test_equal_requests_have_one_key_whoever_sends_them() -> None:
    one = make_request(BODY, headers=[(b"user-agent", b"a"), (b"authorization", b"Bearer 1")])
    two = make_request(
        b'{ "temperature": 0, "model": "m", "user": "x" }', headers=[(b"x-session-id", b"9")]
    )

    assert key_of(one) == key_of(two)


def test_apis_paths_queries_and_methods_do_not_collide() -> None:
    paths = [
        b"/v1/chat/completions",
        b"/v1/responses",
        b"/v1/messages",
        b"/v1/messages/count_tokens",
        b"/v1/embeddings",
        b"/v1/models",
    ]
    queries = [b"", b"beta=true", b"beta=false", b"beta=true&beta=true"]
    keys = [
        key_of(make_request(BODY, path=path, query=query, method=method))
        for path in paths
        for query in queries
        for method in (b"GET", b"POST")
    ]

    assert len(set(keys)) == len(keys)


def test_one_path_in_two_shapes_does_not_collide() -> None:
    version = [(b"anthropic-version", b"")]
    one = make_request(path=b"/v1/models", method=b"GET")
    two = make_request(path=b"/v1/models", method=b"GET", headers=version)

    assert key_of(one) != key_of(two)


@pytest.mark.parametrize("name", KEY_HEADERS)
def test_headers_that_select_behaviour_matter(name: bytes) -> None:
    variants: list[Headers] = [
        [],
        [(name, b"a")],
        [(name, b"b")],
        [(name, b"a"), (name, b"b")],
        [(name, b"ab")],
    ]
    keys = {
        key_of(make_request(BODY, path=b"/v1/messages", headers=headers)) for headers in variants
    }

    assert len(keys) == len(variants)


def test_the_same_value_in_two_headers_does_not_collide() -> None:
    keys = [key_of(make_request(BODY, headers=[(name, b"x")])) for name in KEY_HEADERS]

    assert len(set(keys)) == len(KEY_HEADERS)
    assert set(KEY_HEADERS) >= {b"anthropic-version", b"anthropic-beta", b"openai-beta"}


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ([b"gzip, br"], [b"br,gzip"]),
        ([b"gzip;q=1.0, br;q=0"], [b"GZIP"]),
        ([b"gzip, zstd"], [b"zstd;q=0.5, gzip"]),
    ],
)
def test_codings_that_a_client_takes_equally_share(one: list[bytes], two: list[bytes]) -> None:
    assert key_of(_accepting(one)) == key_of(_accepting(two))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ([], [b"gzip"]),
        ([b"gzip"], [b"gzip, br"]),
        ([b"gzip;q=0"], [b"gzip"]),
        # Field lines of one name are one list (RFC 9110 section 5.2).
        ([b"gzip", b"identity"], [b"identity"]),
    ],
)
def test_a_client_never_gets_a_coding_it_does_not_take(one: list[bytes], two: list[bytes]) -> None:
    assert key_of(_accepting(one)) != key_of(_accepting(two))


def _accepting(lines: list[bytes]) -> ModelRequest:
    return make_request(BODY, headers=[(b"accept-encoding", line) for line in lines])


# ---- scopes

PRINCIPALS = st.builds(
    Principal, tenant=NAMES, user=NAMES, team=st.none() | NAMES, verified=st.booleans()
)


@given(PRINCIPALS, PRINCIPALS)
@example(Principal("ab", "c"), Principal("a", "bc"))
@example(Principal("a", "b"), Principal("b", "a"))
def test_two_users_share_only_what_the_scope_lets_them(one: Principal, two: Principal) -> None:
    shared = {
        scope: scope_tag(one, scope, None) == scope_tag(two, scope, None)
        for scope in ("user", "team", "global")
    }

    assert shared["global"]
    assert shared["team"] == (one.tenant == two.tenant)
    assert shared["user"] == ((one.tenant, one.user) == (two.tenant, two.user))


@given(PRINCIPALS, PRINCIPALS)
def test_scopes_never_share_with_each_other(one: Principal, two: Principal) -> None:
    tags = [scope_tag(one, "user", None), scope_tag(two, "team", None)]
    tags.append(scope_tag(one, "global", None))

    assert len(set(tags)) == 3


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_callers_who_were_not_verified_share_by_their_credential(one: bytes, two: bytes) -> None:
    anyone = Principal("local", "local")
    tags = [scope_tag(anyone, "global", credential) for credential in (one, two)]

    assert (tags[0] == tags[1]) == (one == two)
    assert scope_tag(anyone, "global", None) not in tags


def test_a_verified_caller_shares_within_the_scope_whatever_the_credential() -> None:
    ada = Principal("acme", "ada", verified=True)

    assert scope_tag(ada, "team", b"one") == scope_tag(ada, "team", b"two")


def test_no_credential_can_be_read_from_a_scope() -> None:
    assert b"sk-secret" not in scope_tag(Principal("t", "u"), "user", b"sk-secret")


def test_every_difference_of_principals_reaches_the_key() -> None:
    people = [Principal("t1", "u1"), Principal("t1", "u2"), Principal("t2", "u1")]
    keys = [key_of(make_request(BODY, principal=who), "user") for who in people]
    by_team = [key_of(make_request(BODY, principal=who), "team") for who in people]

    assert len(set(keys)) == 3
    assert by_team[0] == by_team[1] != by_team[2]
    assert all(one != two for one, two in pairwise(sorted(keys + list(set(by_team)))))
