from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import rgb2lab

from adwright.creative.records.seeing.lab import lab_of

CHANNEL = st.integers(0, 255)


def test_it_is_what_scikit_image_computes() -> None:
    rgb = np.random.default_rng(3).integers(0, 256, (40, 50, 3), np.uint8)
    assert np.abs(lab_of(rgb) - rgb2lab(rgb)).max() < 0.02


@given(CHANNEL)
def test_greys_have_no_hue_and_grow_lighter(level: int) -> None:
    lab = lab_of(np.full(3, level, np.uint8))
    assert np.abs(lab[1:]).max() < 1e-9
    assert 0 <= lab[0] <= 100 + 1e-9
    if level:
        assert lab[0] > lab_of(np.full(3, level - 1, np.uint8))[0]
