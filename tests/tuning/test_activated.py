"""aLoRA against its formula: the base before the last invocation, LoRA from it on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adwright.core.errors import ConfigError
from adwright.lm.torch_engine.network import Network
from adwright.tuning.methods import apply, load_tuned, method_of
from adwright.tuning.modules import Inputs
from adwright.tuning.reparameterised.lora import (
    ActivatedLinear,
    ActivatedLoRA,
    Invoked,
    LoRA,
    invoked_from,
)
from adwright.tuning.tuned import Tuned
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import base_logits, logits_of, shake, tiny_llama

INVOCATION = (5, 6)
#: The last invocation begins at: 4 (an earlier one counts for nothing), 0, nowhere (its end is
#: missing), 6 (the end of the text).
TEXTS = torch.tensor(
    [
        [9, 5, 6, 8, 5, 6, 7, 3],
        [5, 6, 2, 2, 3, 5, 4, 1],
        [6, 5, 7, 6, 8, 9, 1, 5],
        [1, 2, 5, 5, 7, 6, 5, 6],
    ]
)
STARTS = (4, 0, None, 6)


def shaken(invocation: tuple[int, ...] = INVOCATION, **settings: Any) -> Tuned:
    tuned = apply(tiny_llama(), ActivatedLoRA(rank=3, alpha=5.0, invocation=invocation, **settings))
    shake(tuned)
    return tuned


def literal_start(ids: Sequence[int]) -> int | None:
    found = None
    for at in range(len(ids) - 1):
        if ids[at] == 5 and ids[at + 1] == 6:
            found = at
    return found


def test_is_the_formula() -> None:
    tuned = shaken()
    modules = {(p.layer, p.target): p.linear for p in tuned.places(tuned.method.targets)}

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        module = modules[layer, target]
        y = torch.empty(*x.shape[:-1], len(weight))
        for text in range(len(x)):
            start = literal_start(TEXTS[text].tolist())
            for t in range(x.shape[1]):
                y[text, t] = weight @ x[text, t]
                if start is not None and t >= start:
                    y[text, t] += 5.0 / 3 * (module.b @ (module.a @ x[text, t]))
        return y

    assert [literal_start(text.tolist()) for text in TEXTS] == list(STARTS)
    wanted = literal_logits(linear=linear, tokens=TEXTS)
    assert torch.allclose(logits_of(tuned, TEXTS), wanted, atol=1e-5)


def test_is_the_base_before_it_and_lora_over_keys_of_the_base_after_it() -> None:
    tuned = shaken()
    found, base = logits_of(tuned, TEXTS), base_logits(TEXTS)
    lora = apply(tiny_llama(), LoRA(rank=3, alpha=5.0))
    lora.load_state(tuned.state())
    over = Network(lora.causal)
    for text, start in enumerate(STARTS):
        if start is None:
            assert torch.equal(found[text], base[text])
            continue
        assert torch.equal(found[text, :start], base[text, :start])
        assert not torch.allclose(found[text, start:], base[text, start:], atol=1e-2)
        # LoRA itself, over what the base made of the tokens before.
        cache, places = Network(tiny_llama()).new_cache(), torch.arange(8)[None]
        with torch.inference_mode():
            for network, part in ((Network(tiny_llama()), slice(start)), (over, slice(start, 8))):
                if part != slice(0):
                    ids = TEXTS[text : text + 1, part]
                    last = network.hidden(ids, positions=places[:, part], cache=cache)
            rest = over.logits(last[0])
        assert torch.allclose(found[text, start:], rest, atol=1e-5)


def test_packed_and_padded_texts_are_each_as_alone() -> None:
    tuned = shaken().eval()
    invoked = tuned.outer
    assert isinstance(invoked, Invoked)
    wanted = [
        [start is not None and t >= start for t in range(8)] for text, start in enumerate(STARTS)
    ]
    packed = Inputs(TEXTS.view(1, -1), None, torch.arange(8).repeat(4)[None])
    assert invoked.active(packed)[0].view(4, 8).tolist() == wanted
    mask = torch.ones(4, 10, dtype=torch.long)
    mask[:, :2] = 0
    padded = torch.cat([torch.tensor([list(INVOCATION)] * 4), TEXTS], 1)
    found = invoked.active(Inputs(padded, mask, None))
    assert found[:, 2:].tolist() == wanted
    # An invocation that reaches over the end of a text is none.
    both = Inputs(torch.tensor([[5, 6, 1, 5, 6, 5]]), None, torch.tensor([[0, 1, 2, 3, 0, 1]]))
    assert invoked.active(both)[0].tolist() == [True] * 4 + [False] * 2


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")
def test_gradients_come_from_where_it_acts_alone(checkpointed: bool) -> None:
    tuned = shaken(dropout=0.1 if checkpointed else 0.0)
    if checkpointed:
        tuned.causal.gradient_checkpointing_enable({"use_reentrant": False})
    tuned.train()
    for text, start in enumerate(STARTS):
        tuned.zero_grad()
        tuned(TEXTS[text : text + 1]).square().sum().backward()
        grads = [parameter.grad for parameter in tuned.parameters()]
        assert all(grad is not None for grad in grads)
        moved = any(bool((grad != 0).any()) for grad in grads if grad is not None)
        assert moved == (start is not None)


def test_a_text_without_it_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    tuned = shaken()
    with caplog.at_level(logging.WARNING, "adwright"):
        logits_of(tuned, TEXTS[:2])
        assert not caplog.records
        for _ in range(2):
            logits_of(tuned, TEXTS)
    assert [record.getMessage() for record in caplog.records] == [
        "1 of 4 texts lack the invocation [5, 6] of the adapter: the base answers them"
    ]


def test_cannot_be_merged_and_by_itself_is_the_base() -> None:
    tuned = shaken()
    with pytest.raises(ConfigError, match="cannot be folded"):
        tuned.merge()
    module = tuned.places(("q_proj",))[0].linear
    assert isinstance(module, ActivatedLinear)
    with pytest.raises(ConfigError, match="cannot be folded"):
        module.weight_update()
    with torch.no_grad():
        assert torch.equal(tuned.causal(TEXTS).logits, base_logits(TEXTS))


def test_the_invocation_may_be_a_text_or_what_the_chat_template_says(tmp_path: Path) -> None:
    def encode(text: str) -> list[int]:
        return [ord(letter) - ord("a") for letter in text]

    assert ActivatedLoRA(invocation="bc").in_tokens(encode).tokens == (1, 2)
    assert ActivatedLoRA().in_tokens(encode, "ed").tokens == (4, 3)
    assert ActivatedLoRA(invocation=(7,)).in_tokens(encode, "ed").tokens == (7,)
    assert LoRA().in_tokens(encode, "ed") == LoRA()
    with pytest.raises(ConfigError, match="no chat template"):
        ActivatedLoRA().in_tokens(encode)
    with pytest.raises(ConfigError, match="no tokens yet"):
        apply(tiny_llama(), ActivatedLoRA(invocation="bc"))
    with pytest.raises(ConfigError, match="tokens from 0 to 63"):
        apply(tiny_llama(), ActivatedLoRA(invocation=(64,)))
    assert method_of({"kind": "alora", "invocation": [3, 4]}) == ActivatedLoRA(invocation=(3, 4))
    tuned = shaken()
    tuned.save(tmp_path / "part")
    assert torch.equal(
        logits_of(load_tuned(tiny_llama(), tmp_path / "part"), TEXTS), logits_of(tuned, TEXTS)
    )


def test_the_place_of_the_last_one() -> None:
    for text, start in zip(TEXTS.tolist(), STARTS, strict=True):
        assert invoked_from(text, INVOCATION) == start
    assert invoked_from([5], INVOCATION) is None
    assert invoked_from([5, 6], INVOCATION) == 0
