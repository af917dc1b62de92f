from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from adwright.core.errors import DataError
from adwright.creative.records.encoders.images import ImageEncoder, opened_image


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def drawn(draw: Callable[[ImageDraw.ImageDraw], None], mode: str = "RGB") -> Image.Image:
    image = Image.new(mode, (320, 240), "white")
    draw(ImageDraw.Draw(image))
    return image


BALL = drawn(lambda pen: pen.ellipse((80, 40, 240, 200), fill="orange", outline="black", width=5))
NEAR = drawn(lambda pen: pen.ellipse((84, 42, 244, 202), fill="orange", outline="black", width=5))
STRIPES = drawn(lambda pen: [pen.line((x, 0, x, 240), "navy", 6) for x in range(0, 320, 20)])  # type: ignore[func-returns-value]


def test_like_images_are_near_and_files_alike() -> None:
    files = [saved(BALL), saved(NEAR), saved(STRIPES), saved(BALL, "WEBP", lossless=True)]
    vectors = ImageEncoder().encode(files)
    assert vectors.shape == (4, 1280)
    assert np.isfinite(vectors).all()
    assert np.allclose(vectors[0], vectors[3], atol=1e-4)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > unit[0] @ unit[2] + 0.1


def test_transparency_lies_on_white_and_rotation_is_undone() -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert opened_image(saved(clear)).getpixel((0, 0)) == (255, 255, 255)
    exif = Image.Exif()
    exif[0x0112] = 6
    assert opened_image(saved(Image.new("RGB", (6, 4)), "JPEG", exif=exif)).size == (4, 6)


def test_grey_of_16_bits_keeps_its_shades() -> None:
    deep = Image.fromarray(np.linspace(0, 65535, 256).reshape(16, 16).astype(np.uint16))
    shown = np.asarray(opened_image(saved(deep)))
    assert (shown[..., 0].ravel() == np.arange(256)).all()


def test_pictures_that_are_open_have_the_vectors_of_their_files() -> None:
    encoder = ImageEncoder()
    pictures = [BALL, STRIPES] * 9
    files = encoder.encode([saved(one) for one in pictures])
    assert np.allclose(encoder.encode_pictures(iter(pictures), 18), files, atol=1e-4)


def test_the_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert opened_image(data).getpixel((3, 3)) == (255, 0, 0)


@pytest.mark.parametrize(
    "data", [b"", b"no image", saved(BALL)[:200], b"<svg xmlns='http://www.w3.org/2000/svg'/>"]
)
def test_what_is_no_image_is_named(data: bytes) -> None:
    with pytest.raises(DataError, match="cannot be read") as caught:
        opened_image(data, "ad 17")
    assert "ad 17" in str(caught.value)


def test_too_many_pixels_are_refused() -> None:
    data = saved(Image.new("1", (9000, 9000)))
    with pytest.raises(DataError, match="9,000 x 9,000"):
        opened_image(data)


def test_the_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    ImageEncoder().encode([saved(BALL)])
    assert torch.equal(torch.random.get_rng_state(), before)
