"""The principal: a value that cannot change under the cache that is scoped by it."""

from __future__ import annotations

import pytest

from fairlead.core.identity import LOCAL_PRINCIPAL, Principal


def test_a_principal_cannot_be_changed() -> None:
    principal = Principal("acme", "ada")

    with pytest.raises(AttributeError):
        principal.tenant = "other"  # type: ignore[misc]  # that it is refused is the point


def test_equal_principals_are_one_key() -> None:
    assert Principal("acme", "ada") == Principal("acme", "ada")
    assert len({Principal("acme", "ada"), Principal("acme", "ada"), Principal("acme", "bob")}) == 2


def test_nobody_is_verified_without_a_check() -> None:
    assert not Principal("acme", "ada").verified
    assert not LOCAL_PRINCIPAL.verified
