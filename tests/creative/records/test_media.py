from __future__ import annotations

import hashlib
import io
import os
import random
import struct
import tracemalloc
import zlib
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from adwright.core.errors import FileUnreadableError
from adwright.creative.records.media import (
    HEAD_BYTES,
    SIDE,
    SMALL,
    Clip,
    Frame,
    SeeingSettings,
    Thinned,
    bounded,
    is_animation,
    kind_of,
    opened_animation,
    opened_media,
    opened_video,
    picture,
)
from tests.support.creative.drawn_ads import RATE, Shot, drawn, film, saved

RED, BLUE = (Image.new("RGB", (40, 30), colour) for colour in ("red", "blue"))


def animated(kind: str, milliseconds: list[int]) -> bytes:
    frames = [(RED, BLUE)[at % 2] for at in range(len(milliseconds))]
    rest = {"append_images": frames[1:], "duration": milliseconds, "loop": 0}
    return saved(frames[0], kind, save_all=True, **rest)


def frames_of(data: bytes, most_seconds: float = 600) -> tuple[list[Frame], Clip]:
    settings = SeeingSettings(most_seconds=most_seconds)
    with opened_media(data, name="banner") as media, opened_animation(media, settings) as clip:
        return list(clip.frames()), clip


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_frames_have_their_times(kind: str) -> None:
    frames, clip = frames_of(animated(kind, [500, 1500, 1000]))
    assert [one.at for one in frames] == pytest.approx([0.0, 0.5, 2.0], abs=0.02)
    assert clip.seconds == pytest.approx(3.0, abs=0.02)
    assert (clip.width, clip.height) == (40, 30)
    assert [one.small[5, 5].argmax() for one in frames] == [0, 2, 0]
    assert frames[1].picture().getpixel((5, 5))[2] > 200


def test_transparent_parts_lie_on_white() -> None:
    clear = [Image.new("RGBA", (8, 8), (255, 0, 0, 0)), Image.new("RGBA", (8, 8), (0, 0, 255, 255))]
    data = saved(clear[0], "WEBP", save_all=True, append_images=clear[1:], lossless=True)
    assert (frames_of(data)[0][0].small == 255).all()


def test_frames_without_a_time_take_a_tenth_of_a_second() -> None:
    frames, clip = frames_of(animated("GIF", [0, 0, 0, 0]))
    assert np.diff([one.at for one in frames]) == pytest.approx(0.1)
    assert clip.seconds == pytest.approx(0.4)


def test_long_animations_are_cut_off_and_damaged_ones_kept_as_far_as_they_go() -> None:
    frames, clip = frames_of(animated("GIF", [1000] * 8), most_seconds=3)
    assert len(frames) == 4
    assert clip.notes == ["only the first 4 s were watched"]
    noise = [Image.effect_noise((60, 60), 50 + at).convert("RGB") for at in range(6)]
    data = saved(noise[0], "GIF", save_all=True, append_images=noise[1:], duration=200)
    frames, clip = frames_of(data[: len(data) // 2])
    assert 1 <= len(frames) < 6
    assert clip.notes


def test_what_is_none_is_refused_by_name() -> None:
    with pytest.raises(FileUnreadableError, match="cannot be looked at") as caught:
        frames_of(b"GIF89a" + b"\xff" * 100)
    assert caught.value.file == "banner"


@given(st.lists(st.floats(0, 5), max_size=200))
def test_at_most_thirty_frames_of_a_second_are_taken_and_none_goes_back(times: list[float]) -> None:
    thinned = Thinned()
    taken = [at for at in times if thinned.takes(at)]
    assert taken == sorted(taken)
    assert all(after - at >= 0.9 / 30 for at, after in pairwise(taken))


@pytest.mark.parametrize(("rate", "kept"), [(25, 25), (30, 30), (60, 30)])
def test_usual_rates_are_kept_or_halved(rate: int, kept: int) -> None:
    thinned = Thinned()
    assert sum(thinned.takes(at / rate) for at in range(rate)) == kept


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
    "an SVG bomb": (SVG_BOMB, "SVG"),
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


SHOTS = [Shot("red", frames=20), Shot("blue", frames=20)]
FILM = film(SHOTS)
DEFAULT = SeeingSettings()


def frames_of_video(data: bytes, settings: SeeingSettings = DEFAULT) -> tuple[list[Frame], Clip]:
    with opened_media(data, name="film") as media, opened_video(media, settings) as clip:
        return list(clip.frames()), clip


def sound(container: str = "mp4", codec: str = "aac") -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format=container) as opened:
        stream = opened.add_stream(codec, rate=44100)
        for at in range(20):
            silence = np.zeros((1, 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, at * 1024
            opened.mux(stream.encode(frame))
        opened.mux(stream.encode(None))
    return out.getvalue()


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("mp4", "mpeg4"),
        ("matroska", "mpeg4"),
        ("avi", "mpeg4"),
        ("mpegts", "mpeg2video"),
        ("flv", "flv"),
        ("asf", "wmv2"),
        ("ogg", "libvpx"),
        ("webm", "libvpx-vp9"),
    ],
)
def test_each_container_gives_all_frames(container: str, codec: str) -> None:
    shots = [Shot("red", frames=10), Shot("blue", frames=10)]
    data = film(shots, (64, 48), container=container, codec=codec)
    frames, clip = frames_of_video(data)
    assert len(frames) == 20
    assert np.diff([one.at for one in frames]) == pytest.approx(1 / RATE, abs=0.002)
    assert clip.seconds == pytest.approx(1.0, abs=0.06)
    assert frames[3].small.mean(axis=(0, 1)) == pytest.approx([254, 0, 0], abs=8)
    assert frames[15].small.mean(axis=(0, 1)) == pytest.approx([0, 0, 254], abs=8)


def test_frames_are_bounded_and_small_ones_stay() -> None:
    frames, clip = frames_of_video(film([Shot(frames=3)], (1600, 400)))
    assert frames[0].small.shape == (SMALL // 4, SMALL, 3)
    assert frames[0].picture().size == (SIDE, SIDE // 4)
    assert (clip.width, clip.height) == (1600, 400)
    assert frames_of_video(film([Shot(frames=3)], (64, 48)))[0][0].picture().size == (64, 48)


def test_turned_films_and_oblong_pixels_are_seen_as_meant() -> None:
    upright = film([Shot("red", "blue", frames=5, moves=20)])
    data = bytearray(upright)
    # The matrix of the track's header: a quarter turn.
    at = data.index(b"tkhd") + 4 + 40
    one, quarter = (1 << 16).to_bytes(4, "big"), (2**32 - (1 << 16)).to_bytes(4, "big")
    none, last = bytes(4), (1 << 30).to_bytes(4, "big")
    data[at : at + 36] = b"".join([none, one, none, quarter, none, none, none, none, last])
    frames, clip = frames_of_video(bytes(data))
    assert (clip.width, clip.height) == (240, 320)
    assert frames[4].picture().size == (240, 320)
    # A phone that was held upright: its right is below.
    wanted = np.rot90(frames_of_video(upright)[0][4].small.astype(int), -1)
    assert np.abs(wanted - frames[4].small).mean() < 3
    out = io.BytesIO()
    with av.open(out, "w", format="matroska") as opened:
        stream = opened.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2)
        blank = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        opened.mux(stream.encode(blank))
        opened.mux(stream.encode(None))
    assert frames_of_video(out.getvalue())[0][0].picture().size == (128, 64)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (sound(), "sound only"),
        (sound("matroska"), "sound only"),
        (FILM[:200], "no MP4 that can be read"),
        (b"\x00\x00\x00\x18ftypisom" + bytes(200), "MP4"),
        (b"\x1a\x45\xdf\xa3" + b"\x93" * 300, "WebM"),
        (b"FLV\x01" + bytes(400), "cannot be looked at"),
        (b"G" + bytes(187) + b"G" + bytes(187) + b"G" + bytes(187), "cannot be looked at"),
        (FILM[: FILM.index(b"mdat") + 4] + bytes(len(FILM)), "cannot be looked at"),
    ],
    ids=["m4a", "mka", "cut", "head", "webm", "flv", "ts", "zeros"],
)
def test_what_does_not_play_is_refused_by_name(data: bytes, said: str) -> None:
    with pytest.raises(FileUnreadableError, match=said) as caught:
        frames_of_video(data)
    assert caught.value.file == "film"


