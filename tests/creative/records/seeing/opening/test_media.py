from __future__ import annotations

import hashlib
import os
import random
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adwright.core.errors import FileUnreadableError
from adwright.creative.records.seeing.opening.media import (
    SIDE,
    bounded,
    is_animation,
    opened_media,
    picture,
)
from tests.support.creative.drawn_ads import Shot, drawn, saved

BALL = drawn(Shot("navy", "orange"))
NOISE = Image.effect_noise((64, 64), 60).convert("RGB")


def of(source: bytes | str | Path) -> Image.Image:
    with opened_media(source) as media:
        return picture(media)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, pixels: bytes) -> bytes:
    """A PNG of one bit a pixel, whose size is only said."""
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


SVG_BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 9))
    + b"]><svg>&a8;</svg>"
)
REFUSED = {
    "nothing": (b"", "empty"),
    "text named as a picture": (b"Fresh bread daily", "it is text"),
    "a web page": (b"<!doctype html><p>sold out</p>", "a web page"),
    "a PDF": (b"%PDF-1.7 ...", "a PDF"),
    "a drawing in SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    "an SVG bomb": (SVG_BOMB, "SVG"),
    "a playlist that names a file": (b"#EXTM3U\n/etc/passwd\n", "it is text"),
    "a cut PNG": (saved(NOISE)[:-900], "cannot be read"),
    "a cut JPEG": (saved(NOISE, "JPEG")[:-400], "cannot be read"),
    "a PNG of eight bytes": (b"\x89PNG\r\n\x1a\n", "cannot be read"),
    "a JPEG of three bytes": (b"\xff\xd8\xff", "cannot be read"),
    "a GIF without a frame": (b"GIF89a\x01\x00\x01\x00\x00\x00\x00;", "cannot be read"),
    "a damaged PNG": (saved(NOISE)[:60] + b"\xff" * 40 + saved(NOISE)[100:], "cannot be read"),
    "100 million pixels": (png(10_000, 10_000, b"\x00"), "10,000 x 10,000 pixels"),
    "more pixels than fit": (png(2**31 - 1, 2**31 - 1, b"\x00"), "cannot be read"),
    "a text of a gigabyte in a PNG": (
        png(1, 1, b"\0\0").replace(b"IEND", b"IEND")[:33]
        + chunk(b"zTXt", b"k\x00\x00" + zlib.compress(b"a" * 200_000_000))
        + png(1, 1, b"\0\0")[33:],
        "cannot be read",
    ),
    "a WebP of nothing": (b"RIFF\x04\x00\x00\x00WEBP", "cannot be read"),
    "a ZIP": (b"PK\x03\x04" + b"\x00" * 40, "a ZIP archive"),
    "a TIFF": (saved(BALL, "TIFF"), "a TIFF picture"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_picture_is_refused_by_name(case: str, tmp_path: Path) -> None:
    data, said = REFUSED[case]
    path = tmp_path / "ad.jpg"
    path.write_bytes(data)
    with pytest.raises(FileUnreadableError, match=said) as caught:
        of(path)
    assert caught.value.file == str(path)
    assert caught.value.hint


def test_what_cannot_be_opened_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(saved(BALL))
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    for name, said in (
        ("none", "no such file"),
        ("link", "no regular file"),
        ("pipe", "no regular file"),
        (".", "no regular file"),
        ("file/below", "cannot be opened"),
        ("a\0b", "cannot be opened"),
        ("n" * 300, "cannot be opened"),
    ):
        with pytest.raises(FileUnreadableError, match=said):
            of(tmp_path / name)


def test_the_content_counts_and_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "ad.mp4"
    path.write_bytes(saved(BALL))
    assert of(path).tobytes() == of(saved(BALL)).tobytes()
    with opened_media(path) as media:
        assert media.kind.name == "PNG"
        assert media.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert media.name == str(path)
    with opened_media(saved(BALL), name="spring.png") as media:
        assert media.name == "spring.png"


def test_large_pictures_are_shrunk_and_small_ones_stay() -> None:
    assert of(saved(Image.new("RGB", (4000, 2000)))).size == (SIDE, SIDE // 2)
    assert of(saved(Image.new("RGB", (1, 1)), "GIF")).size == (1, 1)
    assert bounded(Image.new("RGB", (5000, 2)), 100).size == (100, 1)
    assert bounded(BALL, 5000) is BALL


def test_odd_modes_look_as_they_are_meant() -> None:
    palette = Image.new("P", (8, 8))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    assert of(saved(palette, transparency=0)).getpixel((0, 0)) == (255, 255, 255)
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    red = np.array(of(saved(ink, "JPEG")).getpixel((8, 8)))
    assert np.abs(red - [255, 0, 0]).max() < 12
    deep = Image.fromarray(np.full((8, 8), 128 << 8, np.uint16))
    assert of(saved(deep)).getpixel((0, 0)) == (128, 128, 128)
    exif = Image.Exif()
    exif[0x0112] = 6
    assert of(saved(Image.new("RGB", (60, 40)), "JPEG", exif=exif)).size == (40, 60)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations_are_told_from_pictures(kind: str) -> None:
    frames = [BALL, NOISE.resize(BALL.size)]
    with opened_media(saved(frames[0], kind, save_all=True, append_images=frames[1:])) as media:
        assert is_animation(media)
    with opened_media(saved(BALL, kind)) as media:
        assert not is_animation(media)
        assert picture(media).size == BALL.size
    with opened_media(b"GIF89a" + b"\xff" * 50) as media:
        assert not is_animation(media)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_bytes_that_change_by_chance_raise_nothing_else(kind: str) -> None:
    whole = saved(NOISE, kind)
    rng = random.Random(5)
    read = 0
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 4, 40))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with suppress(FileUnreadableError), opened_media(bytes(data)) as media:
            is_animation(media)
            read += picture(media).width > 0
    assert read < 60 or kind == "BMP"
