"""RowWiseAdamW equals its formula, number by number, and keeps few bytes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adwright.core.errors import ConfigError
from adwright.training.loop.optimisers import BLOCK, RowWiseAdamW

SETTINGS: dict[str, Any] = {
    "learning_rate": 0.03,
    "betas": (0.8, 0.9),
    "eps": 1e-3,
    "weight_decay": 0.5,
}
ROWS, WIDTH = 7, 5


def table(rows: int = ROWS, width: int = WIDTH, seed: int = 0) -> nn.Parameter:
    generator = torch.Generator().manual_seed(seed)
    return nn.Parameter(torch.randn(rows, width, generator=generator))


def gradients(steps: int, rows: int = ROWS, width: int = WIDTH) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(steps, rows, width, generator=generator)


def sparse(gradient: Tensor, rows: list[int]) -> Tensor:
    """The rows of a gradient as a batch gives them: in two parts, in no order."""
    at = torch.tensor([*reversed(rows), *rows])
    values = torch.cat([gradient[list(reversed(rows))] * 0.25, gradient[rows] * 0.75])
    return torch.sparse_coo_tensor(at[None], values, gradient.shape, check_invariants=True)


def literal(weight: Tensor, steps: list[tuple[Tensor, list[int]]], kept: Any) -> list[list[float]]:
    """The formula one number after another in double precision; of each step the gradient and
    the rows that have one. kept: how a first moment is kept."""
    lr, (b1, b2) = SETTINGS["learning_rate"], SETTINGS["betas"]
    eps, decay = SETTINGS["eps"], SETTINGS["weight_decay"]
    table: list[list[float]] = weight.tolist()
    for j, row in enumerate(table):
        mean, square, last = [0.0] * len(row), 0.0, 0
        for t, (gradient, rows) in enumerate(steps, 1):
            if j not in rows:
                continue
            if last:
                n, r = t - 1 - last, b1 / math.sqrt(b2)
                reach = sum(r**i for i in range(1, n + 1))
                size = math.sqrt(square / (1 - b2**last)) + eps
                for d in range(len(row)):
                    row[d] *= (1 - lr * decay) ** n
                    row[d] -= reach * lr * mean[d] / (1 - b1**last) / size
                    mean[d] *= b1**n
                square *= b2**n
            else:
                for d in range(len(row)):
                    row[d] *= (1 - lr * decay) ** (t - 1)
            g = gradient[j].tolist()
            square = b2 * square + (1 - b2) * sum(x * x for x in g) / len(g)
            size = math.sqrt(square / (1 - b2**t)) + eps
            for d in range(len(row)):
                row[d] *= 1 - lr * decay
                fresh = b1 * mean[d] + (1 - b1) * g[d]
                row[d] -= lr * fresh / (1 - b1**t) / size
                mean[d] = kept(fresh)
            last = t
    return table


def as_bfloat16(x: float) -> float:
    return float(torch.tensor(x).bfloat16())


def run(optimiser: RowWiseAdamW, weight: Tensor, steps: list[tuple[Tensor, list[int]]]) -> None:
    for gradient, rows in steps:
        weight.grad = gradient if len(rows) == len(weight) else sparse(gradient, rows)
        optimiser.step()


@pytest.mark.parametrize("kind", ["dense", "sparse", "both"])
@pytest.mark.parametrize("moment", ["float32", "bfloat16"])
def test_each_step_is_that_of_the_formula(moment: Any, kind: str) -> None:
    weight, everything = table(), list(range(ROWS))
    start = weight.detach().clone()
    steps = [
        (gradient, everything if kind == "dense" or (kind == "both" and t % 4 > 1) else rows)
        for t, (gradient, rows) in enumerate(
            zip(gradients(12), [[0, 1 + t % 3, 4] for t in range(12)], strict=True)
        )
    ]
    run(RowWiseAdamW([weight], moment=moment, **SETTINGS), weight, steps)
    wanted = torch.tensor(
        literal(start, steps, as_bfloat16 if moment == "bfloat16" else float), dtype=torch.float64
    )
    # A moment near the middle between two bfloat16 may go either way.
    close = {"rtol": 1e-5, "atol": 1e-6} if moment == "float32" else {"rtol": 1e-3, "atol": 5e-4}
    torch.testing.assert_close(weight.detach().double(), wanted, **close)
    # Rows that never occurred are as they were, also without their decay.
    assert torch.equal(weight[5:], start[5:]) == (kind == "sparse")


def test_rows_of_one_number_are_those_of_adamw() -> None:
    ours, theirs = table(width=1), table(width=1)
    optimiser = RowWiseAdamW([ours], moment="float32", **SETTINGS)
    settings = {key: value for key, value in SETTINGS.items() if key != "learning_rate"}
    adamw = torch.optim.AdamW([theirs], lr=SETTINGS["learning_rate"], **settings)
    for gradient in gradients(30, width=1):
        ours.grad, theirs.grad = gradient, gradient.clone()
        optimiser.step()
        adamw.step()
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("moment", ["float32", "bfloat16"])
def test_what_rows_missed_is_what_zeros_would_have_done(moment: Any) -> None:
    """After the first steps, whose corrections change fast, with one settle at the end."""
    settings = {**SETTINGS, "eps": 1e-8, "learning_rate": 1e-3}
    lazy, eager = table(), table()
    few, all_rows = (RowWiseAdamW([w], moment=moment, **settings) for w in (lazy, eager))
    everything = list(range(ROWS))
    for t, gradient in enumerate(gradients(120)):
        rows = everything if t < 60 else [row for row in everything if (t + row) % 9 == 0]
        if not rows:
            continue
        present = torch.zeros_like(gradient)
        present[rows] = gradient[rows]
        lazy.grad, eager.grad = sparse(gradient, rows), present
        few.step()
        all_rows.step()
        if t == 59:
            before = eager.detach().clone()
    moved = float((eager.detach() - before).norm())
    behind = float((lazy - eager).detach().norm())
    few.settle()
    assert float((lazy - eager).detach().norm()) < min(0.02 * moved, 0.2 * behind)
    for name in ("mean", "square"):
        difference = few.state[lazy][name].float() - all_rows.state[eager][name].float()
        assert float(difference.norm()) < 0.02 * float(all_rows.state[eager][name].float().norm())
    once = lazy.detach().clone()
    few.settle()
    all_rows.settle()
    assert torch.equal(once, lazy)


def test_bytes_of_state() -> None:
    weight = table(1000, 64)
    for moment, each in (("bfloat16", 2.0), ("float32", 4.0)):
        optimiser = RowWiseAdamW([weight], moment=moment, **SETTINGS)  # type: ignore[arg-type]

        def kept(state: dict[str, Tensor]) -> float:
            held = sum(x.numel() * x.element_size() for x in state.values() if x.dim())
            return held / weight.numel()

        run(optimiser, weight, [(torch.ones(1000, 64), list(range(1000)))])
        assert kept(optimiser.state[weight]) == each + 4 / 64
        run(optimiser, weight, [(torch.ones(1000, 64), [3, 4])])
        assert kept(optimiser.state[weight]) == each + 8 / 64


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("wide", [False, True])
def test_a_state_is_taken_up_with_the_same_bits(kind: str, wide: bool) -> None:
    rows = list(range(ROWS)) if kind == "dense" else [1, 4]
    steps = [(gradient, rows) for gradient in gradients(6)]
    straight, cut = table(), table()
    run(RowWiseAdamW([straight], **SETTINGS), straight, steps)
    first = RowWiseAdamW([cut], **SETTINGS)
    run(first, cut, steps[:3])
    saved = first.state_dict()
    if wide:
        # As a file without bfloat16 gives it back.
        values = saved["state"][0]
        saved["state"] = {0: {name: value.double() for name, value in values.items()}}
    again = RowWiseAdamW([cut], learning_rate=1.0)
    again.load_state_dict(saved)
    assert again.param_groups[0]["lr"] == SETTINGS["learning_rate"]
    for name, value in first.state[cut].items():
        assert again.state[cut][name].dtype == value.dtype
        assert again.state[cut][name].data_ptr() != value.data_ptr()
    run(again, cut, steps[3:])
    assert torch.equal(straight, cut)


def test_large_tables_are_updated_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = table(40, 6), table(40, 6)
    steps = [(gradient, list(range(40))) for gradient in gradients(3, 40, 6)]
    run(RowWiseAdamW([whole], **SETTINGS), whole, steps)
    monkeypatch.setattr("adwright.training.loop.optimisers.BLOCK", 6 * 7)
    run(RowWiseAdamW([parts], **SETTINGS), parts, steps)
    assert torch.equal(whole, parts)
    assert BLOCK > 6 * 40


def test_what_has_no_gradient_stays() -> None:
    still, moved = table(seed=1), table(seed=2)
    before = still.detach().clone()
    optimiser = RowWiseAdamW([still, moved], **SETTINGS)
    moved.grad = torch.ones(ROWS, WIDTH)
    optimiser.step()
    assert torch.equal(still, before)
    nothing = RowWiseAdamW([], learning_rate=0.1)
    nothing.step()
    nothing.load_state_dict(nothing.state_dict())


@pytest.mark.parametrize("name", ["learning_rate", "betas", "eps", "weight_decay"])
def test_each_setting_changes_the_weights(name: str) -> None:
    changed = {"learning_rate": 0.01, "betas": (0.5, 0.9), "eps": 0.1, "weight_decay": 0.0}
    steps = [(gradient, [0, 1]) for gradient in gradients(3)]
    one, other = table(), table()
    run(RowWiseAdamW([one], **SETTINGS), one, steps)
    run(RowWiseAdamW([other], **(SETTINGS | {name: changed[name]})), other, steps)
    assert not torch.allclose(one, other)


def test_what_does_not_fit_is_refused() -> None:
    for wrong in (
        {"learning_rate": 0.0},
        {"weight_decay": -0.1},
        {"learning_rate": 0.5, "weight_decay": 2.0},
        {"betas": (0.9, 0.8)},
        {"betas": (0.9, 1.0)},
        {"betas": (-0.1, 0.9)},
        {"eps": 0.0},
    ):
        with pytest.raises(ConfigError):
            RowWiseAdamW([table()], **(SETTINGS | wrong))
    for shape in (torch.ones(3), torch.ones(3, 2, dtype=torch.float64)):
        with pytest.raises(ConfigError, match="tables"):
            RowWiseAdamW([nn.Parameter(shape)], **SETTINGS)
    state = RowWiseAdamW([table()], **SETTINGS).state_dict()
    for others in ([table(rows=3)], [table(), table()]):
        optimiser = RowWiseAdamW(others, **SETTINGS)
        saved = {**state, "param_groups": optimiser.state_dict()["param_groups"]}
        with pytest.raises(ConfigError, match="other tables"):
            optimiser.load_state_dict(saved)
