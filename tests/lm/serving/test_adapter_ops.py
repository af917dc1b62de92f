"""Spans of picked matrices against the literal loop over tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from adwright.lm.serving.adapter_cache import AdapterCache, BaseMaps, grain_of
from adwright.lm.serving.adapter_ops import RowOps, Stretch
from adwright.lm.serving.kinds import MapUpdate
from adwright.lm.serving.prefixes import PagePool, PageShape
from adwright.tuning.additive.adapters import activated
from adwright.tuning.modules import LINEAR
from tests.support.lm.adapter_engine import PARTS, saved_parts
from tests.support.lm.tiny_llama import tiny_llama

BASE = BaseMaps.of(tiny_llama())
GRAIN = grain_of(BASE.sizes)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return saved_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def held(folders: dict[str, Path]) -> tuple[PagePool, AdapterCache]:
    pool = PagePool(PageShape.of(BASE.sizes, 4), 200)
    cache = AdapterCache(BASE, pool)
    for name, folder in folders.items():
        cache.add(name, folder)
        cache.acquire(name)
    return pool, cache


def ops_of(held: tuple[PagePool, AdapterCache], rows: list[tuple[str | None, int, bool]]) -> RowOps:
    pool, cache = held
    stretches = [
        Stretch(None if name is None else cache.acquire(name), tokens, is_alone)
        for name, tokens, is_alone in rows
    ]
    stride = pool.shape.slice // GRAIN
    return RowOps(stretches, pool.grains(GRAIN), stride, BASE.sizes.shapes)


def literally(small: MapUpdate, x: Tensor, weight: Tensor) -> Tensor:
    """One token [in] to [out]: the equation of `gathered`."""
    if small.before is not None:
        x = small.before * x
    y = weight @ x
    if small.factor is not None:
        y = small.factor * y
    if small.low is not None:
        y = y + (x @ small.low[0]) @ small.low[1]
    if small.shift is not None:
        y = y + small.shift
    if small.after is not None:
        down, inner, up, outer = small.after
        y = y + activated(y @ down + inner[0], small.activation) @ up + outer[0]
    return y


BATCHES: dict[str, list[tuple[str | None, int, bool]]] = {
    "every kind": [(name, 1, False) for name in PARTS] + [(None, 1, False)],
    "one part": [("lora", 1, False)] * 4,
    "uneven": [("lora", 1, False)] * 3 + [("lora-few", 1, False)] * 1,
    "even": [("lora", 1, False)] * 2 + [("lora-few", 1, False)] * 4,
    "with prompts": [
        ("lora", 1, False),
        ("ssf", 1, False),
        ("lora", 5, True),
        (None, 3, True),
        ("houlsby", 4, True),
        ("houlsby", 2, True),
    ],
    "nothing between": [("lora", 1, False), (None, 1, False), ("lora-wide", 1, False)],
    "none": [(None, 1, False)],
}


@pytest.mark.parametrize("kind", BATCHES)
def test_is_the_equation_token_by_token(
    kind: str, held: tuple[PagePool, AdapterCache], folders: dict[str, Path]
) -> None:
    rows = BATCHES[kind]
    ops = ops_of(held, rows)
    owners = [name for name, tokens, _ in rows for _ in range(tokens)]
    updates = {name: BASE.updates(BASE.read(folder)) for name, folder in folders.items()}
    generator = torch.Generator().manual_seed(2)
    for layer in (0, 2):
        seen: dict[int, Tensor] = {}
        for target in LINEAR:
            name = next(at for at in BASE.linears if f".{layer}." in at and at.endswith(target))
            weight = BASE.linears[name][1].weight
            # Maps that see the same x are given the same tensor, as in the network.
            width = weight.shape[1] + (1 << 20) * (target in ("o_proj", "gate_proj", "up_proj"))
            if width not in seen or target == "gate_proj":
                seen[width] = torch.randn(1, len(owners), weight.shape[1], generator=generator)
            x = seen[width]
            before = x.clone()
            shown = ops.before(layer, target, x)
            y = torch.nn.functional.linear(shown, weight)
            ops.after(layer, target, shown, y)
            assert torch.equal(x, before)
            for at, owner in enumerate(owners):
                small = MapUpdate() if owner is None else updates[owner].get(name, MapUpdate())
                wanted = literally(small, x[0, at], weight)
                assert torch.allclose(y[0, at], wanted, atol=1e-5), (target, owner)


def test_what_is_picked(held: tuple[PagePool, AdapterCache]) -> None:
    one = ops_of(held, [("lora", 1, False)] * 4).picked_bytes
    both = ops_of(held, [("lora", 1, False)] * 2 + [("lora-few", 1, False)] * 2).picked_bytes
    assert one == 4 * 3 * sum(i + o for o, i in BASE.sizes.shapes.values())
    # At q, v and up rank 3 is filled up to 4; elsewhere the second part is filled up with zeros.
    ranks = {target: 4 if target in ("q_proj", "v_proj", "up_proj") else 3 for target in LINEAR}
    assert both == 2 * 4 * sum(ranks[t] * (i + o) for t, (o, i) in BASE.sizes.shapes.items())
    assert ops_of(held, [(None, 1, False)]).picked_bytes == 0


def test_maps_where_nothing_happens(held: tuple[PagePool, AdapterCache]) -> None:
    ops = ops_of(held, [("ia3", 1, False)])
    assert [target for target in LINEAR if not ops.idle(target)] == [
        "k_proj",
        "v_proj",
        "down_proj",
    ]


def test_a_second_pass_picks_anew(held: tuple[PagePool, AdapterCache]) -> None:
    pool, cache = held
    ops = ops_of(held, [("bitfit", 1, False)])
    x, y = torch.zeros(1, 1, 48), torch.zeros(1, 1, 48)
    ops.after(0, "q_proj", x, y)
    ops.done()
    hot = cache.acquire("bitfit")
    assert hot is not None
    own = pool.tensor[hot.pages[0], 0]
    own += 1
    again = torch.zeros(1, 1, 48)
    ops.after(0, "q_proj", x, again)
    own -= 1
    assert torch.allclose(again, y + 1)
