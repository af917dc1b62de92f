import math

import pytest
import torch

from adwright.creative.faces.inversion.encoder_losses import (
    adversarial_loss,
    feature_distance,
    identity_loss,
    latent_loss,
    latent_r1,
    pair_loss,
    pixel_error,
)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_l2_is_the_literal_mean() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    for at in range(2):
        pairs = zip(a[at].flatten().tolist(), b[at].flatten().tolist(), strict=True)
        literal = sum((x - y) ** 2 for x, y in pairs)
        assert float(pixel_error(a, b)[at]) == pytest.approx(literal / 60, rel=1e-5)


def test_features_are_compared_by_their_direction_at_each_pixel() -> None:
    torch.manual_seed(0)
    a, b = ([torch.randn(2, 3, 2, 2), torch.randn(2, 5, 1, 1)] for _ in range(2))
    for at in range(2):
        layers = []
        for one, other in zip(a, b, strict=True):
            pixels = []
            for y in range(one.shape[2]):
                for x in range(one.shape[3]):
                    f, g = one[at, :, y, x], other[at, :, y, x]
                    pixels.append(float(((f / f.norm() - g / g.norm()) ** 2).sum()))
            layers.append(sum(pixels) / len(pixels))
        assert float(feature_distance(a, b)[at]) == pytest.approx(sum(layers) / 2, rel=1e-4)
    torch.testing.assert_close(feature_distance(a, a), torch.zeros(2))
    torch.testing.assert_close(feature_distance([3 * f for f in a], b), feature_distance(a, b))


def test_identity_is_one_less_the_cosine() -> None:
    a, b = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[4.0, 3.0], [0.0, 2.0]])
    assert float(identity_loss(a, b)) == pytest.approx(((1 - 24 / 25) + 1) / 2)


def test_what_the_latent_discriminator_and_the_encoder_want() -> None:
    made, real = [0.5, -1.0], [2.0, 0.0]
    a, b = torch.tensor(made), torch.tensor(real)
    literal = sum(map(softplus, made)) / 2 + sum(softplus(-x) for x in real) / 2
    assert float(latent_loss(a, b)) == pytest.approx(literal, rel=1e-5)
    rows = torch.tensor([[0.5, -1.0, 2.0], [0.0, 1.0, -2.0]])
    literal = sum(softplus(-x) for x in rows.flatten().tolist()) / 6
    assert float(adversarial_loss(rows)) == pytest.approx(literal, rel=1e-5)


def test_r1_is_the_squared_slope_at_real_latents() -> None:
    w = torch.randn(3, 4, requires_grad=True)
    slope = torch.tensor([1.0, -2.0, 0.5, 0.0])
    said = (w * slope).sum(1) + (w[:, 0] ** 2)
    literal = 0.0
    for first in w.detach()[:, 0].tolist():
        literal += float((slope + torch.tensor([2 * first, 0, 0, 0])).square().sum())
    assert float(latent_r1(said, w, 10.0).detach()) == pytest.approx(5 * literal / 3, rel=1e-5)


def test_pairs_are_compared_in_units_of_the_variance() -> None:
    torch.manual_seed(0)
    plus, w = torch.randn(2, 3, 4), torch.randn(2, 4)
    literal = sum(
        (float(plus[b, r, d]) - float(w[b, d])) ** 2 / 0.25
        for b in range(2)
        for r in range(3)
        for d in range(4)
    )
    assert float(pair_loss(plus, w, torch.tensor(0.25))) == pytest.approx(literal / 24, rel=1e-5)
