"""Heads of requests, origins, and where bodies end."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import ConfigurationError, RequestError
from fairlead.gateway.legs.base import Headers, LegOptions, LegRequest
from fairlead.gateway.legs.head import HeadWriter, ends_with_connection
from fairlead.gateway.legs.origin import make_tls_context, parse_origin


def options(base_url: str, ca_bundle: Path | None = None) -> LegOptions:
    return LegOptions(name="up", base_url=base_url, ca_bundle=ca_bundle)


@pytest.mark.parametrize(
    ("url", "authority", "host", "port"),
    [
        ("http://gpu-1:8000/v1", "gpu-1:8000", "gpu-1", 8000),
        ("http://gpu-1", "gpu-1", "gpu-1", 80),
        ("https://api.example.com:443/", "api.example.com", "api.example.com", 443),
        ("https://api.example.com:80", "api.example.com:80", "api.example.com", 80),
        ("http://[::1]:80", "[::1]", "::1", 80),
        ("https://[fe80::1]:8443", "[fe80::1]:8443", "fe80::1", 8443),
        ("https://bücher.example", "xn--bcher-kva.example", "xn--bcher-kva.example", 443),
        ("http://user:word@Host:1", "host:1", "host", 1),
    ],
)
def test_origins(url: str, authority: str, host: str, port: int) -> None:
    origin = parse_origin(options(url))
    assert (origin.authority, origin.host, origin.port) == (authority, host, port)
    assert origin.secure == url.startswith("https")


@pytest.mark.parametrize(
    "url",
    ["", "gpu-1:8000", "ftp://gpu-1", "http://", "http://a:b", "http://[::1", "http://a:99999"],
)
def test_a_base_url_without_an_origin_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"upstreams\.up\.base_url"):
        parse_origin(options(url))


def test_a_bundle_without_certificates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing\n")
    with pytest.raises(ConfigurationError, match=r"upstreams\.up\.ca_bundle"):
        make_tls_context(options("https://up", tmp_path / "empty.pem"))


def test_a_head_is_written_in_the_given_order() -> None:
    writer = HeadWriter(parse_origin(options("https://api.example.com/v1")))
    headers = [(b"b", b"1"), (b"a", b""), (b"b", b"2")]
    assert writer.write(LegRequest(b"POST", b"/v1/x?y=1", headers, b"abc")) == (
        b"POST /v1/x?y=1 HTTP/1.1\r\nhost: api.example.com\r\n"
        b"b: 1\r\na: \r\nb: 2\r\ncontent-length: 3\r\n\r\n"
    )


FIELD = st.tuples(st.binary(max_size=8), st.binary(max_size=8))


@given(headers=st.lists(FIELD, max_size=5), target=st.binary(max_size=20))
def test_what_is_written_has_exactly_the_lines_it_should(headers: Headers, target: bytes) -> None:
    writer = HeadWriter(parse_origin(options("http://up")))
    request = LegRequest(b"GET", b"/" + target, headers, b"")
    try:
        head = writer.write(request)
    except RequestError:
        return  # what is refused is not written; test_framing says what must be
    lines = head.split(b"\r\n")
    assert lines[0] == b"GET /" + target + b" HTTP/1.1"
    assert lines[0].count(b" ") == 2
    assert lines[2:-2] == [name + b": " + value for name, value in headers]
    assert lines[-2:] == [b"", b""]
    assert b"\n" not in head.replace(b"\r\n", b"")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], True),
        ([(b"content-length", b"0")], False),
        ([(b"transfer-encoding", b"Chunked")], False),
        ([(b"transfer-encoding", b"gzip, chunked")], False),
        ([(b"transfer-encoding", b"gzip"), (b"transfer-encoding", b"chunked")], False),
        ([(b"transfer-encoding", b"chunked, gzip")], True),
    ],
)
def test_which_bodies_end_with_the_connection(headers: Headers, expected: bool) -> None:
    assert ends_with_connection(headers) is expected
