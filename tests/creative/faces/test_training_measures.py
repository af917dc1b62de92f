from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from adwright.core.errors import ConfigError, DataError
from adwright.creative.faces.directions import Directions
from adwright.creative.faces.e4e_file import Named
from benchmarks.creative._face_layouts import nvidia_latents, nvidia_pictures, random_nvidia
from benchmarks.creative.faces_training import portraits
from benchmarks.creative.faces_training.measures import (
    PictureFeatures,
    as_pixels,
    fit_reader,
    kernel_distance,
    moved_attributes,
    save_sheet,
)
from benchmarks.creative.faces_training.nvidia import NVIDIA_MARKER, nvidia_generator
from benchmarks.creative.faces_training.portraits import LABELS, draw_portraits, redrawn

pytest.importorskip("dicebear", reason="the extra creative is not installed")
pytest.importorskip("resvg_py", reason="the extra creative is not installed")


@pytest.fixture(scope="module")
def drawn() -> portraits.DrawnPortraits:
    return draw_portraits(60, seed=0)


def picture(options: dict[str, object]) -> np.ndarray:
    return portraits.draw_one(options, 32)


def test_the_same_seed_draws_the_same(drawn: portraits.DrawnPortraits) -> None:
    assert len(drawn) == 60
    assert drawn.pictures.shape == (60, 32, 32, 3)
    fewer = draw_portraits(5, seed=0)
    assert np.array_equal(fewer.pictures, drawn.pictures[:5])
    assert not np.array_equal(draw_portraits(5, seed=1).pictures, fewer.pictures)
    assert draw_portraits(1, seed=0, side=64).pictures.shape == (1, 64, 64, 3)


def test_edges_are_soft(drawn: portraits.DrawnPortraits) -> None:
    """Enlarged from squares, whose edges a generator would have to hit to the pixel."""
    halves = drawn.pictures[:, :, ::2].astype(int) - drawn.pictures[:, :, 1::2]
    assert np.count_nonzero(halves) > halves.size / 10
    plain = portraits.draw_one(drawn.options[0], 16)
    assert np.array_equal(plain, draw_portraits(1, seed=0, side=16).pictures[0])


def test_every_label_takes_several_values(drawn: portraits.DrawnPortraits) -> None:
    assert tuple(drawn.labels) == LABELS
    for name, values in drawn.labels.items():
        assert values.shape == (60,)
        assert 0 <= values.min() < values.max() <= 1, name


@pytest.mark.parametrize(
    ("label", "values", "rows"),
    [
        ("smile", (False, True), (14, 27)),
        ("glasses", (False, True), (5, 21)),
        ("beard", (False, True), (7, 30)),
    ],
)
def test_one_change_moves_one_part(
    drawn: portraits.DrawnPortraits, label: str, values: tuple[bool, bool], rows: tuple[int, int]
) -> None:
    moved = 0
    for options in drawn.options[:8]:
        one, other = (picture(redrawn(options, label, value)) for value in values)
        where = np.flatnonzero((one != other).any((1, 2)))
        moved += len(where)
        assert not len(where) or rows[0] <= where.min() <= where.max() <= rows[1]
    assert moved


def test_colours_and_hair(drawn: portraits.DrawnPortraits) -> None:
    options = drawn.options[0]
    for label, value in (("background", "#102030"), ("skin", "#8d5524"), ("clothes", "#5bc0de")):
        changed = redrawn(options, label, value)
        assert not np.array_equal(picture(changed), picture(options)) or changed == options
    assert redrawn(options, "long_hair", True)["hairVariant"][0].startswith("long")
    dark = redrawn(options, "dark_glasses", True)
    assert (dark["glassesProbability"], dark["glassesVariant"][0][:4]) == (100, "dark")
    assert redrawn(options, "hat", False)["hatProbability"] == 0


