"""Products of tiles equal those of numpy, for each order of the left side."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adwright.core.vector_code import LANES, has_pairs
from adwright.models.kernels.silu import add_pairs, add_words, set_words

#: Whole blocks of vectors, and one vector left over.
SHAPES = [(8, 16, 5), (16, 48, 7), (48, 32, 1)]


@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_words_equal_numpy(m: int, n: int, k: int) -> None:
    generator = np.random.default_rng(0)
    a = generator.normal(size=(m, k)).astype(np.float32)
    b = generator.normal(size=(k, n)).astype(np.float32)
    c = generator.normal(size=(m, n)).astype(np.float32)
    wanted, where = c + a @ b, c.ctypes.data
    add_words(where, n, a.ctypes.data, k, 1, b.ctypes.data, n, LANES, m, n, k)
    np.testing.assert_allclose(c, wanted, rtol=1e-5, atol=1e-5)
    turned = np.ascontiguousarray(a.T)
    panels = np.ascontiguousarray(b.reshape(k, n // LANES, LANES).transpose(1, 0, 2))
    strides = (panels.ctypes.data, LANES, LANES * k)
    set_words(where, n, turned.ctypes.data, 1, m, *strides, m, n, k)
    np.testing.assert_allclose(c, a @ b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_pairs_equal_torch(m: int, n: int, k: int) -> None:
    if not has_pairs():
        pytest.skip("this processor multiplies no pairs of bfloat16")
    torch.manual_seed(0)
    a, b = torch.randn(m, 2 * k).bfloat16(), torch.randn(2 * k, n).bfloat16()
    pairs = b.view(k, 2, n).transpose(1, 2).contiguous()
    c = torch.zeros(m, n)
    add_pairs(c.data_ptr(), n, a.data_ptr(), k, 1, pairs.data_ptr(), n, LANES, m, n, k)
    torch.testing.assert_close(c, a.float() @ b.float(), rtol=1e-4, atol=1e-4)
