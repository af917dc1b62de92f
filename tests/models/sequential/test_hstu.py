"""HSTU: parity with the formulas, who sees whom, and what every sequential model has to show."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.models.kernels.attention_spec import AttentionSpec
from adwright.models.kernels.silu_attention import silu_attention
from adwright.models.sequential import hstu
from adwright.models.sequential.hstu import HSTU, HSTUConfig, HSTUStack
from adwright.models.sequential.losses import LossConfig
from adwright.models.sequential.sequence_model import SequenceTokens
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

# A kernel that needs no compilation.
CONFIG = HSTUConfig(
    width=8,
    max_length=LONGEST,
    blocks=2,
    heads=2,
    qk_width=3,
    v_width=4,
    dropout=0.0,
    kernel="bucketed",
)
ALL = replace(
    CONFIG,
    blocks=3,
    context=True,
    scaled=True,
    window=5,
    prefix=3,
    truncate_after=1,
    truncate_to=6,
    norm="group",
    concat=True,
)


def _model(config: HSTUConfig = CONFIG, seed: int = 0) -> HSTU:
    torch.manual_seed(seed)
    return HSTU(config, DATA.items, count=DATA.count, context_sizes=DATA.context_sizes)


def _norm(x: Tensor) -> Tensor:
    return (x - x.mean()) / torch.sqrt(x.var(unbiased=False) + 1e-6)


def _bucket(seconds: int) -> int:
    return min(math.floor(math.log(max(1, abs(seconds))) / 0.301), 128)


def _literal_layer(
    model: HSTU, number: int, x: Tensor, events: list[int], first: int, batch: SequenceBatch
) -> Tensor:
    """One layer over one sequence, token by token; events: of each token, -1 for context;
    first: the sequence's first event."""
    config, layer = model.config, model.stack.layers[number]
    heads, dv, dqk = config.heads, config.v_width, config.qk_width
    silu = torch.nn.functional.silu
    rows = [silu(layer.w1 @ _norm(one)) for one in x]
    contexts = sum(e < 0 for e in events)
    longest = config.max_length + (2 if config.context else 0)
    always = max(contexts, config.prefix)
    assert batch.time is not None
    assert batch.next_time is not None
    asked = batch.next_time if config.request_time == "known" else batch.time
    out = []
    for i, row in enumerate(rows):
        pooled = torch.zeros(heads, dv, dtype=x.dtype)
        for j, other in enumerate(rows):
            ahead = i < contexts and j < contexts
            near = not config.window or i - j < config.window or j < always
            if not (ahead or (j <= i and near)):
                continue
            bias = torch.zeros((), dtype=x.dtype)
            if layer.rab_p is not None:
                bias = bias + layer.rab_p[max(i - j, 0)]
            if layer.rab_t is not None:
                mine = asked[events[i]] if events[i] >= 0 else asked[first]
                theirs = batch.time[events[j] if events[j] >= 0 else first]
                bias = bias + layer.rab_t[_bucket(int(mine) - int(theirs))]
            for h in range(heads):
                q = row[2 * heads * dv :][h * dqk : (h + 1) * dqk]
                k = other[2 * heads * dv + heads * dqk :][h * dqk : (h + 1) * dqk]
                alpha = dqk**-0.5 if config.scaled else 1.0
                v = other[heads * dv :][h * dv : (h + 1) * dv]
                pooled[h] = pooled[h] + silu(alpha * q @ k + bias) / longest * v
        u = row[: heads * dv]
        if config.norm == "layer":
            normed = _norm(pooled.flatten())
        else:
            normed = torch.cat([_norm(one) for one in pooled])
        gated = torch.cat([u, normed, u * normed]) if config.concat else u * normed
        out.append(x[i] + layer.w2.weight @ gated)
    return torch.stack(out)


