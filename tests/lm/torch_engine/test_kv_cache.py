from __future__ import annotations

import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

import torch
from transformers import DynamicCache

from adwright.lm.torch_engine.kv_cache import GrowingLayer, growing_cache
from tests.support.lm.tiny_llama import tiny_llama


def test_it_holds_what_the_cache_of_transformers_holds() -> None:
    config = tiny_llama().config
    ours, theirs = growing_cache(config), DynamicCache(config=config)
    assert all(type(layer) is GrowingLayer for layer in ours.layers)
    torch.manual_seed(0)
    rows = 2

    def add(new: int) -> None:
        for layer in range(3):
            keys, values = torch.randn(2, rows, 2, new, 12).unbind(0)
            both = [cache.update(keys, values, layer) for cache in (ours, theirs)]
            for mine, other in zip(*both, strict=True):
                torch.testing.assert_close(mine, other, rtol=0, atol=0)

    add(5)
    for _ in range(80):
        add(1)
    for cache in (ours, theirs):
        cache.batch_repeat_interleave(3)
    rows = 6
    add(4)
    add(1)
    for cache in (ours, theirs):
        cache.batch_select_indices(torch.tensor([5, 0]))
    rows = 2
    for _ in range(3):
        add(1)
    assert ours.get_seq_length() == theirs.get_seq_length() == 5 + 80 + 5 + 3


def test_a_token_is_written_behind_the_others_without_a_copy() -> None:
    cache = growing_cache(tiny_llama().config)
    one = torch.zeros(1, 2, 1, 12)
    cache.update(one, one, 0)
    cache.update(one, one, 0)
    places = set()
    for _ in range(60):
        keys, _ = cache.update(one, one, 0)
        places.add(keys.data_ptr())
    assert len(places) == 1


def test_rows_that_left_do_not_hold_their_memory() -> None:
    cache = growing_cache(tiny_llama().config)
    many = torch.zeros(8, 2, 10, 12)
    cache.update(many, many, 0)
    cache.update(many[:, :, :1], many[:, :, :1], 0)
    cache.batch_select_indices(torch.tensor([3]))
    one = torch.zeros(1, 2, 1, 12)
    keys, _ = cache.update(one, one, 0)
    assert keys.untyped_storage().nbytes() <= 4 * 2 * 12 * (12 + 64)
