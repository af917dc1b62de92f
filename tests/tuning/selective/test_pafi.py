"""PaFi chooses the smallest weights."""

from __future__ import annotations

import torch

from adwright.tuning.methods import apply
from adwright.tuning.selective.masks import PaFi
from tests.support.lm.tuning_methods import tiny_llama


def test_chooses_what_the_formula_chooses() -> None:
    method = PaFi(fraction=0.1)
    tuned = apply(tiny_llama(), method)
    places = tuned.places(method.targets)
    sizes = torch.cat([place.linear.base.weight.abs().flatten() for place in places])
    bound = sizes.sort().values[method.count(tuned.sizes) - 1]
    for place in places:
        small = (place.linear.base.weight.abs().flatten() <= bound).nonzero()[:, 0]
        assert torch.equal(place.linear.index, small)
