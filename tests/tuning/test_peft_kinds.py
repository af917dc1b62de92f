"""Counts and settings of peft's kinds; that they train is tested in `test_methods`."""

from __future__ import annotations

import pytest

from adwright.core.errors import ConfigError
from adwright.tuning.methods import apply
from adwright.tuning.modules import Sizes, Target
from adwright.tuning.peft_kinds import (
    PROMPTS,
    PeftKind,
    PeftSettings,
    Wrapped,
    adalora_schedule,
    count_of,
    peft_config,
)
from tests.support.lm.tuning_methods import tiny_llama

#: Kinds whose count depends on rank and targets.
_RANKED = [
    kind
    for kind in PeftKind
    if kind not in (*PROMPTS, PeftKind.NORMS, PeftKind.TOKENS, PeftKind.VBLORA, PeftKind.C3A)
]


@pytest.mark.parametrize("kind", _RANKED)
@pytest.mark.parametrize(("rank", "target"), [(3, "up_proj"), (5, "k_proj"), (2, "down_proj")])
def test_counts_hold_for_other_ranks_and_shapes(kind: PeftKind, rank: int, target: Target) -> None:
    if kind is PeftKind.GRALORA:
        rank += rank % 2  # it wants an even one
    method = Wrapped(kind, rank=rank, targets=(target,), block=4, number=6)
    tuned = apply(tiny_llama(), method)
    assert tuned.count() == count_of(method, tuned.sizes)


def test_counts_of_kinds_without_a_rank() -> None:
    sizes = Sizes.of(tiny_llama())
    assert count_of(PeftSettings(PeftKind.NORMS), sizes) == 5 * 32
    assert count_of(PeftSettings(PeftKind.TOKENS, tokens=(1, 2)), sizes) == 64
    assert count_of(PeftSettings(PeftKind.C3A, block=8, targets=("up_proj",)), sizes) == 2 * 192


def test_adalora_follows_the_steps() -> None:
    import peft

    settings = PeftSettings(PeftKind.ADALORA, rank=4, steps=200)
    config = peft_config(settings, peft, width=32, seed=0)
    assert (config.init_r, config.target_r, config.total_step) == (6, 4, 200)
    assert config.tinit < 200 - config.tfinal


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 99, 5000])
def test_adalora_has_time_for_each_of_its_parts(steps: int) -> None:
    found = adalora_schedule(steps)
    first, last = found["tinit"], found["tfinal"]
    assert found["total_step"] == steps
    assert 0 <= first < steps - last
    assert last >= min(1, steps - 1)
    assert found["deltaT"] >= 1
    # peft takes it.
    apply(tiny_llama(), Wrapped(PeftKind.ADALORA, rank=2, steps=steps, targets=("q_proj",)))


def test_settings_check_themselves() -> None:
    with pytest.raises(ConfigError, match="rank must be at least 1"):
        PeftSettings(rank=0)
    with pytest.raises(ConfigError, match="no word is named"):
        PeftSettings(tokens=())
