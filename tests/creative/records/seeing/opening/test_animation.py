from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from adwright.core.errors import FileUnreadableError
from adwright.creative.records.seeing.opening.animation import opened_animation
from adwright.creative.records.seeing.opening.frames import Clip, Frame
from adwright.creative.records.seeing.opening.media import opened_media
from adwright.creative.records.seeing.settings import SeeingSettings
from tests.support.creative.drawn_ads import saved

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
