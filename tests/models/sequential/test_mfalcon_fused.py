"""The packed history, and the compiled tiles beside torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from adwright.core.errors import ValueInvalidError
from adwright.core.vector_code import has_pairs
from adwright.models.sequential.hstu_ranker import HSTURanker, HSTURankerConfig
from adwright.models.sequential.mfalcon import (
    FusedScorer,
    LayerHistory,
    PackedHistory,
    fused_for,
    layer_masks,
    read_history,
    score_candidates,
)
from tests.models.sequential.test_mfalcon import LATE, model_of
from tests.models.sequential.test_mfalcon_cache import person_of
from tests.support.models.sequence_checks import DATA, shake

pairs = pytest.mark.skipif(not has_pairs(), reason="the processor multiplies no bfloat16")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", [0, 1, 16, 37])
@pytest.mark.parametrize("size", [1, 4, 7])
def test_packing_loses_nothing_but_rounding(tokens: int, size: int, dtype: torch.dtype) -> None:
    k, v = torch.randn(tokens, 3, size), torch.randn(tokens, 3, size + 2)
    packed = PackedHistory.of(LayerHistory(k, v, torch.arange(tokens)), dtype)
    assert len(packed) == tokens
    assert torch.equal(packed.k, k.to(dtype).float())
    assert torch.equal(packed.v, v.to(dtype).float())
    assert packed.time is not None
    assert torch.equal(packed.time, torch.arange(tokens))
    assert packed.keys.dtype == packed.values.dtype == dtype


LARGE = HSTURankerConfig(
    width=40,
    max_length=200,
    heads=3,
    qk_width=20,
    v_width=9,
    blocks=3,
    dropout=0.0,
    actions=3,
    tasks=(("any", (1, 2)),),
)


def _large(**change: Any) -> HSTURanker:
    torch.manual_seed(1)
    model = HSTURanker(replace(LARGE, **change), DATA.items, context_sizes=DATA.context_sizes)
    shake(model, 0.1)
    return model.eval()


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"window": 30, "prefix": 21, "context": True},
        {"window": 300, "prefix": 5},
        {"window": 290, "prefix": 150},
        {"truncate_after": 1, "truncate_to": 250, "norm": "group", "concat": True},
    ],
)
@pytest.mark.parametrize("candidates", [1, 8, 113, 300])
def test_many_tiles_equal_torch(change: dict[str, Any], candidates: int) -> None:
    """Tiles begin and end anywhere, in candidates and in tokens."""
    model = _large(**change)
    history = read_history(model, person_of(190))
    codes = torch.arange(candidates) % DATA.items + 1
    masks = layer_masks(model, history, LATE)
    with torch.no_grad():
        wanted = score_candidates(model, history, codes, masks)
    fused = FusedScorer(model)
    found = fused.score(fused.pack(history), codes, masks)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pairs
def test_bfloat16_errs_by_its_rounding() -> None:
    """Every product is rounded by 2^-9 of itself; of many, errors cancel."""
    model = _large()
    history = read_history(model, person_of(190))
    codes, masks = torch.arange(1, DATA.items + 1), layer_masks(model, history, LATE)
    found = []
    for bfloat16 in (False, True):
        fused = FusedScorer(model, bfloat16=bfloat16)
        found.append(fused.score(fused.pack(history), codes, masks))
    error = (found[0] - found[1]).square().mean().sqrt() / found[0].square().mean().sqrt()
    assert 1e-5 < float(error) < 2**-8


def test_what_was_not_packed_is_refused() -> None:
    model = model_of()
    history = read_history(model, person_of(5))
    with pytest.raises(ValueInvalidError, match="packed"):
        FusedScorer(model).score(
            history, torch.ones(1, dtype=torch.long), layer_masks(model, history, 0)
        )


def test_another_type_has_no_tiles() -> None:
    assert fused_for(model_of())
    assert not fused_for(model_of().double())
