from __future__ import annotations

import codecs
import gzip
from pathlib import Path

import pytest

from adwright.authoring.writer.feeds import read_feed, xml_in_utf8
from adwright.core.errors import FileUnreadableError

GOOGLE = "http://base.google.com/ns/1.0"


def feed(encoding: str = "", title: str = "Grüner Tee") -> str:
    told = f' encoding="{encoding}"' if encoding else ""
    return (
        f'<?xml version="1.0"{told}?><rss xmlns:g="{GOOGLE}"><item><g:id>1</g:id>'
        f"<g:title>{title}</g:title></item></rss>"
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (feed().encode(), ""),
        (codecs.BOM_UTF8 + feed("UTF-8").encode(), ""),
        (feed("ISO-8859-1").encode("latin-1"), "iso-8859-1"),
        (feed("Windows-1252").encode("cp1252"), "windows-1252"),
        (feed("UTF-16").encode("utf-16"), "utf-16"),
        (feed("UTF-16").encode("utf-16-le"), "utf-16-le"),
        (feed("UTF-16").encode("utf-16-be"), "utf-16-be"),
        (gzip.compress(feed("windows-1252").encode("cp1252")), "windows-1252"),
    ],
)
def test_encodings(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "feed.xml"
    path.write_bytes(data)
    found = read_feed(path)
    assert found.frame["title"].to_list() == ["Grüner Tee"]
    assert found.said == ((f"the file was read as {said}",) if said else ())


def test_japanese(tmp_path: Path) -> None:
    path = tmp_path / "feed.xml"
    path.write_bytes(feed("Shift_JIS", "緑茶").encode("shift-jis"))
    assert read_feed(path).frame["title"].to_list() == ["緑茶"]


def test_bytes_that_are_no_utf8_harm_their_own_item(tmp_path: Path) -> None:
    path = tmp_path / "feed.xml"
    good = "<item><g:id>2</g:id><g:title>Tea</g:title></item></rss>"
    path.write_bytes(feed().encode("cp1252").replace(b"</rss>", good.encode()))
    found = read_feed(path)
    assert found.frame["id"].to_list() == ["2"]
    assert found.broken[0].place == 0


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (feed("x-mine").encode(), "encoding x-mine is not known"),
        (feed("unicode_escape").encode(), "not known"),
        (feed("rot13").encode(), "not known"),
        (feed("us-ascii").encode(), "not us-ascii, as it says"),
        (codecs.BOM_UTF16_LE + b"<\x00r", "not utf-16"),
        (gzip.compress(feed().encode())[:-9], "damaged or cut off"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "feed.xml"
    path.write_bytes(data)
    with pytest.raises(FileUnreadableError, match=why):
        xml_in_utf8(path)


def test_the_size_is_bounded_packed_or_not(tmp_path: Path) -> None:
    path = tmp_path / "feed.xml"
    for data in (b"<rss/>" * 100, gzip.compress(b"<rss/>" * 100)):
        path.write_bytes(data)
        assert len(xml_in_utf8(path, most=600)[0]) == 600
        with pytest.raises(FileUnreadableError, match="more than 599 bytes"):
            xml_in_utf8(path, most=599)
    with pytest.raises(FileUnreadableError, match="cannot be read"):
        xml_in_utf8(tmp_path / "none.xml")
