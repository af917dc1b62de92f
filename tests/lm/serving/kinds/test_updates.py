"""Kinds that are a LoRA in disguise, and what stands beside a sublayer, by literal formulas."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adwright.lm.serving.kinds import MapUpdate, update_of
from adwright.tuning.additive.adapters import AdaMix, ParallelAdapter
from adwright.tuning.additive.prompts import PromptTuning
from adwright.tuning.efficient.memory import AdapterDrop
from adwright.tuning.reparameterised.factors import VeRA
from adwright.tuning.reparameterised.lora import DyLoRA, LoRA, MoSLoRA, SoRA
from adwright.tuning.reparameterised.lora_hub import LoRAHub

MAP = nn.Linear(6, 5, bias=False)
RANDOM = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=RANDOM)


def weight(update: MapUpdate) -> Tensor:
    """What is added to the weight of the map [out, in]."""
    assert update.low is not None
    return (update.low[0] @ update.low[1]).T


def test_kin_of_lora() -> None:
    a, b, g, m = drawn(4, 6), drawn(5, 4), drawn(4), drawn(4, 4)
    own = {"a": a, "b": b}
    stabilised = LoRA(rank=4, alpha=8, rank_stabilised=True)
    rows = (
        (LoRA(rank=4, alpha=8), own, 2 * b @ a),
        (stabilised, own, 4 * b @ a),
        (DyLoRA(rank=4, serve=3, alpha=6), own, 2 * b[:, :3] @ a[:3]),
        (DyLoRA(rank=4, alpha=8), own, 2 * b @ a),
        (SoRA(rank=4, alpha=8), own | {"gate": g}, 2 * b @ torch.diag(g) @ a),
        (MoSLoRA(rank=4, alpha=8), own | {"mixer": m}, 2 * b @ m @ a),
    )
    for method, tensors, wanted in rows:
        assert torch.allclose(weight(update_of(method, "q_proj", MAP, tensors)), wanted, atol=1e-5)


def test_what_maps_share() -> None:
    # VeRA's pair is as large as the largest map.
    a, b, d, e = drawn(3, 9), drawn(8, 3), drawn(3), drawn(5)
    own = {"a": a, "b": b, "inner": d, "outer": e}
    wanted = torch.diag(e) @ b[:5] @ torch.diag(d) @ a[:, :6]
    found = update_of(VeRA(rank=3), "q_proj", MAP, own)
    assert torch.allclose(weight(found), wanted, atol=1e-5)
    many, other, w = drawn(2, 3, 6), drawn(2, 5, 3), drawn(2)
    hub = {"a": many, "b": other, "weights": w}
    wanted = 2 * (w[0] * other[0] + w[1] * other[1]) @ (w[0] * many[0] + w[1] * many[1])
    found = update_of(LoRAHub(rank=3, alpha=6), "q_proj", MAP, hub)
    assert torch.allclose(weight(found), wanted, atol=1e-5)


def test_bottlenecks() -> None:
    shapes = {"down": (2, 5), "inner_bias": (2,), "up": (5, 2), "outer_bias": (5,)}
    three = {f"adapter.{name}": drawn(3, *shape) for name, shape in shapes.items()}
    found = update_of(AdaMix(experts=3, size=2), "down_proj", MAP, three)
    assert found.after is not None
    assert torch.allclose(found.after[0], sum(three["adapter.down"]).T / 3)  # type: ignore[arg-type]
    one = {f"adapter.{name}": drawn(*shape) for name, shape in shapes.items()}
    beside = update_of(
        ParallelAdapter(size=2, scale=3.0),
        "down_proj",
        MAP,
        {f"beside.{name}": tensor for name, tensor in one.items()},
    )
    assert beside.after is None
    assert beside.beside is not None
    down, inner, up, outer = beside.beside
    x = drawn(7, 5)
    made = torch.relu(x @ one["adapter.down"].T + one["adapter.inner_bias"])
    wanted = 3 * (made @ one["adapter.up"].T + one["adapter.outer_bias"])
    assert torch.allclose(torch.relu(x @ down + inner) @ up + outer, wanted, atol=1e-5)
    dropped = AdapterDrop(serve=1, size=2)
    assert update_of(dropped, "down_proj", MAP, one, layer=0).empty
    assert not update_of(dropped, "down_proj", MAP, one, layer=1).empty
    assert not update_of(dropped, "down_proj", MAP, one).empty


def test_what_changes_no_map() -> None:
    assert update_of(PromptTuning(), "q_proj", MAP, {}).empty
    assert update_of(LoRA(), "q_proj", MAP, {}).empty
