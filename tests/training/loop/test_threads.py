from __future__ import annotations

import pytest
import torch

from adwright.training.loop.threads import torch_threads


def test_the_number_holds_until_the_block_ends() -> None:
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        with torch_threads(0):
            assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_it_is_given_back_after_an_error() -> None:
    before = torch.get_num_threads()

    def fail() -> None:
        with torch_threads(before + 1):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_num_threads() == before
