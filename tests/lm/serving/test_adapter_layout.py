from __future__ import annotations

import pytest
import torch

from adwright.lm.serving.adapter_cache import BaseMaps, Layout, grain_of, image, layout_of
from adwright.lm.serving.kinds import GatheredMethod
from adwright.lm.serving.prefixes import PageShape
from adwright.tuning.additive.adapters import SerialAdapter
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.adapter_engine import PARTS, saved_parts
from tests.support.lm.tiny_llama import tiny_llama

BASE = BaseMaps.of(tiny_llama())
GRAIN = grain_of(BASE.sizes)
SHAPE = PageShape.of(BASE.sizes, 4)


def rows_of(
    layout: Layout, pages: torch.Tensor, layer: int, target: str, name: str
) -> torch.Tensor:
    """Literally: the record of a layer goes through all pages; a piece lies in it."""
    record = torch.cat([page[layer] for page in pages])
    piece = layout.matrices[target, name]  # type: ignore[index]
    start = piece.first * GRAIN
    rows = [
        record[start + row * piece.grains * GRAIN :][: piece.grains * GRAIN]
        for row in range(piece.rows)
    ]
    return torch.stack(rows)


def test_the_grain_divides_every_width() -> None:
    assert GRAIN == 24
    assert SHAPE.slice % GRAIN == 0


@pytest.mark.parametrize("kind", PARTS)
def test_every_number_lies_where_the_layout_says(
    kind: str, tmp_path: pytest.TempPathFactory
) -> None:
    method = PARTS[kind]
    folder = saved_parts(tmp_path, {kind: method})[kind]  # type: ignore[arg-type]
    part = BASE.read(folder)
    updates = BASE.updates(part)
    layout = layout_of(method, BASE.sizes, GRAIN)
    pages = image(layout, updates, SHAPE, GRAIN, torch.float32)
    assert pages.shape == (layout.pages(SHAPE, GRAIN), 3, SHAPE.slice)
    seen = 0
    for name, small in updates.items():
        layer, target = int(name.split(".")[2]), name.split(".")[-1]
        wanted: dict[str, torch.Tensor] = {}
        if small.low is not None:
            wanted |= {"a": small.low[0].T, "b": small.low[1]}
        if small.factor is not None:
            wanted["factor"] = small.factor[None] - 1
        if small.before is not None:
            wanted["before"] = small.before[None] - 1
        if small.shift is not None:
            wanted["shift"] = small.shift[None]
        if small.after is not None:
            wanted |= dict(zip(("down", "inner", "up", "outer"), small.after, strict=True))
            wanted["down"] = wanted["down"].T
        for piece, tensor in wanted.items():
            rows = rows_of(layout, pages, layer, target, piece)
            assert torch.equal(rows[:, : tensor.shape[1]], tensor)
            assert not rows[:, tensor.shape[1] :].any()
            seen += rows.numel()
    assert seen == 3 * layout.grains * GRAIN


def test_like_kinds_stand_together() -> None:
    def order(method: GatheredMethod) -> tuple[int, int, str]:
        return layout_of(method, BASE.sizes, GRAIN).order

    assert order(LoRA(rank=5)) == order(LoRA(rank=8, targets=("q_proj",)))
    assert order(LoRA(rank=8)) < order(LoRA(rank=9))
    assert order(SerialAdapter(activation="gelu")) != order(SerialAdapter(activation="silu"))
    kinds = {type(method) for method in PARTS.values()}
    assert len({order(method)[0] for method in PARTS.values()}) == len(kinds)
