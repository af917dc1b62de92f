from __future__ import annotations

import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.lm.serving.prefixes import PagePool, PageShape
from adwright.tuning.modules import Sizes
from tests.support.lm.tiny_llama import tiny_llama

SHAPE = PageShape(layers=3, heads=2, width=4, block=5)


def test_the_shape_of_a_page() -> None:
    assert SHAPE.slice == 2 * 2 * 5 * 4
    assert SHAPE.numbers == 3 * SHAPE.slice
    assert [SHAPE.blocks(tokens) for tokens in (0, 1, 5, 6)] == [0, 1, 1, 2]
    assert PageShape.of(Sizes.of(tiny_llama()), 8) == PageShape(3, 2, 12, 8)
    with pytest.raises(ConfigError, match="at least one token"):
        PageShape.of(Sizes.of(tiny_llama()), 0)


def test_pages_are_had_once_and_given_back() -> None:
    pool = PagePool(SHAPE, 6)
    assert pool.capacity == pool.free == 5
    first = pool.allocate(2, "adapters")
    second = pool.allocate(3, "keys")
    assert first is not None
    assert second is not None
    assert sorted([*first, *second]) == [1, 2, 3, 4, 5]
    assert (pool.used("adapters"), pool.used("keys"), pool.free) == (2, 3, 0)
    assert pool.allocate(1, "keys") is None
    pool.release(second)
    assert pool.allocate(4, "adapters") is None
    assert pool.free == 3
    assert sorted(pool.allocate(3, "adapters") or ()) == sorted(second)


def test_keys_get_pages_without_what_they_held() -> None:
    pool = PagePool(SHAPE, 6)
    kept = pool.allocate(1, "adapters") or []
    pages = pool.allocate(3, "keys") or []
    pool.tensor.fill_(torch.nan)
    pool.release(pages)
    again = pool.allocate(2, "keys") or []
    assert set(again) <= set(pages)
    assert not pool.tensor[again].any()
    # Nothing else is touched: it costs what was asked for.
    assert pool.tensor[kept].isnan().all()
    assert pool.tensor.isnan().all((1, 2)).sum() == 4


def test_what_nobody_has_cannot_be_given_back() -> None:
    pool = PagePool(SHAPE, 6)
    pages = pool.allocate(2, "keys") or []
    for wrong in ([0], [5], [pages[0], pages[0]]):
        with pytest.raises(ConfigError, match="cannot be given back"):
            pool.release(wrong)
    assert pool.free == 3


def test_the_bound_and_the_views() -> None:
    pool = PagePool(SHAPE, 6, torch.bfloat16)
    assert pool.bytes == 6 * pool.page_bytes == 6 * SHAPE.numbers * 2
    pool.tensor.copy_(torch.arange(pool.tensor.numel()).view_as(pool.tensor))
    whole = pool.tensor.view(6, 3, 2, 2, 5, 4)
    # Page 4, layer 1, values, head 1.
    at = ((4 * 3 + 1) * 2 + 1) * 2 + 1
    assert torch.equal(pool.blocks[at].view(5, 4), whole[4, 1, 1, 1])
    assert torch.equal(pool.tokens[at * 5 + 3], whole[4, 1, 1, 1, 3])
    assert torch.equal(pool.grains(8)[:10].flatten(), pool.tensor[0, 0])
    assert pool.grains(8).data_ptr() == pool.tensor.data_ptr()


def test_a_pool_of_one_page_is_none() -> None:
    with pytest.raises(ConfigError, match="at least two pages"):
        PagePool(SHAPE, 1)


def test_pages_are_copied() -> None:
    pool = PagePool(PageShape(2, 1, 3, 4), 6)
    own = pool.allocate(4, "keys") or []
    pool.tensor[own[0]], pool.tensor[own[1]] = 1.0, 2.0
    pool.copy(own[:2], own[2:])
    assert [float(pool.tensor[page].mean()) for page in own] == [1.0, 2.0, 1.0, 2.0]
    assert not pool.tensor[0].any()
