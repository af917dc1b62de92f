"""The ranking form of HSTU: who comes after whom, what is predicted, and the usual ladder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.models.kernels.silu_attention import silu_attention
from adwright.models.sequential import hstu
from adwright.models.sequential.hstu_ranker import HSTURanker, HSTURankerConfig
from tests.support.models.sequence_checks import DATA, LONGEST, batch_of, shake

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
