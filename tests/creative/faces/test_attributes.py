from types import SimpleNamespace

import numpy as np
import pytest
import torch

from adwright.core.errors import DataError
from adwright.creative.faces.attributes import fit_reader, moved_attributes
from adwright.creative.faces.directions import Directions


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
def drawn() -> tuple[torch.Tensor, dict[str, np.ndarray]]:
    torch.manual_seed(0)
    values = torch.rand(1500, 2) * 2 - 1
    noise = np.random.default_rng(0).normal(size=1500).astype(np.float32)
    pictures = bands(values) + 0.05 * torch.randn(1500, 3, 16, 16)
    named = {"top": values[:, 0].numpy(), "bottom": values[:, 1].numpy(), "noise": noise}
    return pictures, named


def test_what_a_direction_moves(drawn: tuple[torch.Tensor, dict[str, np.ndarray]]) -> None:
    pictures, labels = drawn
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
    drawn: tuple[torch.Tensor, dict[str, np.ndarray]],
) -> None:
    with pytest.raises(DataError, match="same everywhere"):
        fit_reader(drawn[0], {"flat": np.ones(1500, np.float32)})
