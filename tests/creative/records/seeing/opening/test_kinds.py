from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from adwright.creative.records.seeing.opening.kinds import HEAD_BYTES, kind_of
from tests.support.creative.drawn_ads import Shot, film, saved


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_pictures_are_known_by_their_bytes(name: str) -> None:
    found = kind_of(saved(Image.new("RGB", (8, 8)), name)[:HEAD_BYTES])
    assert (found.what, found.name) == ("image", name)


@pytest.mark.parametrize(
    ("container", "reader"),
    [
        ("mp4", "mov"),
        ("mov", "mov"),
        ("matroska", "matroska"),
        ("avi", "avi"),
        ("mpegts", "mpegts"),
        ("asf", "asf"),
    ],
)
def test_videos_are_known_with_their_reader(container: str, reader: str) -> None:
    found = kind_of(film([Shot(frames=5)], (64, 48), container=container)[:HEAD_BYTES])
    assert (found.what, found.reader) == ("video", reader)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"%PDF-1.7\n", "PDF"),
        (b"PK\x03\x04", "ZIP"),
        (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\xef\xbb\xbf<!DOCTYPE html><html>", "web page"),
        (b"#EXTM3U\nfile:///etc/passwd\n", "text"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "text"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "sound"),
        (b"ID3\x03", "sound"),
        (b"\x00\x00\x00\x1cftypavif", "AVIF"),
        (b"\x00\x00\x00\x1cftypheic", "HEIC"),
        (b"II*\x00", "TIFF"),
        (b"xxxxxxxxAVI ", "text"),
        (b"\x00\x01\x02\x03\xff", "no kind that is known"),
        (b"G" * 188, "text"),
    ],
)
def test_the_rest_is_named(head: bytes, said: str) -> None:
    found = kind_of(head)
    assert found.what == "other"
    assert said in found.name


@given(st.binary(min_size=1, max_size=600))
def test_any_bytes_have_a_kind(head: bytes) -> None:
    found = kind_of(head)
    assert found.name
    assert (found.what == "video") == bool(found.reader)
