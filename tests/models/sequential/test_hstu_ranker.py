"""The ranking form of HSTU: who comes after whom, what is predicted, and the usual ladder."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.batches.jagged import Jagged, lengths_to_offsets
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.data.tasks.negatives import Draws, popular_share
from adwright.models.kernels.attention_spec import dropped_attention
from adwright.models.kernels.silu_attention import silu_attention
from adwright.models.sequential import hstu
from adwright.models.sequential import hstu as sasrec
from adwright.models.sequential.choice_ranker import (
    ChoiceRanker,
    Choices,
    choice_logits,
    choice_loss,
    with_negatives,
)
from adwright.models.sequential.hstu import SASRec, SASRecConfig, causal_attention
from adwright.models.sequential.hstu_ranker import HSTURanker, HSTURankerConfig
from adwright.models.sequential.losses import LossConfig
from adwright.models.sequential.mfalcon import Falcon
from tests.models.sequential.test_mfalcon import CONFIGS
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

CONFIG = HSTURankerConfig(
    width=8,
    max_length=LONGEST,
    heads=2,
    qk_width=3,
    v_width=4,
    dropout=0.0,
    kernel="bucketed",
    actions=3,
    tasks=(("followed", (2,)), ("any", (1, 2))),
    hidden=6,
)
ALL = replace(
    CONFIG,
    blocks=3,
    context=True,
    window=7,
    prefix=3,
    truncate_after=1,
    truncate_to=9,
    norm="group",
    concat=True,
    scaled=True,
)


def _model(config: HSTURankerConfig = CONFIG, seed: int = 0) -> HSTURanker:
    torch.manual_seed(seed)
    return HSTURanker(config, DATA.items, context_sizes=DATA.context_sizes)


def _outcome(model: HSTURanker) -> float:
    shake(model)
    torch.manual_seed(4)
    return float(model.loss(batch_of([3, 4, 5])).detach())


def test_items_and_actions_take_turns() -> None:
    model, batch = _model(replace(CONFIG, context=True)), batch_of([2, 5])
    tokens = model.tokens(batch)
    assert batch.action is not None
    assert batch.time is not None
    assert tokens.time is not None
    at, given = 0, model.input
    for u in range(2):
        start, end = batch.items.offsets[u : u + 2].tolist()
        assert int(tokens.offsets[u]) == at
        assert tokens.event[at : at + 2].tolist() == [-1, -1]
        at += 2
        for n, e in enumerate(range(start, end)):
            item = given.item.weight[batch.items.values[e]] * 8**0.5 + given.position[n]
            action = model.action.weight[batch.action[e]] * 8**0.5 + given.position[n]
            torch.testing.assert_close(tokens.x[at], item)
            torch.testing.assert_close(tokens.x[at + 1], action)
            assert tokens.event[at : at + 2].tolist() == [e, -2 - e]
            assert tokens.time[at : at + 2].tolist() == [int(batch.time[e])] * 2
            at += 2
    assert at == len(tokens.x) == int(tokens.offsets[-1])
    assert tokens.query_time is not None
    assert torch.equal(tokens.query_time, tokens.time)


def test_a_logit_knows_its_item_and_no_action_from_there_on() -> None:
    model, batch = _model().eval(), batch_of([3])
    shake(model)
    assert batch.action is not None
    before, _ = model.logits(batch)
    action = batch.action.clone()
    action[5:] = 3 - action[5:]
    after, _ = model.logits(replace(batch, action=action))
    assert torch.equal(before[:6], after[:6])
    assert not torch.equal(before[6:], after[6:])
    values = batch.items.values.clone()
    values[5] = values[5] % DATA.items + 1
    after, _ = model.logits(replace(batch, items=replace(batch.items, values=values)))
    assert torch.equal(before[:5], after[:5])
    assert not torch.equal(before[5], after[5])


def test_a_mask_that_sees_one_token_ahead_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def leaky(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, **given: object) -> Tensor:
        ahead = [torch.roll(one, -1, 0) for one in (k, v)]
        return silu_attention(q, *ahead, offsets, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(hstu, "silu_attention", leaky)
    with pytest.raises(AssertionError):
        test_a_logit_knows_its_item_and_no_action_from_there_on()


def test_the_loss_is_binary_in_each_task() -> None:
    model, batch = _model().eval(), batch_of([2, 5])
    shake(model)
    logits, event = model.logits(batch)
    assert batch.action is not None
    action = batch.action.clone()
    action[3] = 0
    literal = 0.0
    for row, e in zip(logits.tolist(), event.tolist(), strict=True):
        code = int(action[e])
        for logit, codes in zip(row, ((2,), (1, 2)), strict=True):
            p = 1 / (1 + torch.exp(torch.tensor(-logit)))
            likelihood = p if code in codes else 1 - p
            literal -= float(torch.log(likelihood)) if code else 0.0
    changed = replace(batch, action=action)
    # The action of event 3 is unknown to what follows as well.
    logits, event = model.logits(changed)
    label = torch.stack([action == 2, action > 0], 1).float()
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, label, reduction="none")
    torch.testing.assert_close(model.loss(changed), each[action > 0].sum())
    assert model.asked(changed) == len(action) - 1
    before = model.loss(batch).detach()
    assert literal == pytest.approx(float(before), rel=0.2)


def test_after_a_truncation_only_the_latest_items_are_asked() -> None:
    for kept in (5, 8):
        model = _model(replace(ALL, truncate_to=kept)).eval()
        batch = batch_of([0, 3, 4])
        _, event = model.logits(batch)
        lengths = batch.items.lengths.clamp(max=kept // 2)
        assert len(event) == int(lengths.sum()) == model.asked(batch)
        ends = batch.items.offsets[1:].tolist()
        wanted = [
            e for end, n in zip(ends, lengths.tolist(), strict=True) for e in range(end - n, end)
        ]
        assert event.tolist() == wanted


def test_an_artifact_gives_back_the_same_numbers(tmp_path: Path) -> None:
    model, other = _model(ALL).eval(), _model(ALL, seed=9).eval()
    shake(model)
    tensors = {name: value.numpy() for name, value in model.state_dict().items()}
    save_artifact(tmp_path / "a", kind="ranker", config={}, tensors=tensors, data_hash="x")
    loaded = load_artifact(tmp_path / "a", kind="ranker").tensors
    other.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in loaded.items()})
    batch = batch_of([0, 1])
    assert torch.equal(model.logits(batch)[0], other.logits(batch)[0])


@pytest.mark.parametrize(
    "change",
    [
        {"width": 4},
        {"max_length": 17},
        {"blocks": 1},
        {"heads": 1},
        {"dropout": 0.3},
        {"context": True},
        {"qk_width": 2},
        {"v_width": 2},
        {"position": False},
        {"time": False},
        {"scaled": True},
        {"window": 4},
        {"truncate_after": 1, "truncate_to": 6},
        {"norm": "group"},
        {"concat": True},
        {"actions": 4},
        {"tasks": (("followed", (2,)),)},
        {"tasks": (("followed", (1,)), ("any", (1, 2)))},
        {"hidden": 5},
    ],
)
def test_every_field_changes_the_loss(change: dict[str, object]) -> None:
    assert _outcome(_model()) != _outcome(_model(replace(CONFIG, **change)))  # type: ignore[arg-type]


def test_data_without_actions_are_refused() -> None:
    with pytest.raises(ValueInvalidError, match="done with"):
        _model().logits(replace(batch_of([0]), action=None))


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden": 0},
        {"actions": 1},
        {"tasks": ()},
        {"tasks": (("none", ()),)},
        {"tasks": (("unknown", (0,)),)},
        {"tasks": (("beyond", (3,)),)},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        replace(CONFIG, **wrong)  # type: ignore[arg-type]


def test_a_full_history_leaves_no_place_for_a_candidate() -> None:
    model = HSTURanker(CONFIG, DATA.items)
    model.require_place(0)
    model.require_place(CONFIG.max_length - 1)
    for events in (CONFIG.max_length, CONFIG.max_length + 3):
        with pytest.raises(ValueInvalidError, match=f"{events} events") as refused:
            model.require_place(events)
        assert "max_length - 1" in str(refused.value)


def test_a_candidate_is_its_item_at_its_place() -> None:
    model = HSTURanker(CONFIG, DATA.items)
    codes = torch.tensor([3, 1, 7])
    scaled = model.input.item(codes) * CONFIG.width**0.5
    assert torch.equal(model.candidates(codes, 4), scaled + model.input.position[4])
    each = torch.tensor([0, 2, 5])
    assert torch.equal(model.candidates(codes, each), scaled + model.input.position[each])


DRAWS = Draws(number=8)
COUNT = np.arange(DATA.items + 1)


def _ranker(config: HSTURankerConfig = CONFIG) -> ChoiceRanker:
    torch.manual_seed(0)
    model = ChoiceRanker(
        config, DATA.items, draws=DRAWS, count=COUNT, context_sizes=DATA.context_sizes
    )
    shake(model)
    return model.eval()


def _choices(seed: int = 0) -> Choices:
    return _ranker().choices(batch_of([0, 3, 4, 5]), np.random.default_rng(seed))


@pytest.mark.parametrize("name", CONFIGS)
def test_training_asks_what_serving_asks(name: str) -> None:
    model, choices = _ranker(CONFIGS[name]), _choices()
    found = choice_logits(model, choices)
    falcon, offsets = Falcon(model), choices.past.items.offsets
    assert choices.past.next_time is not None
    for person in range(len(choices.past)):
        start, end = offsets[person : person + 2].tolist()
        context = choices.past.context
        alone = replace(choices.past, context=None)
        alone = alone.at(torch.arange(start, end), torch.tensor([0, end - start]))
        if context is not None:
            alone = replace(alone, context=context[person : person + 1])
        first, last = choices.items.offsets[person : person + 2].tolist()
        now = int(choices.past.next_time[end - 1])
        codes = choices.items.values[first:last]
        wanted = falcon.score(alone, codes, request_time=now)
        torch.testing.assert_close(found[first:last], wanted, rtol=1e-5, atol=1e-5)


def test_the_loss_is_binary() -> None:
    model, choices = _ranker(), _choices()
    literal = 0.0
    for logit, label in zip(
        choice_logits(model, choices)[:, 0].detach().tolist(), choices.label.tolist(), strict=True
    ):
        p = 1 / (1 + np.exp(-logit))
        literal -= np.log(p if label else 1 - p)
    assert float(choice_loss(model, choices).detach()) == pytest.approx(literal, rel=1e-5)


def test_a_choice_is_a_moment_after_the_first() -> None:
    model, batch = _ranker(), batch_of([0, 3, 4, 5])
    assert batch.time is not None
    moments = set()
    for seed in range(40):
        choices = model.choices(batch, np.random.default_rng(seed))
        past = choices.past
        assert past.time is not None
        assert past.next_time is not None
        assert past.action is not None
        for row, person in enumerate(_with_choice(batch)):
            first, last = batch.items.offsets[person : person + 2].tolist()
            start, end = past.items.offsets[row : row + 2].tolist()
            begin = first + end - start
            now = int(batch.time[begin])
            moments.add((person, begin - first))
            assert int(past.next_time[end - 1]) == now
            assert torch.equal(past.items.values[start:end], batch.items.values[first:begin])
            assert int(past.time[end - 1]) < now
            assert torch.equal(past.next_time[start : end - 1], past.time[start + 1 : end])
            taken = batch.items.values[first:last][batch.time[first:last] == now]
            a, b = choices.items.offsets[row : row + 2].tolist()
            of_label = choices.items.values[a:b][choices.label[a:b] == 1]
            assert set(of_label.tolist()) == set(taken.tolist())
            assert len(set(of_label.tolist())) == len(of_label)
    assert len(moments) > 20
    assert model.asked(batch) == len(_with_choice(batch))


def _with_choice(batch: SequenceBatch) -> list[int]:
    assert batch.time is not None
    people = []
    for person in range(len(batch)):
        first, last = batch.items.offsets[person : person + 2].tolist()
        if len(set(batch.time[first:last].tolist())) > 1:
            people.append(person)
    return people


def test_negatives_are_drawn_as_the_choice_task_draws_them() -> None:
    """As often as `Draws` expects, and never what was taken."""
    past = SequenceBatch.serving(
        Jagged(torch.tensor([1, 2, 1, 7, 0]), torch.tensor([0, 3, 5])), time=torch.arange(5)
    )
    share, rng = popular_share(COUNT), np.random.default_rng(0)
    counts = np.zeros((2, DATA.items + 1))
    times = 3000
    for _ in range(times):
        made = with_negatives(past, np.array([3, 3, 2]), np.array([0, 2, 3]), DRAWS, share, rng)
        owner, code = made.items.owner().numpy(), made.items.values.numpy()
        taken = made.label.numpy() == 1
        assert owner[taken].tolist() == [0, 1]
        assert code[taken].tolist() == [3, 2]
        assert not (code[~taken] == np.array([3, 2])[owner[~taken]]).any()
        np.add.at(counts, (owner[~taken], code[~taken]), 1)
    for person, own, taken_code in ((0, [1, 2], 3), (1, [7], 2)):
        for code in range(1, DATA.items + 1):
            expected = np.exp(
                DRAWS.log_expected(
                    share[[code]],
                    items=DATA.items,
                    had=np.array([code in own]),
                    distinct=np.array([len(own)]),
                )
            )[0]
            expected = 0 if code == taken_code else expected
            assert counts[person, code] / times == pytest.approx(expected, abs=0.08)
    assert made.past.action is not None
    assert made.past.action.tolist() == [1] * 5


def test_without_times_each_event_is_a_moment() -> None:
    model, batch = _ranker(replace(CONFIG, time=False)), batch_of([0, 3])
    bare = replace(batch, time=None, next_time=None, action=None)
    choices = model.choices(bare, np.random.default_rng(0))
    assert (choices.items.lengths > 0).all()
    bounds = pairwise(choices.items.offsets.tolist())
    assert [int(choices.label[a:b].sum()) for a, b in bounds] == [1, 1]
    assert torch.isfinite(model.loss(bare))


def test_people_of_one_moment_have_no_choice() -> None:
    batch = SequenceBatch.serving(
        Jagged(torch.tensor([1, 2, 3]), torch.tensor([0, 2, 3])), time=torch.tensor([5, 5, 7])
    )
    model = _ranker()
    assert model.asked(batch) == 0
    assert float(model.loss(batch).detach()) == 0


def test_what_is_no_choice_is_refused() -> None:
    choices = _choices()
    with pytest.raises(ValueInvalidError, match="a label each"):
        replace(choices, label=choices.label[1:])
    empty = replace(choices.past, context=None).at(
        torch.arange(0), torch.zeros(5, dtype=torch.int64)
    )
    with pytest.raises(ValueInvalidError, match="after a history"):
        replace(choices, past=empty)
    long = SequenceBatch.serving(
        Jagged(torch.ones(LONGEST, dtype=torch.int64), torch.tensor([0, LONGEST])),
        time=torch.arange(LONGEST),
        action=torch.ones(LONGEST, dtype=torch.int64),
    )
    full = Choices(long, Jagged(torch.tensor([1]), torch.tensor([0, 1])), torch.ones(1))
    with pytest.raises(ValueInvalidError, match="no place"):
        choice_logits(_ranker(), full)


SASREC_CONFIG = SASRecConfig(width=8, max_length=LONGEST, blocks=2, heads=2, dropout=0.0)


def _sasrec_model(config: SASRecConfig = SASREC_CONFIG, seed: int = 0) -> SASRec:
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
    model = _sasrec_model(replace(SASREC_CONFIG, **change)).double().eval()  # type: ignore[arg-type]
    shake(model)
    batch = batch_of([0, 3, 5])
    with torch.no_grad():
        torch.testing.assert_close(
            model.queries(batch), _literal(model, batch), rtol=1e-8, atol=1e-8
        )


def test_sequences_with_dropout_take_the_kernel_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
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
    check_shapes(_sasrec_model(), events)
    check_shapes(_sasrec_model(replace(SASREC_CONFIG, context=True)), events)


@pytest.mark.parametrize("context", [False, True])
def test_a_sequence_is_the_same_alone_and_in_company(context: bool) -> None:
    check_company(_sasrec_model(replace(SASREC_CONFIG, context=context)))
    check_empty(_sasrec_model(replace(SASREC_CONFIG, context=context)))


def test_what_comes_later_changes_nothing_before() -> None:
    check_causal(_sasrec_model())


def test_a_mask_that_sees_one_event_ahead_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def leaky(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, *, dropout: float) -> Tensor:
        ahead = [torch.roll(one, -1, 0) for one in (k, v)]
        return causal_attention(q, *ahead, offsets, dropout=dropout)

    monkeypatch.setattr(sasrec, "causal_attention", leaky)
    with pytest.raises(AssertionError):
        check_causal(_sasrec_model())


def test_it_reads_no_times() -> None:
    batch = batch_of([3])
    model = _sasrec_model().eval()
    assert torch.equal(
        model.queries(batch), model.queries(replace(batch, time=None, next_time=None))
    )


def test_sasrec_an_artifact_gives_back_the_same_numbers(tmp_path: Path) -> None:
    check_saved(_sasrec_model(), _sasrec_model, tmp_path)


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
def test_sasrec_every_field_changes_the_loss(change: dict[str, object]) -> None:
    before, _ = outcome(_sasrec_model())
    after, _ = outcome(_sasrec_model(replace(SASREC_CONFIG, **change)))  # type: ignore[arg-type]
    assert before != after


@pytest.mark.parametrize(
    "wrong", [{"heads": 3}, {"hidden": -1}, {"blocks": 0}, {"attention_dropout": 1.0}]
)
def test_sasrec_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        replace(SASREC_CONFIG, **wrong)  # type: ignore[arg-type]
