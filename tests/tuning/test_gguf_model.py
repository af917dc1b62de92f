"""A whole model by the names of GGUF."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.tuning.formats.gguf import gguf_tensors, to_rotary
from tests.support.lm.families import tiny_of
from tests.support.lm.tiny_gguf import save_tiny_gguf
from tests.support.lm.tiny_llama import tiny_llama

pytest.importorskip("gguf", reason="the extra lm is not installed")


def test_names_and_values_are_those_of_a_file_for_llamacpp(tmp_path: Path) -> None:
    file = gguf.GGUFReader(save_tiny_gguf(tmp_path / "tiny.gguf"))
    wanted = {one.name: np.array(one.data) for one in file.tensors}
    found = gguf_tensors(tiny_llama())
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name].reshape(values.shape), values)


def test_a_head_of_its_own_is_there_and_biases_follow_their_rows() -> None:
    model = tiny_llama(tied=False)
    linear = model.model.layers[0].self_attn.k_proj
    linear.bias = torch.nn.Parameter(torch.arange(24.0))
    found = gguf_tensors(model)
    assert found["output.weight"].shape == (400, 48)
    np.testing.assert_array_equal(
        found["blk.0.attn_k.bias"], to_rotary(np.arange(24, dtype=np.float32), 2)
    )


def test_qwen3_keeps_its_order_and_has_norms_of_queries() -> None:
    model = tiny_of("qwen3")
    found = gguf_tensors(model)
    q = model.model.layers[1].self_attn.q_proj.weight.numpy()
    np.testing.assert_array_equal(found["blk.1.attn_q.weight"], q)
    assert found["blk.1.attn_q_norm.weight"].shape == (8,)


def test_what_has_no_place_is_refused() -> None:
    with pytest.raises(ConfigError, match="family 'gemma2'"):
        gguf_tensors(tiny_of("gemma2"))
    model = tiny_llama()
    model.model.extra = torch.nn.Linear(2, 2)
    with pytest.raises(ConfigError, match=r"model\.extra\.weight has no place"):
        gguf_tensors(model)
