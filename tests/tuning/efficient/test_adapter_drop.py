"""AdapterDrop: which layers have adapters when."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.tuning.efficient.memory import AdapterDrop, DropSchedule
from adwright.tuning.methods import apply, load_tuned
from tests.support.lm.tuning_methods import logits_of, loss_of, shake, tiny_llama


def test_served_layers_are_left_out_and_the_rest_is_the_serial_adapter() -> None:
    kept = apply(tiny_llama(), AdapterDrop(serve=1, size=4))
    shake(kept)
    whole = apply(tiny_llama(), AdapterDrop(size=4))
    shake(whole)
    for place in whole.places(("o_proj", "down_proj")):
        if place.layer == 0:
            place.linear.adapter.up.data.zero_()
            place.linear.adapter.outer_bias.data.zero_()
    assert torch.allclose(logits_of(kept), logits_of(whole), atol=1e-6)


def test_steps_draw_and_repeat() -> None:
    tuned = apply(tiny_llama(), AdapterDrop(drop=1, size=4))
    first = tuned.places(("down_proj",))[0].linear
    assert isinstance(tuned.schedule, DropSchedule)

    def drawn() -> list[bool]:
        found = []
        for step in range(12):
            tuned.before_step(step, 12)
            found.append(first.active)
            tuned.after_step(step, 12)
            assert first.active
        return found

    once = drawn()
    assert set(once) == {False, True}
    assert drawn() == once


def drawn_layers(method: AdapterDrop, steps: int = 40) -> set[int]:
    """How many layers each step leaves out."""
    tuned = apply(tiny_llama(), method)
    found = set()
    for step in range(steps):
        tuned.before_step(step, steps)
        active = [place.linear.active for place in tuned.places(("down_proj",))]
        assert active == sorted(active)
        found.add(active.count(False))
    return found


def test_by_default_all_layers_but_one_are_left_out_at_most() -> None:
    assert drawn_layers(AdapterDrop(size=4)) == {0, 1}
    assert drawn_layers(AdapterDrop(drop=1, size=4)) == {0, 1}
    assert drawn_layers(AdapterDrop(drop=0, size=4)) == {0}


@pytest.mark.parametrize("drop", [None, 0, 1])
def test_what_was_dropped_is_stored(drop: int | None, tmp_path: Path) -> None:
    method = AdapterDrop(drop=drop, size=4)
    tuned = apply(tiny_llama(), method)
    assert tuned.count() == method.count(tuned.sizes) == AdapterDrop(size=4).count(tuned.sizes)
    tuned.save(tmp_path / "part")
    assert load_tuned(tiny_llama(), tmp_path / "part").method == method


def test_below_the_first_adapter_there_is_no_gradient() -> None:
    tuned = apply(tiny_llama(), AdapterDrop(drop=1, size=4))
    tuned.schedule.leave_out(1)
    seen: list[bool] = []
    tuned.layers()[0].register_forward_hook(lambda module, x, y: seen.append(y.requires_grad))
    loss_of(tuned).backward()
    assert seen == [False]


def test_not_all_layers_can_be_left_out() -> None:
    with pytest.raises(ConfigError, match="at most 1 layers"):
        apply(tiny_llama(), AdapterDrop(drop=2))
    with pytest.raises(ConfigError, match="drop must not be negative"):
        AdapterDrop(drop=-1)