def test_a_damaged_middle_is_passed_over_and_said() -> None:
    data = bytearray(film([Shot("red", "gold", frames=60, moves=2)], container="matroska"))
    start = len(data) // 2
    data[start : start + 400] = b"\xff" * 400
    frames, clip = frames_of_video(bytes(data))
    assert 20 <= len(frames) < 60
    assert "damaged" in " ".join(clip.notes) or "ends after" in " ".join(clip.notes)


def test_a_film_that_ends_too_early_is_kept_and_said() -> None:
    data = film([Shot("red", "gold", frames=100, moves=2)], container="matroska")
    frames, clip = frames_of_video(data[: len(data) // 2])
    assert 20 <= len(frames) < 90
    assert clip.seconds is not None
    assert clip.seconds == pytest.approx(len(frames) / RATE, abs=0.1)
    assert any("ends after" in note for note in clip.notes)


def test_a_long_film_is_sampled_and_not_watched() -> None:
    shots = [Shot("red", frames=60), Shot("blue", frames=60)]
    settings = SeeingSettings(most_seconds=3, samples=6)
    frames, clip = frames_of_video(film(shots, (64, 48)), settings)
    assert not clip.watched
    assert clip.seconds == pytest.approx(6.0, abs=0.1)
    assert 4 <= len(frames) <= 6
    assert frames[0].small.mean(axis=(0, 1))[0] > 200
    assert frames[-1].small.mean(axis=(0, 1))[2] > 200


def test_a_length_that_is_not_said_is_bounded() -> None:
    data = film([Shot("red", frames=100)], (64, 48), container="mpegts", codec="mpeg2video")
    settings = SeeingSettings(most_seconds=2)
    with opened_media(data) as media, opened_video(media, settings) as clip:
        clip.watched, clip.seconds = True, None
        frames = list(clip.frames())
    assert frames[-1].at <= 2.0
    assert clip.notes == ["only the first 2 s were watched"]


@pytest.mark.parametrize("container", ["mp4", "matroska", "avi", "mpegts"])
def test_bytes_that_change_by_chance_raise_nothing_else_video(
    container: str, capfd: pytest.CaptureFixture[str]
) -> None:
    codec = "mpeg2video" if container == "mpegts" else "mpeg4"
    shots = [Shot("red", "gold", frames=8, moves=2)]
    whole = film(shots, (64, 48), container=container, codec=codec)
    rng = random.Random(5)
    for _ in range(25):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 6, 60))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with suppress(FileUnreadableError):
            frames, clip = frames_of_video(bytes(data))
            assert frames
            assert clip.seconds is not None
    assert capfd.readouterr() == ("", "")


def test_memory_does_not_grow_with_the_length() -> None:
    def peak(frames: int) -> int:
        data = film([Shot("red", frames=frames)], (128, 96))
        tracemalloc.start()
        with opened_media(data) as media, opened_video(media, DEFAULT) as clip:
            count = sum(1 for _ in clip.frames())
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == frames
        return top

    assert peak(100) < 1.5 * peak(20) + 500_000
