"""The input, the head and the loss that sequential models share."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.models.sequential.hstu import HSTU, HSTUConfig, SASRec, SASRecConfig
from adwright.models.sequential.hstu_ranker import HSTURanker, HSTURankerConfig
from adwright.models.sequential.losses import LossConfig, next_item_loss
from adwright.models.sequential.sequence_model import (
    Encoded,
    SequenceConfig,
    SequenceInput,
    SequenceModel,
)
from adwright.models.sequential.union import (
    RetrieverConfig,
    config_type,
    retriever_config,
    sequence_model,
    sequence_retriever,
)
from tests.support.models.sequence_checks import DATA, LONGEST, batch_of

CONFIG = SequenceConfig(width=6, max_length=LONGEST, dropout=0.0)


class _Bare(SequenceModel):
    """Nothing stands between input and head."""

    def encode(self, batch: SequenceBatch) -> Encoded:
        return self.spoken(self.input(batch, None))


def _input(config: SequenceConfig = CONFIG) -> SequenceInput:
    torch.manual_seed(0)
    return SequenceInput(config, DATA.items, DATA.context_sizes)


def test_an_event_is_its_item_and_its_place() -> None:
    given, batch = _input(), batch_of([2, 5])
    tokens = given(batch, batch.next_time)
    assert tokens.contexts == 0
    assert torch.equal(tokens.offsets, batch.items.offsets)
    assert tokens.query_time is batch.next_time
    at = 0
    for one in batch.items.to_lists():
        for n, code in enumerate(one):
            wanted = given.item.weight[int(code)] * 6**0.5 + given.position[n]
            torch.testing.assert_close(tokens.x[at], wanted)
            assert int(tokens.event[at]) == at
            at += 1


def test_context_stands_before_the_events_at_the_time_of_the_first() -> None:
    given, batch = _input(replace(CONFIG, context=True)), batch_of([2, 5])
    tokens = given(batch, batch.next_time)
    assert batch.context is not None
    assert batch.time is not None
    assert batch.next_time is not None
    assert tokens.time is not None
    assert tokens.query_time is not None
    assert tokens.contexts == 2
    first = int(tokens.offsets[1])
    assert first == int(batch.items.offsets[1]) + 2
    for f, table in enumerate(given.context):
        wanted = table.weight[batch.context[1, f]] * 6**0.5  # type: ignore[index]
        torch.testing.assert_close(tokens.x[first + f], wanted)
    start = int(batch.items.offsets[1])
    assert tokens.event[first : first + 3].tolist() == [-1, -1, start]
    assert tokens.time[first : first + 3].tolist() == [int(batch.time[start])] * 3
    assert tokens.query_time[first : first + 3].tolist() == [int(batch.next_time[start])] * 3
    other = _input()
    other.load_state_dict(given.state_dict(), strict=False)
    bare = other(batch, None)
    torch.testing.assert_close(tokens.x[tokens.event >= 0], bare.x)
    assert bare.query_time is None


def test_the_unknown_item_is_its_place_alone_and_is_never_learnt() -> None:
    given, batch = _input(), batch_of([2])
    values = batch.items.values.clone()
    values[1] = 0
    tokens = given(replace(batch, items=replace(batch.items, values=values)), None)
    torch.testing.assert_close(tokens.x[1], given.position[1])
    tokens.x.sum().backward()  # type: ignore[no-untyped-call]
    assert given.item.weight.grad is not None
    assert float(given.item.weight.grad[0].abs().sum()) == 0


@pytest.mark.parametrize("context", [False, True])
def test_the_latest_events_keep_their_context(context: bool) -> None:
    batch = batch_of([0, 1, 2])
    tokens = _input(replace(CONFIG, context=context))(batch, batch.next_time)
    some = SequenceModel.latest(tokens, 3)
    at = 0
    for u in range(3):
        start, end = batch.items.offsets[u : u + 2].tolist()
        wanted = [-1] * some.contexts + list(range(max(start, end - 3), end))
        assert some.event[at : at + len(wanted)].tolist() == wanted
        at += len(wanted)
    assert at == len(some.event) == len(some.x)
    torch.testing.assert_close(
        some.x[some.event >= 0], tokens.x[tokens.event >= 0][some.event[some.event >= 0]]
    )
    assert some.time is not None


def test_the_loss_is_over_events_with_a_target() -> None:
    torch.manual_seed(0)
    model, batch = _Bare(CONFIG, DATA.items), batch_of([2, 5])
    target = batch.target.clone()
    target[::2] = 0
    found = model.loss(replace(batch, target=target))
    kept = target > 0
    wanted = next_item_loss(
        model.encode(batch).vectors[kept],
        target[kept],
        model.input.item.weight,
        CONFIG.loss,
        count=torch.ones(DATA.items + 1),
    )
    torch.testing.assert_close(found, wanted)


def test_few_positions_stand_for_all() -> None:
    torch.manual_seed(0)
    model, batch = _Bare(CONFIG, DATA.items), batch_of([2, 5])
    every = float(model.loss(batch).detach())
    few = replace(CONFIG, loss=replace(CONFIG.loss, positions=3))
    torch.manual_seed(0)
    model = _Bare(few, DATA.items)
    drawn = [float(model.loss(batch).detach()) for _ in range(300)]
    assert len({round(one, 4) for one in drawn}) > 5
    assert np.mean(drawn) == pytest.approx(every, rel=0.02)
    many = replace(CONFIG, loss=replace(CONFIG.loss, positions=10_000))
    torch.manual_seed(0)
    assert float(_Bare(many, DATA.items).loss(batch).detach()) == pytest.approx(every)


def test_counts_reach_the_loss() -> None:
    config = replace(CONFIG, loss=LossConfig("shared", shared=8, draw="popular"))
    losses = set()
    for count in (None, DATA.count**3):
        torch.manual_seed(0)
        model = _Bare(config, DATA.items, count=count)
        torch.manual_seed(1)
        losses.add(float(model.loss(batch_of([2, 5])).detach()))
    assert len(losses) == 2


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueInvalidError, match="longer"):
        _input(replace(CONFIG, max_length=1))(batch_of([2]), None)
    with pytest.raises(ValueInvalidError, match="context"):
        _input(replace(CONFIG, context=True))(replace(batch_of([2]), context=None), None)
    with pytest.raises(ConfigError):
        SequenceInput(replace(CONFIG, context=True), 5)
    for wrong in ({"blocks": 0}, {"heads": 0}, {"max_length": 0}, {"dropout": -0.1}):
        with pytest.raises(ConfigError):
            replace(CONFIG, **wrong)  # type: ignore[arg-type]


class _Placed(TorchFunctionMode):
    """Remembers what is made without saying on which device."""

    MAKERS = ("arange", "empty", "eye", "full", "linspace", "ones", "rand", "randint", "randn")
    MAKERS = (*MAKERS, "randperm", "tensor", "zeros")

    def __init__(self) -> None:
        super().__init__()
        self.makers = {getattr(torch, name) for name in self.MAKERS}
        self.found: list[str] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in self.makers and (kwargs or {}).get("device") is None:
            *_, caller = traceback.extract_stack()[:-1]
            self.found.append(f"{Path(caller.filename).name}:{caller.lineno} {caller.line}")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("loss", ["exact", "shared", "per_position"])
@pytest.mark.parametrize("name", ["hstu", "truncated", "sasrec", "ranker"])
def test_nothing_is_made_without_saying_where(name: str, loss: Any) -> None:
    """A model that was moved would find its input there, and an index here."""
    size = {"width": 6, "max_length": LONGEST, "context": name != "truncated"}
    size |= {"loss": LossConfig(kind=loss, positions=5), "kernel": "bucketed"}
    if name == "truncated":
        size |= {"blocks": 3, "truncate_after": 1, "truncate_to": 4}
    sizes, model = DATA.context_sizes, None
    match name:
        case "sasrec":
            size.pop("kernel")
            model = SASRec(SASRecConfig(**size), DATA.items, context_sizes=sizes)
        case "ranker":
            size |= {"actions": 3, "truncate_after": 1, "truncate_to": 4}
            model = HSTURanker(HSTURankerConfig(**size), DATA.items, context_sizes=sizes)
        case _:
            model = HSTU(HSTUConfig(**size), DATA.items, context_sizes=sizes)
    batch = batch_of([0, 1, 5])
    with _Placed() as placed:
        model.loss(batch).backward()
        model.asked(batch)
        if isinstance(model, SequenceModel):
            model.own_terms(batch, model.queries(batch))
        batch.items.select(torch.tensor([1, 0], device="cpu")).to_padded()
    assert placed.found == []


@pytest.mark.parametrize("context", [False, True])
def test_the_latest_of_each_sequence_may_differ(context: bool) -> None:
    """One number each, as candidates behind the histories ask for it."""
    batch = batch_of([0, 1, 2])
    tokens = _input(replace(CONFIG, context=context))(batch, batch.next_time)
    number = torch.tensor([2, 0, 50])
    some = SequenceModel.latest(tokens, number)
    for u in range(3):
        alone = SequenceModel.latest(tokens, int(number[u]))
        mine, other = (slice(*x.offsets[u : u + 2].tolist()) for x in (some, alone))
        assert torch.equal(some.event[mine], alone.event[other])
        assert torch.equal(some.x[mine], alone.x[other])
    assert int(some.offsets[-1]) == len(some.x)


def test_selected_tokens_keep_all_that_is_known_of_them() -> None:
    batch = batch_of([0, 1])
    tokens = _input()(batch, batch.next_time)
    place = torch.tensor([0, 2, 3])
    some = tokens.select(place, torch.tensor([0, 3, 3]))
    assert some.offsets.tolist() == [0, 3, 3]
    for name in ("x", "event", "time", "query_time"):
        assert torch.equal(getattr(some, name), getattr(tokens, name)[place]), name
    bare = replace(tokens, time=None, query_time=None).select(place, some.offsets)
    assert bare.time is bare.query_time is None


def test_queries_over_the_temperature_carry_popularity_as_one_more_coordinate() -> None:
    torch.manual_seed(0)
    config = replace(CONFIG, popularity=True)
    model = _Bare(config, DATA.items, count=DATA.count).eval()
    batch, codes = batch_of([0, 1]), torch.arange(1, DATA.items + 1)
    queries, items = model.queries(batch), model.item_vectors(codes)
    assert queries.shape[1] == items.shape[1] == config.width + 1
    plain = queries[:, :-1] @ items[:, :-1].T
    assert model.bias is not None
    torch.testing.assert_close(queries @ items.T, plain + model.bias[codes])
    count = torch.from_numpy(DATA.count).clamp(min=1).float()
    torch.testing.assert_close(model.bias.detach(), torch.log(count / count.sum()))


SIZES: dict[str, Any] = {"width": 8, "max_length": 12, "blocks": 1, "heads": 2}
WIDTHS: dict[str, Any] = {"qk_width": 3, "v_width": 4, "kernel": "bucketed"}
CONFIGS: tuple[RetrieverConfig, ...] = (
    HSTUConfig(**SIZES, **WIDTHS),
    SASRecConfig(**SIZES),
    HSTURankerConfig(**SIZES, **WIDTHS, actions=3),
)
NETWORKS = (HSTU, SASRec, HSTURanker)


@dataclass(frozen=True)
class Asked:
    """A config with a retriever in it."""

    model: RetrieverConfig = field(default_factory=HSTUConfig)


@pytest.mark.parametrize(("config", "network"), list(zip(CONFIGS, NETWORKS, strict=True)))
def test_the_kind_leads_from_what_is_saved_to_the_network(config: Any, network: type) -> None:
    found = from_jsonable(config_type(config.kind), to_jsonable(config))
    assert found == config
    model = sequence_model(found, DATA.items)
    assert type(model) is network
    assert model.config == config


def test_a_retriever_is_read_from_a_table_by_its_kind() -> None:
    for config in CONFIGS[:2]:
        values = {"kind": config.kind, **to_jsonable(config)}
        assert retriever_config(values) == config
        assert from_jsonable(Asked, {"model": values}) == Asked(config)
    assert retriever_config({"blocks": 3}) == HSTUConfig(blocks=3)
    for values, message in (
        ({"kind": "gru"}, "no sequence model 'gru'"),
        ({"kind": "hstu_ranker"}, "no retriever"),
        ({"kind": "sasrec", "qk_width": 3}, "SASRecConfig, key qk_width"),
    ):
        with pytest.raises(ConfigError, match=message):
            from_jsonable(Asked, {"model": values})


@pytest.mark.parametrize("config", CONFIGS[:2])
def test_popularity_starts_with_the_counts(config: Any) -> None:
    popular = replace(config, popularity=True)
    model = sequence_retriever(popular, DATA.items, count=DATA.count)
    plain = sequence_retriever(popular, DATA.items)
    assert model.bias is not None
    assert plain.bias is not None
    assert int(model.bias[1:].argmax()) == int(DATA.count[1:].argmax())
    assert torch.equal(plain.bias, plain.bias[:1].expand_as(plain.bias))


def test_what_a_config_says_of_its_model() -> None:
    hstu, sasrec = CONFIGS[:2]
    assert (hstu.reads_time, hstu.reads_request_time) == (True, True)
    assert not HSTUConfig(request_time="last_event").reads_request_time
    assert not HSTUConfig(time=False).reads_request_time
    assert (sasrec.reads_time, sasrec.reads_request_time, sasrec.truncates) == (False,) * 3
    assert HSTUConfig(truncate_after=1, truncate_to=5).truncates
    assert not hstu.without_time().reads_time
    assert sasrec.without_time() == sasrec
    assert sasrec.pair_cost == 1 * 3.0 * 8
    assert hstu.pair_cost == 1 * 0.3 * 2 * (3 + 4)


def test_the_heads_of_hstu_follow_its_width() -> None:
    hstu, sasrec = CONFIGS[:2]
    assert (hstu.resized(), sasrec.resized()) == (hstu, sasrec)
    wide = hstu.resized(width=16)
    assert isinstance(wide, HSTUConfig)
    assert (wide.width, wide.qk_width, wide.v_width) == (16, 8, 8)
    longer = hstu.resized(max_length=20, blocks=3)
    assert isinstance(longer, HSTUConfig)
    assert (longer.max_length, longer.blocks, longer.qk_width) == (20, 3, 3)
    assert sasrec.resized(width=16).width == 16
