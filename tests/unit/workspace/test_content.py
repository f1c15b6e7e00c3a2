"""Bytes to text: encodings found or refused, and lines as editors count them."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import RequestError
from fairlead.workspace.base import Stamp
from fairlead.workspace.content import MAX_GUESSED_BYTES, decode, is_binary, lines_of
from fairlead.workspace.reading import content_of

STAMP = Stamp(1, 2, 3, 4, 5)
FRENCH = "Les élèves français ont mangé des pâtes à la crème brûlée près de la forêt.\n"


def of(data: bytes) -> tuple[str, str]:
    return decode(content_of("some/file", data, STAMP))


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        (b"", "", "utf-8"),
        (b"plain", "plain", "utf-8"),
        ("naïve 日本".encode(), "naïve 日本", "utf-8"),
        (codecs.BOM_UTF8 + "é".encode(), "é", "utf-8"),
        ("é".encode("utf-16"), "é", "utf-16"),
        (codecs.BOM_UTF16_BE + "é".encode("utf-16-be"), "é", "utf-16"),
        ("é".encode("utf-32"), "é", "utf-32"),
        (codecs.BOM_UTF32_BE + "é".encode("utf-32-be"), "é", "utf-32"),
    ],
)
def test_unicode_is_read_by_its_mark_or_as_utf_8(data: bytes, text: str, encoding: str) -> None:
    assert of(data) == (text, encoding)


@pytest.mark.parametrize(
    ("line", "encoding"),
    [
        (FRENCH, "cp1252"),
        ("/* José Muñoz */ int main(void);\n", "cp1252"),
        ("# naïve café\n", "cp1252"),
        ("# Привет мир, это комментарий\n", "cp1251"),
        ("# Příliš žluťoučký kůň úpěl ďábelské ódy\n", "cp1250"),
        ("これは日本語の文章です\n", "cp932"),
    ],
)
def test_another_encoding_is_found(line: str, encoding: str) -> None:
    assert of((line * 20).encode(encoding)) == (line * 20, encoding)


def test_a_large_file_is_judged_by_its_beginning() -> None:
    # Two bytes a character, and a cut in the middle of one if lines were not regarded.
    text = "これは日本語の文章です。漢字とひらがなとカタカナが混ざっています。\n" * 2000
    data = b"x" + text.encode("euc_jp")

    assert len(data) > MAX_GUESSED_BYTES
    assert of(data)[0] == "x" + text


def test_a_known_encoding_is_not_looked_for_again() -> None:
    data = (FRENCH * 20).encode("cp1252")

    assert decode(content_of("f", data, STAMP), "cp1252") == (FRENCH * 20, "cp1252")


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"a\0b", "binary"),
        (b"\x7fELF\x02\x01\x01\0", "binary"),
        (codecs.BOM_UTF16_LE + b"a", "utf-16"),
        (codecs.BOM_UTF8 + b"\xff", "utf-8"),
    ],
)
def test_what_is_no_text_is_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint) as caught:
        of(data)

    assert (caught.value.status, caught.value.code) == (415, "encoding")
    assert "'some/file'" in str(caught.value)


@given(st.binary())
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    try:
        text, encoding = of(data)
    except RequestError:
        return
    assert isinstance(text, str)
    codecs.lookup(encoding)


def test_binary_is_what_has_nuls_and_is_not_wide() -> None:
    assert is_binary(b"a\0b")
    assert not is_binary(b"ab")
    assert not is_binary("ab".encode("utf-16"))
    assert not is_binary("ab".encode("utf-32"))


TEXT = "one\ntwo\r\nthree\x0c still three\nfour"


@pytest.mark.parametrize(
    ("first", "last", "text", "shown"),
    [
        (None, None, TEXT, (1, 4)),
        (1, 4, TEXT, (1, 4)),
        (1, 1, "one\n", (1, 1)),
        (2, 3, "two\r\nthree\x0c still three\n", (2, 3)),
        (2, None, "two\r\nthree\x0c still three\nfour", (2, 4)),
        (4, 4, "four", (4, 4)),
        (3, 99, "three\x0c still three\nfour", (3, 4)),
        (5, None, "", (5, 4)),
        (9, 12, "", (9, 8)),
    ],
)
def test_a_range_is_cut_out(
    first: int | None, last: int | None, text: str, shown: tuple[int, int]
) -> None:
    content = content_of("f", TEXT.encode(), STAMP)

    found = lines_of(content, first, last)

    assert found.text == text
    assert (found.first, found.last, found.lines) == (*shown, 4)
    assert (found.path, found.encoding, found.etag) == ("f", "utf-8", content.etag)


@pytest.mark.parametrize(("data", "lines"), [(b"", 0), (b"a", 1), (b"a\n", 1), (b"\n\n", 2)])
def test_lines_are_counted_as_editors_do(data: bytes, lines: int) -> None:
    found = lines_of(content_of("f", data, STAMP))

    assert (found.lines, found.last) == (lines, lines)


@pytest.mark.parametrize(("first", "last", "param"), [(0, None, "first"), (3, 2, "last")])
def test_a_range_that_is_none_is_refused(first: int, last: int | None, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        lines_of(content_of("f", b"a", STAMP), first, last)

    assert (caught.value.status, caught.value.param) == (422, param)


@given(st.lists(st.sampled_from(["a", "\n", "\r\n", "é"])).map("".join), st.data())
def test_ranges_put_together_are_the_text(text: str, data: st.DataObject) -> None:
    content = content_of("f", text.encode(), STAMP)
    lines = lines_of(content).lines
    cut = data.draw(st.integers(1, max(lines, 1)))

    assert lines_of(content, 1, cut).text + lines_of(content, cut + 1).text == text
