"""SASRec: parity with the formulas, and what every sequential model has to show."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adwright.core.errors import ConfigError
from adwright.data.batches.jagged import lengths_to_offsets
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.models.kernels.attention_spec import dropped_attention
from adwright.models.sequential import hstu as sasrec
from adwright.models.sequential.hstu import SASRec, SASRecConfig, causal_attention
from adwright.models.sequential.losses import LossConfig
from tests.support.models.sequence_checks import (
    DATA,
    LONGEST,
    batch_of,
    check_causal,
    check_company,
    check_empty,
    check_saved,
    check_shapes,
    outcome,
    shake,
)

CONFIG = SASRecConfig(width=8, max_length=LONGEST, blocks=2, heads=2, dropout=0.0)


def _model(config: SASRecConfig = CONFIG, seed: int = 0) -> SASRec:
    torch.manual_seed(seed)
    return SASRec(config, DATA.items, count=DATA.count, context_sizes=DATA.context_sizes)


def _norm(x: Tensor, norm: torch.nn.LayerNorm) -> Tensor:
    scaled = (x - x.mean()) / torch.sqrt(x.var(unbiased=False) + norm.eps)
    return scaled * norm.weight + norm.bias


def _literal(model: SASRec, batch: SequenceBatch) -> Tensor:
    """Block by block and token by token: unit vectors over the temperature, [U, D]."""
    config, given = model.config, model.input
    size = config.width // config.heads
    queries = []
    for one in batch.items.to_lists():
        x = [
            given.item.weight[int(c)] * math.sqrt(config.width) + given.position[n]
            for n, c in enumerate(one)
        ]
        for block in model.blocks:
            parts = [block.qkv(_norm(row, block.norms[0])) for row in x]
            after = []
            for i, row in enumerate(x):
                heads = []
                for h in range(config.heads):
                    part = slice(h * size, (h + 1) * size)
                    q = parts[i][: config.width][part]
                    keys = [p[config.width : 2 * config.width][part] for p in parts[: i + 1]]
                    values = [p[2 * config.width :][part] for p in parts[: i + 1]]
                    scores = torch.stack([q @ k / math.sqrt(size) for k in keys])
                    shares = torch.exp(scores) / torch.exp(scores).sum()
                    heads.append(sum(s * v for s, v in zip(shares, values, strict=True)))
                y = row + block.out(torch.cat(heads))  # type: ignore[arg-type]
                hidden = block.wide(_norm(y, block.norms[1])).clamp(min=0)
                after.append(y + block.narrow(hidden))
            x = after
        last = _norm(x[-1], model.norm)
        queries.append(last / last.norm() / config.loss.temperature)
    return torch.stack(queries)


@pytest.mark.parametrize("change", [{}, {"heads": 1, "hidden": 5}])
def test_it_is_the_papers_block(change: dict[str, object]) -> None:
    model = _model(replace(CONFIG, **change)).double().eval()  # type: ignore[arg-type]
    shake(model)
    batch = batch_of([0, 3, 5])
    with torch.no_grad():
        torch.testing.assert_close(
            model.queries(batch), _literal(model, batch), rtol=1e-8, atol=1e-8
        )


def test_sequences_with_dropout_take_the_kernel_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, float]] = []

    def told(q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
        asked.append((q.shape[2], dropout))
        return dropped_attention(q, k, v, dropout)

    monkeypatch.setattr(sasrec, "dropped_attention", told)
    lengths = torch.tensor([3, 0, 16, 9])
    q, k, v = torch.randn(3, int(lengths.sum()), 2, 4).requires_grad_().unbind()
    offsets = lengths_to_offsets(lengths)
    found = causal_attention(q, k, v, offsets, dropout=0.5)
    assert found.shape == v.shape
    assert {length for length, _ in asked} >= {8, 16}
    assert {dropout for _, dropout in asked} == {0.5}
    # Without dropout, or where all of it is kept, the numbers are those of torch's own.
    asked.clear()
    plain = causal_attention(q, k, v, offsets)
    assert not asked
    torch.testing.assert_close(causal_attention(q, k, v, offsets, dropout=1e-9), plain)


def test_it_speaks_of_every_event() -> None:
    events = int(batch_of([0, 1, 2]).items.offsets[-1])
    check_shapes(_model(), events)
    check_shapes(_model(replace(CONFIG, context=True)), events)


@pytest.mark.parametrize("context", [False, True])
def test_a_sequence_is_the_same_alone_and_in_company(context: bool) -> None:
    check_company(_model(replace(CONFIG, context=context)))
    check_empty(_model(replace(CONFIG, context=context)))


def test_what_comes_later_changes_nothing_before() -> None:
    check_causal(_model())


def test_a_mask_that_sees_one_event_ahead_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def leaky(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, *, dropout: float) -> Tensor:
        ahead = [torch.roll(one, -1, 0) for one in (k, v)]
        return causal_attention(q, *ahead, offsets, dropout=dropout)

    monkeypatch.setattr(sasrec, "causal_attention", leaky)
    with pytest.raises(AssertionError):
        check_causal(_model())


def test_it_reads_no_times() -> None:
    batch = batch_of([3])
    model = _model().eval()
    assert torch.equal(
        model.queries(batch), model.queries(replace(batch, time=None, next_time=None))
    )


def test_an_artifact_gives_back_the_same_numbers(tmp_path: Path) -> None:
    check_saved(_model(), _model, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 4},
        {"max_length": 17},
        {"blocks": 1},
        {"heads": 1},
        {"dropout": 0.3},
        {"context": True},
        {"loss": LossConfig(temperature=0.1)},
        {"hidden": 5},
        {"attention_dropout": 0.3},
    ],
)
def test_every_field_changes_the_loss(change: dict[str, object]) -> None:
    before, _ = outcome(_model())
    after, _ = outcome(_model(replace(CONFIG, **change)))  # type: ignore[arg-type]
    assert before != after


@pytest.mark.parametrize("wrong", [{"heads": 3}, {"blocks": 0}, {"attention_dropout": 1.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        replace(CONFIG, **wrong)  # type: ignore[arg-type]