def test_what_is_refused(drawn: portraits.DrawnPortraits) -> None:
    with pytest.raises(ConfigError, match="no label 'age'"):
        redrawn(drawn.options[0], "age", 30)
    with pytest.raises(ConfigError, match="below 16"):
        draw_portraits(1, seed=0, side=8)


def test_the_distance_is_the_literal_sum() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 4)), rng.normal(0.5, 1, size=(7, 4))

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 4 + 1) ** 3)

    literal = sum(kernel(a[i], a[j]) for i in range(5) for j in range(5) if i != j) / 20
    literal += sum(kernel(b[i], b[j]) for i in range(7) for j in range(7) if i != j) / 42
    literal -= 2 * sum(kernel(x, y) for x in a for y in b) / 35
    assert kernel_distance(a, b) == pytest.approx(literal)
    with pytest.raises(ConfigError, match="two"):
        kernel_distance(a[:1], b)


def test_one_kind_is_nearer_than_two() -> None:
    rng = np.random.default_rng(0)
    found = [kernel_distance(*rng.normal(size=(2, 40, 6))) for _ in range(60)]
    assert abs(np.mean(found)) < 0.05
    assert kernel_distance(rng.normal(size=(40, 6)), rng.normal(1, 1, size=(40, 6))) > 0.5


def test_features_of_pictures() -> None:
    features = PictureFeatures()
    pictures = torch.rand(3, 3, 32, 32) * 2 - 1
    found = features.of(pictures)
    assert found.shape == (3, 1280)
    np.testing.assert_allclose(features.of(pictures[1:2])[0], found[1], rtol=1e-3, atol=1e-4)
    assert float(features.enlarged(torch.ones(1, 3, 32, 32)).max()) == pytest.approx(1.0)


def test_maps_of_the_network_have_their_gradient() -> None:
    torch.manual_seed(0)
    features = PictureFeatures()
    pictures = (torch.rand(2, 3, 16, 16) * 2 - 1).requires_grad_()
    maps = features.maps(pictures, side=32)
    assert [tuple(some.shape) for some in maps] == [(2, 24, 8, 8), (2, 40, 4, 4), (2, 112, 2, 2)]
    (gradient,) = torch.autograd.grad(maps[-1].square().sum(), pictures)
    assert bool(gradient.any())
    assert features.maps(pictures)[0].shape[-1] == 16


pytest.importorskip("PIL", reason="the extra creative is not installed")


def test_a_sheet(tmp_path: Path) -> None:
    pictures = torch.stack([torch.full((3, 4, 4), v) for v in (-1.0, 0.0, 2.0)])
    assert as_pixels(pictures)[:, 0, 0, 0].tolist() == [0, 128, 255]
    path = tmp_path / "samples" / "one.png"
    save_sheet(path, pictures, zoom=3)
    with Image.open(path) as image:
        sheet = np.asarray(image)
    assert sheet.shape == (24, 24, 3)
    assert sheet[0, 0, 0] == 0
    assert sheet[23, 0, 0] == 255
    assert sheet[23, 23, 0] == 255
    save_sheet(path, pictures, columns=3, zoom=1)
    with Image.open(path) as image:
        assert image.size == (12, 4)


def bands(values: torch.Tensor) -> torch.Tensor:
    """Pictures [N, 3, 16, 16] of values [N, 2]: the brightness of the upper and the lower half."""
    pictures = torch.zeros(len(values), 3, 16, 16)
    pictures[:, :, :8] = values[:, 0, None, None, None]
    pictures[:, :, 8:] = values[:, 1, None, None, None]
    return pictures


class Painter:
    """A generator whose latents are the two halves, and a third number that nobody sees."""

    config = SimpleNamespace(wide=3, rows=1)

    def latents(self, z: torch.Tensor) -> torch.Tensor:
        return z / 4

    def rows_of(self, w: torch.Tensor) -> torch.Tensor:
        return w[:, None]

    def pictures(self, plus: torch.Tensor) -> torch.Tensor:
        return bands(plus[:, 0, :2])


