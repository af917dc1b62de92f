"""Layers that are computed again. That a divided base gives the same is in test_tune.py, where
two processes are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from adwright.core.errors import ConfigError

transformers = pytest.importorskip("transformers")

from adwright.training.tuning.tune import answer_loss_of, recomputing, sharding, tune  # noqa: E402  # noqa: E402
from adwright.tuning.additive.adapters import AdaMix, SerialAdapter  # noqa: E402
from adwright.tuning.additive.prompts import PrefixTuning, PromptTuning  # noqa: E402
from adwright.tuning.efficient.memory import AdapterDrop, LadderTuning  # noqa: E402
from adwright.tuning.hybrid import UniPELT  # noqa: E402
from adwright.tuning.methods import Method  # noqa: E402
from adwright.tuning.packing.texts import attends_apart  # noqa: E402
from adwright.tuning.peft_kinds import PeftKind, Wrapped  # noqa: E402
from adwright.tuning.references import FullTuning, HeadOnly  # noqa: E402
from adwright.tuning.reparameterised.lora import DoRA, DyLoRA, LoRA, SoRA  # noqa: E402
from adwright.tuning.tuned import Tuned  # noqa: E402
from tests.support.training.tune_distributed import held_numbers  # noqa: E402
from tests.training.tuning.test_tune import CONFIG, same, texts, tuned, tuned_by, weights  # noqa: E402

METHODS: dict[str, Method] = {
    "lora": LoRA(rank=4),
    "dropout": LoRA(rank=4, dropout=0.3),
    "dora": DoRA(rank=2),
    "dylora": DyLoRA(rank=4),
    "sora": SoRA(rank=4),
    "adamix": AdaMix(size=4),
    "drop": AdapterDrop(drop=1, size=4),
    "serial": SerialAdapter(size=4),
    "prompt": PromptTuning(length=3),
    "prefix": PrefixTuning(length=3),
    "ladder": LadderTuning(reduction=4),
    "unipelt": UniPELT(rank=2, length=3, size=4),
    "full": FullTuning(),
    "head": HeadOnly(),
    "peft": Wrapped(PeftKind.LOHA),
}


def moved(model: Tuned) -> Tuned:
    """Away from the start, where most gradients are zero."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return model.train()


def gradients(model: Tuned) -> tuple[float, dict[str, Tensor | None]]:
    """Of one packed step; torch's generator begins at 2."""
    data = texts(5)
    torch.manual_seed(2)
    model.before_step(3, 10)
    with attends_apart(model.causal):
        loss = answer_loss_of(model, data.packed(range(5)))
        loss.backward()  # type: ignore[no-untyped-call]
    return loss.item(), {name: value.grad for name, value in model.named_parameters()}


def calls(model: Tuned) -> Iterator[int]:
    """How often the first layer has computed, now and whenever asked again."""
    found = [0]
    model.causal.model.layers[0].mlp.register_forward_pre_hook(
        lambda *_: found.__setitem__(0, found[0] + 1)
    )
    while True:
        yield found[0]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_loss_and_gradients_are_those_without(method: Method) -> None:
    wanted, by_name = gradients(moved(tuned_by(method)))
    model = moved(tuned_by(method))
    with recomputing(model):
        found, again = gradients(model)
    assert found == wanted
    assert by_name.keys() == again.keys()
    for name, value in by_name.items():
        one = again[name]
        if value is None:
            # Nothing below the lowest tuned part is asked for a gradient.
            assert one is None, name
        else:
            assert one is not None, name
            torch.testing.assert_close(one, value, rtol=1e-5, atol=1e-7)


def test_layers_compute_twice_and_only_in_training() -> None:
    model = moved(tuned())
    count = calls(model)
    assert next(count) == 0
    gradients(model)
    assert next(count) == 1
    with recomputing(model):
        gradients(model)
        assert next(count) == 3
        gradients(model.eval())
        assert next(count) == 4
    gradients(model.train())
    assert next(count) == 5


def test_a_run_ends_with_the_same_numbers() -> None:
    whole, again = tuned(dropout=0.2), tuned(dropout=0.2)
    wanted = tune(whole, texts(), CONFIG)
    found = tune(again, texts(), replace(CONFIG, checkpoint_layers=True))
    assert same(weights(whole), weights(again))
    assert [line["train_loss"] for line in found.records] == [
        line["train_loss"] for line in wanted.records
    ]
    assert not again.causal.model.layers[0].gradient_checkpointing


def test_layers_that_cannot_are_named() -> None:
    model = tuned()
    model.causal.model.layers[0] = torch.nn.Identity()
    with pytest.raises(ConfigError, match="cannot be computed again"), recomputing(model):
        pass


def test_alone_nothing_is_divided() -> None:
    model = tuned()
    whole = held_numbers(model)
    with sharding(model):
        assert held_numbers(model) == whole
    base = sum(p.numel() for p in model.causal.model.layers.parameters() if not p.requires_grad)
    assert whole == base
