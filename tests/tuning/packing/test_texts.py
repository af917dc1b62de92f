"""Texts laid end to end: each gives what it gives alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch.nn import functional

from adwright.core.errors import ValueInvalidError
from adwright.tuning.packing.texts import (
    Packed,
    answer_loss,
    answer_losses,
    attends_apart,
    pack,
)
from tests.support.lm.packed_hidden import packed_hidden

transformers = pytest.importorskip("transformers")

TEXTS = [([1, 5, 9], [7, 3]), ([2], [4, 4, 6, 8]), ([1, 2, 3, 4, 5, 6, 7], [9])]


def tiny() -> transformers.LlamaForCausalLM:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
    )
    return transformers.LlamaForCausalLM(config).eval()


def _loss(model: transformers.LlamaForCausalLM, packed: Packed) -> torch.Tensor:
    return answer_loss(packed_hidden(model, packed), model.lm_head, packed)


def test_each_text_gives_what_it_gives_alone() -> None:
    model, packed = tiny(), pack(TEXTS)
    with torch.no_grad():
        found = packed_hidden(model, packed)
        for start, end in pairwise(packed.offsets.tolist()):
            alone = model.model(packed.ids[None, start:end]).last_hidden_state[0]
            torch.testing.assert_close(found[start:end], alone, rtol=1e-5, atol=1e-5)
    assert model.config._attn_implementation != "adwright_packed"


@pytest.mark.parametrize("frozen", [True, False])
def test_the_loss_and_its_slope_are_those_of_all_logits(frozen: bool) -> None:
    model, packed = tiny().double(), pack(TEXTS)
    # A head that is tied to the embeddings stands still with them.
    model.requires_grad_(not frozen)
    layer = model.model.layers[0].mlp.down_proj.weight.requires_grad_()
    (found,) = torch.autograd.grad(_loss(model, packed), layer)
    literal = torch.zeros((), dtype=torch.float64)
    for start, end in pairwise(packed.offsets.tolist()):
        ids, answer = packed.ids[start:end], packed.answer[start:end]
        logits = model(ids[None]).logits[0]
        for place in answer.nonzero()[:, 0].tolist():
            literal = literal - functional.log_softmax(logits[place - 1], 0)[ids[place]]
    torch.testing.assert_close(_loss(model, packed).double(), literal, rtol=1e-6, atol=1e-6)
    (wanted,) = torch.autograd.grad(literal, layer)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-8)


def test_bfloat16_is_near() -> None:
    model, packed = tiny().requires_grad_(False), pack(TEXTS)
    exact = float(_loss(model, packed))
    with torch.autocast("cpu", torch.bfloat16):
        assert abs(float(_loss(model, packed)) - exact) < 0.02 * exact


def test_gradient_checkpointing_changes_nothing() -> None:
    model, packed = tiny().train(), pack(TEXTS)
    layer = model.model.layers[0].mlp.down_proj.weight
    (before,) = torch.autograd.grad(_loss(model, packed), layer)
    model.activation_checkpointing_enable({"use_reentrant": False})
    with attends_apart(model):
        (after,) = torch.autograd.grad(_loss(model, packed), layer)
    torch.testing.assert_close(before, after)


def test_places_begin_anew() -> None:
    packed = pack(TEXTS[:2])
    assert packed.places().tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
    assert packed.answers == 6
    assert len(packed) == 2
    assert [one.ids.tolist() for one in packed.alone()] == [[1, 5, 9, 7, 3], [2, 4, 4, 6, 8]]
    assert [one.answers for one in packed.alone()] == [2, 4]


def test_twice_is_all_texts_and_all_of_them_again() -> None:
    packed = pack([([1, 2], [3]), ([4], [5, 6])])
    wanted = pack([([1, 2], [3]), ([4], [5, 6])] * 2)
    twice = packed.twice()
    for name in ("ids", "offsets", "answer"):
        assert torch.equal(getattr(twice, name), getattr(wanted, name))


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(ValueInvalidError, match="empty"):
        pack([([], [1])])
    ids = torch.tensor([1, 2])
    with pytest.raises(ValueInvalidError, match="offset"):
        Packed(ids, torch.tensor([0, 3]), torch.tensor([False, True]))
    with pytest.raises(ValueInvalidError, match="first token"):
        Packed(ids, torch.tensor([0, 2]), torch.tensor([True, False]))


@pytest.mark.parametrize("frozen", [True, False])
def test_the_losses_of_each_answer_add_up(frozen: bool) -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 50, bias=False).requires_grad_(not frozen)
    # More answers than there are in a chunk.
    packed = pack([([1], list(range(40)) * 30)])
    hidden = torch.randn(len(packed.ids), 8)
    each, whole = answer_losses(hidden, head, packed), answer_loss(hidden, head, packed)
    literal = functional.cross_entropy(head(hidden[:-1]), packed.ids[1:], reduction="none")
    torch.testing.assert_close(each, literal)
    torch.testing.assert_close(whole, literal.sum())


def test_a_hook_is_called_within_the_work_of_the_head() -> None:
    head = torch.nn.Linear(8, 50, bias=False).requires_grad_(False)
    packed = pack([([1], list(range(40)) * 3)])
    hidden = torch.randn(len(packed.ids), 8)
    called: list[str] = []
    found = answer_losses(hidden, head, packed, called.append)
    assert called == ["head 1", "head 2", "head 3"]
    torch.testing.assert_close(found, answer_losses(hidden, head, packed))
