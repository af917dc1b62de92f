"""Pictures and videos that are drawn where they are needed, and real photographs, for what looks at
ads: what is in them is known."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
from PIL import Image, ImageDraw, ImageFont

RATE = 20


@dataclass(frozen=True)
class Shot:
    """A scene of a film: a ground, a box in the middle, words at the top, a picture pasted in the
    middle. moves: pixels that the box goes to the right in a frame."""

    ground: str = "white"
    box: str = ""
    words: str = ""
    pasted: Image.Image | None = None
    frames: int = 20
    moves: float = 0.0


def drawn(shot: Shot, size: tuple[int, int] = (320, 240), at: int = 0) -> Image.Image:
    """Frame `at` of a shot."""
    width, height = size
    made = Image.new("RGB", size, shot.ground)
    pen = ImageDraw.Draw(made)
    if shot.box:
        left = 0.3 * width + at * shot.moves
        pen.rectangle((left, 0.35 * height, left + 0.4 * width, 0.75 * height), fill=shot.box)
    if shot.pasted is not None:
        made.paste(
            shot.pasted, ((width - shot.pasted.width) // 2, (height - shot.pasted.height) // 2)
        )
    for line, text in enumerate(shot.words.split("\n") if shot.words else ()):
        ink = "black" if sum(made.getpixel((2, 2))) > 380 else "white"  # type: ignore[arg-type]
        font = ImageFont.load_default(height // 9)
        pen.text((width // 20, height // 30 + line * height // 7), text, fill=ink, font=font)
    return made


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of its file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def film(
    shots: Sequence[Shot],
    size: tuple[int, int] = (320, 240),
    *,
    container: str = "mp4",
    codec: str = "mpeg4",
    times: Iterable[int] | None = None,
) -> bytes:
    """The bytes of a film of RATE frames a second. times: of each frame, in milliseconds, where
    they are uneven."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as opened:
        stream = opened.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.bit_rate = 2_000_000
        if times is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        clock = None if times is None else iter(times)
        for shot in shots:
            still = None if shot.moves else drawn(shot, size)
            for at in range(shot.frames):
                frame = av.VideoFrame.from_image(still or drawn(shot, size, at))
                if clock is not None:
                    frame.pts, frame.time_base = next(clock), Fraction(1, 1000)
                opened.mux(stream.encode(frame))
        opened.mux(stream.encode(None))
    return out.getvalue()


def photograph(name: str) -> Image.Image:
    """A photograph out of scikit-image's wheel, RGB: "coffee.png", "chelsea.png" (a cat), ..."""
    found = find_spec("skimage")
    assert found is not None
    assert found.origin is not None
    with Image.open(Path(found.origin).parent / "data" / name) as image:
        return image.convert("RGB")


def portrait(width: int = 100) -> Image.Image:
    """Eileen Collins, astronaut (NASA, public domain): her face, to the shoulders."""
    face = photograph("astronaut.png").crop((120, 0, 320, 220))
    return face.resize((width, round(1.1 * width)))
