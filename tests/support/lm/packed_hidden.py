"""The hidden states [T, D] of packed texts, after the last layer and norm."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from adwright.tuning.packing.texts import Packed, attends_apart


def packed_hidden(model: Any, packed: Packed) -> Tensor:
    with attends_apart(model):
        found = model.get_decoder()(
            input_ids=packed.ids[None], position_ids=packed.places()[None], use_cache=False
        )
    hidden: Tensor = found.last_hidden_state[0]
    return hidden
