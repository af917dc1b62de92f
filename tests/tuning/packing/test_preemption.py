"""The places at which a tuning step is interrupted."""

from __future__ import annotations

import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.tuning.packing.texts import answer_loss, attends_apart, pack

pytest.importorskip("transformers")

from adwright.tuning.methods import apply
from adwright.tuning.packing.texts import between_layers
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.tiny_llama import tiny_llama


def test_it_is_asked_before_each_layer_and_back() -> None:
    tuned = apply(tiny_llama(), LoRA(rank=2))
    packed = pack([((3, 4, 5), (6, 1)), ((7, 8), (9, 1))])
    seen: list[tuple[str, bool, bool]] = []

    def call(place: str) -> None:
        seen.append((place, torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")))

    def step() -> torch.Tensor:
        tuned.zero_grad()
        with attends_apart(tuned.causal):
            with torch.autocast("cpu", torch.bfloat16):
                hidden = tuned(packed.ids[None], position_ids=packed.places()[None])[0]
                loss = answer_loss(hidden, tuned.causal.lm_head, packed)
            loss.backward()
        return loss.detach()

    with between_layers(tuned.causal, call):
        loss = step()
    assert [place for place, *_ in seen] == [
        "forward 0",
        "forward 1",
        "forward 2",
        "head",
        "backward head",
        "backward 2",
        "backward 1",
        "backward 0",
    ]
    assert not any(grad or autocast for _, grad, autocast in seen)
    wanted = [parameter.grad.clone() for parameter in tuned.parameters()]
    seen.clear()
    assert torch.equal(step(), loss)
    assert not seen
    assert all(torch.equal(p.grad, w) for p, w in zip(tuned.parameters(), wanted, strict=True))


def test_without_gradients_only_the_way_there() -> None:
    model, seen = tiny_llama(), list[str]()
    with torch.no_grad(), between_layers(model, seen.append):
        model(input_ids=torch.tensor([[1, 2, 3]]))
    assert seen == ["forward 0", "forward 1", "forward 2", "head"]


def test_another_kind_of_model_is_refused() -> None:
    with (
        pytest.raises(ConfigError, match="Llama-type"),
        between_layers(torch.nn.Linear(2, 2), lambda place: None),
    ):
        pass
