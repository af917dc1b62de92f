"""What is expected of a file is what a tuned model saves."""

from __future__ import annotations

from pathlib import Path

import pytest

from adwright.lm.serving.adapter_cache import BaseMaps
from adwright.lm.serving.kinds import GATHERED, GatheredMethod, is_gathered, shared_of, stored_as
from adwright.tuning.peft_kinds import PROMPTS, PeftKind, Wrapped
from tests.support.lm.tuning_methods import OURS, WRAPPED, attached, tiny_llama

BASE = BaseMaps.of(tiny_llama())
KINDS = tuple(GATHERED.values())
HELD: dict[str, GatheredMethod] = {
    name: method
    for name, method in (OURS | WRAPPED).items()
    if isinstance(method, KINDS) and is_gathered(method)
}


@pytest.mark.parametrize("name", HELD)
def test_names_and_shapes(name: str, tmp_path: Path) -> None:
    method = HELD[name]
    maps = BASE.expected(method)
    found = {stored_as(at, key): t.shape for at, own in maps.items() for key, t in own.items()}
    shared = {key: tensor.shape for key, tensor in shared_of(method, BASE.sizes).items()}
    saved = {key: tensor.shape for key, tensor in attached(method, tmp_path).state().items()}
    ahead = {key: shape for key, shape in saved.items() if ".prefix." in key or "outer." in key}
    beside = {key: shape for key, shape in saved.items() if key not in found and key not in ahead}
    assert found.items() <= saved.items()
    # What is left over is what the maps share, stored once.
    assert {key.rpartition(".")[-1]: shape for key, shape in beside.items()} == shared


def test_every_kind_is_tried() -> None:
    assert {type(method) for method in HELD.values()} == set(KINDS)


def test_of_peft_only_prompts_are_gathered() -> None:
    for kind in PeftKind:
        assert is_gathered(Wrapped(kind)) == (kind in PROMPTS)
