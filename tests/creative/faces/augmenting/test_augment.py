import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.creative.faces.augmenting.augment import augmented


def drawn(pictures: torch.Tensor, p: float, seed: int = 0) -> torch.Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return augmented(pictures, p)


def test_nothing_happens_at_zero_and_all_changes_at_one() -> None:
    pictures = torch.rand(16, 3, 16, 16) * 2 - 1
    assert drawn(pictures, 0.0) is pictures
    every = drawn(pictures, 1.0)
    assert every.shape == pictures.shape
    assert (every - pictures).abs().flatten(1).amax(1).min() > 0.05
    assert torch.equal(every, drawn(pictures, 1.0))
    assert not torch.equal(every, drawn(pictures, 1.0, seed=1))


def test_most_pictures_keep_their_pixels_where_p_is_small() -> None:
    pictures = torch.rand(400, 3, 8, 8)
    same = (drawn(pictures, 0.02) == pictures).flatten(1).all(1).float().mean()
    # Of 12 draws each with probability .02 some change nothing, as a quarter turn of 0.
    assert 0.98**12 - 0.08 < float(same) < 0.95


def test_gradients_flow_through_all_changes() -> None:
    pictures = torch.rand(8, 3, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(drawn(pictures, 1.0).square().sum(), pictures)
    assert bool((gradient.abs().flatten(1).sum(1) > 0).all())


def test_what_is_no_probability() -> None:
    for p in (-0.1, 1.1):
        with pytest.raises(ConfigError, match="probability"):
            augmented(torch.zeros(1, 3, 8, 8), p)
