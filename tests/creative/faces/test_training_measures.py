from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.creative.faces.e4e_file import Named
from adwright.creative.faces.opened import Directions
from benchmarks.creative._face_layouts import nvidia_latents, nvidia_pictures, random_nvidia
from benchmarks.creative.faces_training import portraits
from benchmarks.creative.faces_training.measures import (
    PictureFeatures,
    fit_reader,
    kernel_distance,
    moved_attributes,
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


def test_features_of_pictures() -> None:
    features = PictureFeatures()
    pictures = torch.rand(3, 3, 32, 32) * 2 - 1
    found = features.of(pictures)
    assert found.shape == (3, 1280)
    np.testing.assert_allclose(features.of(pictures[1:2])[0], found[1], rtol=1e-3, atol=1e-4)
    assert float(features.enlarged(torch.ones(1, 3, 32, 32)).max()) == pytest.approx(1.0)


pytest.importorskip("PIL", reason="the extra creative is not installed")


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
    found = moved_attributes(Painter(), Directions(vectors, (0,)), reader, seed=0)
    assert found.named == ("top", "bottom", "bottom")
    assert found.change[0] > 2 > -2 > found.change[1]
    assert found.leak[:2].max() < 0.3 < found.leak[2]
    # The median of the others is the only other one here.
    assert found.hit.tolist() == [True, True, False]
    far = moved_attributes(
        Painter(), Directions(vectors, (0,)), reader, seed=0, step=0.5, latents=50
    )
    assert abs(far.change[0]) < abs(found.change[0])


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
