import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adwright.creative.faces.augmenting.geometry import (
    blitted,
    mirrored,
    rotations,
    scalings,
    warped,
)

NO = torch.zeros(1, dtype=torch.bool)


def moved(
    picture: torch.Tensor, *, flip: bool = False, turn: int = 0, by: tuple[int, int] = (0, 0)
) -> torch.Tensor:
    shifts = torch.tensor([by])
    return blitted(picture[None], torch.tensor([flip]), torch.tensor([turn]), shifts)[0]


@given(st.booleans(), st.integers(0, 3), st.sampled_from([4, 5]))
def test_flips_and_turns_are_those_of_the_library(flip: bool, turn: int, side: int) -> None:
    picture = torch.arange(2.0 * side * side).view(2, side, side)
    expected = picture.flip(2) if flip else picture
    expected = torch.rot90(expected, turn, (1, 2))
    assert torch.equal(moved(picture, flip=flip, turn=turn), expected)


def test_shifts_go_right_and_down_and_mirror_the_edge() -> None:
    picture = torch.arange(16.0).view(1, 4, 4)
    right = moved(picture, by=(1, 0))
    assert right[0, 0].tolist() == [1.0, 0.0, 1.0, 2.0]
    down = moved(picture, by=(0, 2))
    assert down[0, :, 0].tolist() == [8.0, 4.0, 0.0, 4.0]
    # The shift comes last.
    both = moved(picture, turn=1, by=(1, 0))
    assert torch.equal(both[0, :, 1:], torch.rot90(picture[0], 1)[:, :-1])


@given(st.integers(-20, 20), st.integers(2, 6))
def test_places_are_mirrored(at: int, side: int) -> None:
    literal = at
    while not 0 <= literal < side:
        literal = -literal if literal < 0 else 2 * (side - 1) - literal
    assert int(mirrored(torch.tensor(at), side)) == literal
    assert int(mirrored(torch.tensor(at), 1)) == 0


def test_each_picture_is_moved_for_itself() -> None:
    pictures = torch.rand(3, 2, 4, 4)
    flips, turns = torch.tensor([True, False, False]), torch.tensor([0, 2, 0])
    found = blitted(pictures, flips, turns, torch.zeros(3, 2, dtype=torch.long))
    assert torch.equal(found[0], pictures[0].flip(2))
    assert torch.equal(found[1], pictures[1].flip(1, 2))
    assert torch.equal(found[2], pictures[2])


def smooth(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    line = (torch.arange(side) - (side - 1) / 2) / side
    return line[:, None].expand(side, side), line[None].expand(side, side)


def test_a_warp_shows_what_was_at_the_source() -> None:
    y, x = smooth(32)
    picture = torch.stack([torch.exp(-8 * ((x - 0.15) ** 2 + y**2))])[None]
    turned = warped(picture, rotations(torch.tensor([math.pi / 2])))
    # What was to the right is looked for below: the picture turns counter-clockwise.
    expected = torch.rot90(picture, 1, (2, 3))
    torch.testing.assert_close(turned, expected, atol=0.03, rtol=0)
    half = warped(picture, scalings(torch.tensor([0.5]), torch.tensor([1.0])))
    literal = torch.exp(-8 * ((x / 2 - 0.15) ** 2 + y**2))
    torch.testing.assert_close(half[0, 0, 2:-2, 2:-2], literal[2:-2, 2:-2], atol=0.03, rtol=0)
    same = warped(picture, torch.eye(2)[None])
    torch.testing.assert_close(same, picture, atol=0.03, rtol=0)
    flat = warped(torch.ones(1, 3, 8, 8), rotations(torch.tensor([0.4])))
    torch.testing.assert_close(flat, torch.ones(1, 3, 8, 8))


def test_gradients_flow() -> None:
    pictures = torch.rand(1, 2, 8, 8, requires_grad=True)
    zeros = torch.zeros(1, dtype=torch.long)
    found = blitted(pictures, NO, zeros + 1, zeros[:, None].expand(1, 2) + 1)
    found = warped(found, rotations(torch.tensor([0.3])))
    (gradient,) = torch.autograd.grad(found.sum(), pictures)
    assert float(gradient.sum()) == pytest.approx(2 * 64, rel=0.05)
