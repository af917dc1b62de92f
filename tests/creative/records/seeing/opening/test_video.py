from __future__ import annotations

import io
import random
import tracemalloc
from contextlib import suppress
from fractions import Fraction

import av
import numpy as np
import pytest

from adwright.core.errors import FileUnreadableError
from adwright.creative.records.seeing.opening.frames import SMALL, Clip, Frame
from adwright.creative.records.seeing.opening.media import SIDE, opened_media
from adwright.creative.records.seeing.opening.video import opened_video
from adwright.creative.records.seeing.settings import SeeingSettings
from tests.support.creative.drawn_ads import RATE, Shot, film

SHOTS = [Shot("red", frames=20), Shot("blue", frames=20)]
FILM = film(SHOTS)
DEFAULT = SeeingSettings()


def frames_of(data: bytes, settings: SeeingSettings = DEFAULT) -> tuple[list[Frame], Clip]:
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
    frames, clip = frames_of(data)
    assert len(frames) == 20
    assert np.diff([one.at for one in frames]) == pytest.approx(1 / RATE, abs=0.002)
    assert clip.seconds == pytest.approx(1.0, abs=0.06)
    assert frames[3].small.mean(axis=(0, 1)) == pytest.approx([254, 0, 0], abs=8)
    assert frames[15].small.mean(axis=(0, 1)) == pytest.approx([0, 0, 254], abs=8)


def test_frames_are_bounded_and_small_ones_stay() -> None:
    frames, clip = frames_of(film([Shot(frames=3)], (1600, 400)))
    assert frames[0].small.shape == (SMALL // 4, SMALL, 3)
    assert frames[0].picture().size == (SIDE, SIDE // 4)
    assert (clip.width, clip.height) == (1600, 400)
    assert frames_of(film([Shot(frames=3)], (64, 48)))[0][0].picture().size == (64, 48)


def test_uneven_times_are_kept() -> None:
    times = [0, 100, 150, 900, 2000]
    frames, clip = frames_of(film([Shot(frames=5)], (64, 48), container="matroska", times=times))
    assert [round(one.at * 1000) for one in frames] == times
    assert clip.seconds is not None
    assert clip.seconds >= 2.0


def test_turned_films_and_oblong_pixels_are_seen_as_meant() -> None:
    upright = film([Shot("red", "blue", frames=5, moves=20)])
    data = bytearray(upright)
    # The matrix of the track's header: a quarter turn.
    at = data.index(b"tkhd") + 4 + 40
    one, quarter = (1 << 16).to_bytes(4, "big"), (2**32 - (1 << 16)).to_bytes(4, "big")
    none, last = bytes(4), (1 << 30).to_bytes(4, "big")
    data[at : at + 36] = b"".join([none, one, none, quarter, none, none, none, none, last])
    frames, clip = frames_of(bytes(data))
    assert (clip.width, clip.height) == (240, 320)
    assert frames[4].picture().size == (240, 320)
    # A phone that was held upright: its right is below.
    wanted = np.rot90(frames_of(upright)[0][4].small.astype(int), -1)
    assert np.abs(wanted - frames[4].small).mean() < 3
    out = io.BytesIO()
    with av.open(out, "w", format="matroska") as opened:
        stream = opened.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2)
        blank = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        opened.mux(stream.encode(blank))
        opened.mux(stream.encode(None))
    assert frames_of(out.getvalue())[0][0].picture().size == (128, 64)


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
        frames_of(data)
    assert caught.value.file == "film"


def test_a_damaged_middle_is_passed_over_and_said() -> None:
    data = bytearray(film([Shot("red", "gold", frames=60, moves=2)], container="matroska"))
    start = len(data) // 2
    data[start : start + 400] = b"\xff" * 400
    frames, clip = frames_of(bytes(data))
    assert 20 <= len(frames) < 60
    assert "damaged" in " ".join(clip.notes) or "ends after" in " ".join(clip.notes)


def test_a_film_that_ends_too_early_is_kept_and_said() -> None:
    data = film([Shot("red", "gold", frames=100, moves=2)], container="matroska")
    frames, clip = frames_of(data[: len(data) // 2])
    assert 20 <= len(frames) < 90
    assert clip.seconds is not None
    assert clip.seconds == pytest.approx(len(frames) / RATE, abs=0.1)
    assert any("ends after" in note for note in clip.notes)


def test_a_long_film_is_sampled_and_not_watched() -> None:
    shots = [Shot("red", frames=60), Shot("blue", frames=60)]
    settings = SeeingSettings(most_seconds=3, samples=6)
    frames, clip = frames_of(film(shots, (64, 48)), settings)
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
def test_bytes_that_change_by_chance_raise_nothing_else(
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
            frames, clip = frames_of(bytes(data))
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