def _literal(model: HSTU, batch: SequenceBatch) -> Tensor:
    """The unit vectors of the last event of each sequence over the temperature: [U, D]."""
    config, given = model.config, model.input
    queries = []
    bounds = batch.items.offsets.tolist()
    for u in range(len(batch)):
        events = list(range(bounds[u], bounds[u + 1]))
        rows = [
            given.item.weight[batch.items.values[e]] * math.sqrt(config.width) + given.position[n]
            for n, e in enumerate(events)
        ]
        if config.context:
            assert batch.context is not None
            known = batch.context[u].tolist()
            tokens = [t.weight[c] for t, c in zip(given.context, known, strict=True)]
            rows = [math.sqrt(config.width) * t for t in tokens] + rows
            events = [-1, -1, *events]
        x = torch.stack(rows)
        for number in range(config.blocks):
            if config.truncate_after and number == config.truncate_after:
                contexts = sum(e < 0 for e in events)
                gone = max(len(events) - contexts - config.truncate_to, 0)
                x = torch.cat([x[:contexts], x[contexts + gone :]])
                events = events[:contexts] + events[contexts + gone :]
            x = _literal_layer(model, number, x, events, bounds[u], batch)
        queries.append(x[-1] / x[-1].norm() / config.loss.temperature)
    return torch.stack(queries)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"request_time": "last_event", "heads": 1},
        {"position": False, "scaled": True},
        {"time": False, "norm": "group"},
        {"context": True, "concat": True},
        {"window": 4, "prefix": 2},
        {"truncate_after": 1, "truncate_to": 5, "context": True},
        {f: getattr(ALL, f) for f in ("blocks", "context", "scaled", "window", "prefix")}
        | {"truncate_after": 2, "truncate_to": 7, "norm": "group", "concat": True},
    ],
)
def test_it_is_the_papers_layer(change: dict[str, object]) -> None:
    model = _model(replace(CONFIG, **change)).double().eval()  # type: ignore[arg-type]
    shake(model)
    batch = batch_of([0, 3, 5])
    with torch.no_grad():
        torch.testing.assert_close(
            model.queries(batch), _literal(model, batch), rtol=1e-8, atol=1e-8
        )


def test_it_speaks_of_every_event_or_of_the_latest() -> None:
    events = int(batch_of([0, 1, 2]).items.offsets[-1])
    check_shapes(_model(), events)
    check_shapes(_model(replace(CONFIG, context=True)), events)
    lengths = batch_of([0, 1, 2]).items.lengths
    check_shapes(_model(ALL), int(lengths.clamp(max=6).sum()))


@pytest.mark.parametrize("config", [CONFIG, ALL], ids=["plain", "all"])
def test_a_sequence_is_the_same_alone_and_in_company(config: HSTUConfig) -> None:
    check_company(_model(config))


@pytest.mark.parametrize("config", [CONFIG, ALL], ids=["plain", "all"])
def test_a_person_without_events_has_a_query(config: HSTUConfig) -> None:
    check_empty(_model(config))


@pytest.mark.parametrize("config", [CONFIG, ALL], ids=["plain", "all"])
def test_what_comes_later_changes_nothing_before(config: HSTUConfig) -> None:
    check_causal(_model(config))


def test_a_mask_that_sees_one_event_ahead_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def leaky(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, **given: object) -> Tensor:
        ahead = [torch.roll(one, -1, 0) for one in (k, v)]
        return silu_attention(q, *ahead, offsets, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(hstu, "silu_attention", leaky)
    with pytest.raises(AssertionError):
        check_causal(_model())


def test_the_loss_of_a_forgotten_truncation_is_of_no_other_event() -> None:
    """With truncation, only the last events have a loss."""
    model = _model(ALL).eval()
    batch = batch_of([3])
    old = batch.target.clone()
    old[0] = old[0] % DATA.items + 1
    assert torch.equal(model.loss(batch), model.loss(replace(batch, target=old)))
    new = batch.target.clone()
    new[-1] = new[-1] % DATA.items + 1
    assert not torch.equal(model.loss(batch), model.loss(replace(batch, target=new)))


def test_the_time_of_the_request_is_read_where_it_is_known() -> None:
    batch = batch_of([3])
    assert batch.next_time is not None
    later = replace(batch, next_time=batch.next_time + 10**6)
    for known in ("known", "last_event"):
        model = _model(replace(CONFIG, request_time=known)).eval()  # type: ignore[arg-type]
        shake(model)
        same = torch.equal(model.queries(batch), model.queries(later))
        assert same == (known == "last_event")


def test_an_artifact_gives_back_the_same_numbers(tmp_path: Path) -> None:
    check_saved(_model(ALL), lambda: _model(ALL), tmp_path)


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
        {"qk_width": 2},
        {"v_width": 2},
        {"position": False},
        {"time": False},
        {"request_time": "last_event"},
        {"scaled": True},
        {"window": 4},
        {"truncate_after": 1, "truncate_to": 3},
        {"norm": "group"},
        {"concat": True},
        {"w1_deviation": 0.1},
    ],
)
def test_every_field_changes_the_loss(change: dict[str, object]) -> None:
    before, _ = outcome(_model())
    after, _ = outcome(_model(replace(CONFIG, **change)))  # type: ignore[arg-type]
    assert before != after