@pytest.fixture(scope="module")
def drawn_attributes() -> tuple[torch.Tensor, dict[str, np.ndarray]]:
    torch.manual_seed(0)
    values = torch.rand(1500, 2) * 2 - 1
    noise = np.random.default_rng(0).normal(size=1500).astype(np.float32)
    pictures = bands(values) + 0.05 * torch.randn(1500, 3, 16, 16)
    named = {"top": values[:, 0].numpy(), "bottom": values[:, 1].numpy(), "noise": noise}
    return pictures, named


def test_what_a_direction_moves(
    drawn_attributes: tuple[torch.Tensor, dict[str, np.ndarray]],
) -> None:
    pictures, labels = drawn_attributes
    reader = fit_reader(pictures, labels, epochs=8)
    assert min(reader.quality["top"], reader.quality["bottom"]) > 0.9
    assert reader.quality["noise"] < 0.2
    reader = fit_reader(pictures, {k: labels[k] for k in ("top", "bottom")}, epochs=8)
    vectors = torch.tensor([[1.0, 0, 0], [0, -1.0, 0], [0.6, 0.8, 0]])
    found = moved_attributes(Painter(), Directions(vectors, (0,), torch.zeros(3)), reader, seed=0)
    assert found.named == ("top", "bottom", "bottom")
    assert found.change[0] > 2 > -2 > found.change[1]
    assert found.leak[:2].max() < 0.3 < found.leak[2]
    # The median of the others is the only other one here.
    assert found.hit.tolist() == [True, True, False]
    far = moved_attributes(
        Painter(), Directions(vectors, (0,), torch.zeros(3)), reader, seed=0, step=0.5, latents=50
    )
    assert abs(far.change[0]) < abs(found.change[0])


def test_an_attribute_that_never_changes(
    drawn_attributes: tuple[torch.Tensor, dict[str, np.ndarray]],
) -> None:
    with pytest.raises(DataError, match="same everywhere"):
        fit_reader(drawn_attributes[0], {"flat": np.ones(1500, np.float32)})


@torch.no_grad()
def test_pictures_are_those_of_the_layout() -> None:
    state = random_nvidia(32, 8, 2)
    assert NVIDIA_MARKER in state
    generator = nvidia_generator(Named(state))
    config = generator.config
    assert (config.side, config.wide, config.layers, config.rows) == (32, 8, 2, 8)
    torch.manual_seed(0)
    z, plus = torch.randn(3, 8), torch.randn(3, 8, 8)
    torch.testing.assert_close(generator.latents(z), nvidia_latents(state, z), atol=1e-5, rtol=1e-5)
    literal = nvidia_pictures(state, plus)
    torch.testing.assert_close(generator.pictures(plus), literal, atol=1e-4, rtol=0)
    assert torch.equal(generator.mean, state["mapping.w_avg"])


def test_generators_of_another_form() -> None:
    state = random_nvidia(16, 8, 2)
    without = {name: value for name, value in state.items() if name != "mapping.w_avg"}
    with pytest.raises(DataError, match=r"lacks a tensor.*w_avg"):
        nvidia_generator(Named(without))
    only = {name: value for name, value in state.items() if ".b8." not in name}
    with pytest.raises(DataError, match="b8"):
        nvidia_generator(Named(only))
    for more, said in (
        ({"mapping.embed.weight": torch.zeros(8, 3)}, "wants labels"),
        ({"synthesis.b8.skip.weight": torch.zeros(1)}, "residual"),
        ({"mapping.fc0.weight": torch.zeros(8, 16)}, "8 numbers of 16"),
        ({"synthesis.b8.resample_filter": torch.ones(2, 2)}, r"\[1, 3, 3, 1\]"),
    ):
        with pytest.raises(ConfigError, match=said):
            nvidia_generator(Named({**state, **more}))
