import colorsys
import math

import torch

from adwright.creative.faces.augmenting.colour import (
    brightness,
    coloured,
    contrast,
    hue,
    luma_flip,
    saturation,
)


def one(*colour: float) -> torch.Tensor:
    return torch.tensor(colour).view(1, 3, 1, 1)


def shown(matrix: torch.Tensor, *colour: float) -> list[float]:
    return [round(float(value), 5) for value in coloured(one(*colour), matrix).flatten()]


def test_what_each_change_does_to_a_colour() -> None:
    assert shown(brightness(torch.tensor([0.25])), 0.5, 0.0, -1.0) == [0.75, 0.25, -0.75]
    assert shown(contrast(torch.tensor([2.0])), 0.5, 0.0, -0.25) == [1.0, 0.0, -0.5]
    assert shown(luma_flip(torch.tensor([True])), 0.5, 0.5, 0.5) == [-0.5, -0.5, -0.5]
    assert shown(luma_flip(torch.tensor([True])), 1.0, 0.0, -1.0) == [1.0, 0.0, -1.0]
    assert shown(luma_flip(torch.tensor([False])), 0.5, 0.1, 0.2) == [0.5, 0.1, 0.2]
    third = torch.tensor([2 * math.pi / 3])
    assert shown(hue(third), 0.9, 0.2, 0.1) == [0.1, 0.9, 0.2]
    assert shown(saturation(torch.tensor([0.0])), 0.6, 0.3, 0.0) == [0.3, 0.3, 0.3]
    assert shown(saturation(torch.tensor([2.0])), 0.6, 0.3, 0.0) == [0.9, 0.3, -0.3]


def test_hue_keeps_lightness_and_goes_the_usual_way() -> None:
    for share in (0.1, 0.25, 0.4):
        red, green, blue = shown(hue(torch.tensor([2 * math.pi * share])), 0.6, 0.4, 0.4)
        assert abs(red + green + blue - 1.4) < 1e-4
        assert abs(colorsys.rgb_to_hsv(red, green, blue)[0] - share) < 0.04


def test_each_picture_has_its_own_matrix_and_products_chain() -> None:
    pictures = torch.rand(2, 3, 4, 4, requires_grad=True)
    first, then = brightness(torch.tensor([0.5, 0.0])), contrast(torch.tensor([2.0, 1.0]))
    found = coloured(pictures, then @ first)
    torch.testing.assert_close(found[0], 2 * (pictures[0] + 0.5))
    torch.testing.assert_close(found[1], pictures[1])
    (gradient,) = torch.autograd.grad(found.sum(), pictures)
    torch.testing.assert_close(gradient[0], torch.full((3, 4, 4), 2.0))