def test_kernels_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = []

    def noted(*given: Tensor, spec: AttentionSpec, **rest: object) -> Tensor:
        kernels.append(rest["kernel"])
        return silu_attention(*given, spec=spec, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(hstu, "silu_attention", noted)
    one = outcome(_model(replace(CONFIG, kernel="reference")))[1]
    other = outcome(_model(replace(CONFIG, kernel="bucketed")))[1]
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert kernels == ["reference"] * 4 + ["bucketed"] * 4


def _gradients(model: HSTU, batch: SequenceBatch, *, bfloat16: bool = False) -> list[Tensor]:
    model.zero_grad()
    torch.manual_seed(7)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        loss = model.loss(batch)
    loss.backward()  # type: ignore[no-untyped-call]
    found = [p.grad for p in model.parameters() if p.grad is not None]
    return [loss.detach(), *(one.clone() for one in found)]


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        ALL,
        replace(CONFIG, time=False, position=False),
        replace(CONFIG, kernel="fused", width=16, heads=3),
        replace(ALL, kernel="fused"),
    ],
    ids=["plain", "all", "no bias", "fused", "all fused"],
)
@pytest.mark.parametrize("bfloat16", [False, True])
def test_what_is_computed_again_is_the_same(config: HSTUConfig, bfloat16: bool) -> None:
    batch = batch_of([0, 3, 4])
    found = []
    for recompute in (False, True):
        model = _model(replace(config, recompute=recompute))
        shake(model)
        if config.kernel != "fused" and not bfloat16:
            model = model.double()
        found.append(_gradients(model.train(), batch, bfloat16=bfloat16))
    close = 0.05 if bfloat16 else 1e-4 if config.kernel == "fused" else 1e-9
    assert len(found[0]) == len(found[1])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=close, atol=close * float(other.abs().max()))


@pytest.mark.parametrize("change", [{}, {"norm": "group", "concat": True}])
def test_gradients_that_are_computed_again_are_those_of_differences(
    change: dict[str, object],
) -> None:
    """Also under dropout, which must drop the same again."""
    config = replace(CONFIG, blocks=1, dropout=0.4, recompute=True, **change)  # type: ignore[arg-type]
    stack = hstu.HSTUStack(config, LONGEST).double().train()
    shake(stack)
    time = torch.arange(7) * 1000
    x = torch.randn(7, 8, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, *_: Tensor) -> Tensor:
        torch.manual_seed(5)
        offsets = torch.tensor([0, 3, 7])
        return stack(SequenceTokens(x, offsets, 0, torch.arange(7), time, time + 50)).x

    assert torch.autograd.gradcheck(run, (x, *stack.parameters()))


def test_half_is_kept_where_half_is_computed_again() -> None:
    """Of D = H Dqk = H Dv numbers a token and layer: x, four parts before SiLU, A V."""

    def kept(recompute: bool, tokens: int) -> int:
        config = replace(CONFIG, qk_width=4, v_width=4, kernel="fused", recompute=recompute)
        stack, found = hstu.HSTUStack(config, LONGEST), {}

        def note(one: Tensor) -> Tensor:
            storage = one.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
            return one

        x = torch.randn(tokens, 8, requires_grad=True)
        time = torch.arange(tokens)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda one: one):
            stack(SequenceTokens(x, torch.tensor([0, tokens]), 0, time, time, time))
        return sum(found.values())

    # Weights are kept as well, so that tokens cost what twice as many cost more.
    twice = {again: kept(again, 160) - kept(again, 80) for again in (False, True)}
    numbers = {again: more / (80 * 2 * 8 * 4) for again, more in twice.items()}
    assert numbers[True] == 6
    assert numbers[False] > 12


def test_data_that_lack_what_the_model_reads_are_refused() -> None:
    batch = batch_of([0, 1])
    bare = replace(batch, time=None, next_time=None)
    with pytest.raises(ValueInvalidError, match="times"):
        _model().queries(bare)
    assert _model(replace(CONFIG, time=False)).queries(bare).shape == (2, 8)
    with pytest.raises(ValueInvalidError, match="context"):
        _model(replace(CONFIG, context=True)).queries(replace(batch, context=None))
    with pytest.raises(ValueInvalidError, match="longer"):
        _model(replace(CONFIG, max_length=2)).queries(batch)
    with pytest.raises(ConfigError, match="context"):
        HSTU(replace(CONFIG, context=True), DATA.items)


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0},
        {"dropout": 1.0},
        {"qk_width": 0},
        {"window": -1},
        {"prefix": 1},
        {"truncate_after": 1},
        {"truncate_after": 2, "truncate_to": 3},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        replace(CONFIG, **wrong)  # type: ignore[arg-type]


def test_the_stack_says_who_sees_whom() -> None:
    config = replace(ALL, context=False)
    tokens = SequenceTokens(
        torch.zeros(4, 8), torch.tensor([0, 1, 4]), 2, torch.arange(4), None, None
    )
    spec = HSTUStack(config, 20).spec(tokens)
    assert spec.contexts is not None
    assert spec.contexts.tolist() == [2, 2]
    assert (spec.targets, spec.window, spec.prefix) == (None, 5, 3)
    assert HSTUStack(config, 20).spec(replace(tokens, contexts=0)).contexts is None
