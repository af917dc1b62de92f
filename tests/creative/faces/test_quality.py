import numpy as np
import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.creative.faces.quality import PictureFeatures, kernel_distance


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
