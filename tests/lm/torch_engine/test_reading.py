from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

import torch

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.lm.torch_engine.network import Network
from adwright.lm.torch_engine.score import read_rows
from tests.support.lm.tiny_llama import tiny_llama, tiny_model, tiny_tokens

BEFORE, TEXTS = [1, 2, 3], [[5, 6, 7], [8], [9, 10]]


@torch.no_grad()
@pytest.mark.parametrize("layer", [0, 2, 3])
def test_a_reading_is_that_of_one_pass(layer: int) -> None:
    model = tiny_llama()
    readings = read_rows(Network(model), BEFORE, TEXTS, layer)
    for text, found in zip(TEXTS, readings, strict=True):
        out = model(torch.tensor([BEFORE + text]), output_hidden_states=True)
        logs = out.logits[0].log_softmax(-1)
        places = range(len(BEFORE) - 1, len(BEFORE) + len(text) - 1)
        expected = [float(logs[at, token]) for at, token in zip(places, text, strict=True)]
        np.testing.assert_allclose(found.log_probabilities, expected, atol=1e-4)
        state = out.hidden_states[layer][0, len(BEFORE) :].mean(0)
        np.testing.assert_allclose(found.state, state, atol=1e-4)


def test_what_stands_before_changes_what_is_expected() -> None:
    model = tiny_model()
    (plain,) = model.read(["tea with a friend"])
    (told,) = model.read(["tea with a friend"], before="the best ")
    assert len(plain.log_probabilities) == len(tiny_tokens().encode("tea with a friend"))
    assert not np.allclose(plain.log_probabilities, told.log_probabilities)
    assert not np.allclose(model.read(["tea with a friend"], layer=2)[0].state, plain.state)


def test_what_cannot_be_read_is_refused() -> None:
    model = tiny_model()
    with pytest.raises(ConfigError, match="layer 4 of 3"):
        model.read(["tea"], layer=4)
    with pytest.raises(ValueInvalidError, match="empty") as caught:
        model.read(["tea", ""])
    assert caught.value.row == 1
    with pytest.raises(ValueInvalidError, match="no room"):
        model.read(["tea " * 400])
