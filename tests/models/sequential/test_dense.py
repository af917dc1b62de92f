"""The padded twins of the sequential models against the models themselves, on ragged input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from adwright.data.batches.jagged import Jagged
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.models.sequential import union as module
from adwright.models.sequential.hstu import HSTU, HSTUConfig, SASRec, SASRecConfig
from adwright.models.sequential.hstu_ranker import HSTURanker, HSTURankerConfig
from adwright.models.sequential.sequence_model import SequenceConfig
from adwright.models.sequential.union import DenseRanker, DenseRetriever, inputs_read
from tests.support.models.sequence_checks import DATA, LONGEST, shake

SIZES: dict[str, Any] = {"width": 8, "max_length": LONGEST, "heads": 2}
WIDTHS: dict[str, Any] = {"qk_width": 3, "v_width": 4, "kernel": "bucketed"}
CONFIG = HSTUConfig(**SIZES, **WIDTHS)
RANKER = HSTURankerConfig(
    **SIZES, **WIDTHS, actions=3, tasks=(("followed", (2,)), ("any", (1, 2))), hidden=6
)
OF_HSTU: dict[str, dict[str, Any]] = {
    "plain": {},
    "no time": {"time": False},
    "no position": {"position": False},
    "neither": {"time": False, "position": False},
    "last event": {"request_time": "last_event"},
    "window": {"window": 4},
    "window with prefix": {"window": 4, "prefix": 3},
    "truncation": {"truncate_after": 1, "truncate_to": 5},
    "group norm": {"norm": "group"},
    "concat": {"concat": True},
    "scaled": {"scaled": True},
    "context": {"context": True},
    "window and context": {"window": 4, "context": True},
    "all": {
        "blocks": 3,
        "context": True,
        "scaled": True,
        "window": 5,
        "prefix": 3,
        "truncate_after": 1,
        "truncate_to": 6,
        "norm": "group",
        "concat": True,
    },
}
OWN = {"popularity": True, "repeats": True}
RETRIEVERS: dict[str, SequenceConfig] = {
    "popularity": replace(CONFIG, popularity=True),
    "repeats": replace(CONFIG, repeats=True),
    "all and own": replace(CONFIG, **OF_HSTU["all"], **OWN),
    "sasrec and own": SASRecConfig(**SIZES, **OWN),
    **{name: replace(CONFIG, **changed) for name, changed in OF_HSTU.items()},
    "sasrec": SASRecConfig(**SIZES),
    "sasrec, context, wide": SASRecConfig(**SIZES, context=True, hidden=12),
}
# The time of a request is always known to a ranker.
RANKERS = {n: replace(RANKER, **c) for n, c in OF_HSTU.items() if n != "last event"}
LENGTHS = [1, 2, 7, LONGEST]
LATE = 2_000_000_000
CODES = torch.tensor([3, 1, DATA.items, 3])


def retriever(config: SequenceConfig) -> HSTU | SASRec:
    torch.manual_seed(0)
    sizes = DATA.context_sizes
    model: HSTU | SASRec
    if isinstance(config, HSTUConfig):
        model = HSTU(config, DATA.items, context_sizes=sizes)
    else:
        assert isinstance(config, SASRecConfig)
        model = SASRec(config, DATA.items, context_sizes=sizes)
    shake(model)
    return model.eval()


def ranker(config: HSTURankerConfig) -> HSTURanker:
    torch.manual_seed(0)
    model = HSTURanker(config, DATA.items, context_sizes=DATA.context_sizes)
    shake(model)
    return model.eval()


def person(length: int, seed: int = 0) -> SequenceBatch:
    """One person with so many events, some of them of one second."""
    draw = torch.Generator().manual_seed(100 * seed + length)
    gaps = 10 ** torch.randint(0, 6, (length,), generator=draw) - 1
    return SequenceBatch.serving(
        Jagged(
            torch.randint(1, DATA.items + 1, (length,), generator=draw), torch.tensor([0, length])
        ),
        time=1_000_000_000 + gaps.cumsum(0),
        request_time=torch.tensor([LATE]),
        action=torch.randint(0, 3, (length,), generator=draw),
        context=torch.randint(0, 4, (1, 2), generator=draw),
    )


def padded(one: Tensor | None, longest: int) -> Tensor:
    assert one is not None
    return torch.cat([one, torch.zeros(longest - len(one), dtype=torch.int64)])


def dense_inputs(
    config: SequenceConfig, people: list[SequenceBatch], pad: int = 0, *, timed: bool = True
) -> dict[str, Tensor]:
    """People as the padded twin of a retriever takes them, with `pad` more places."""
    own = config.repeats and timed
    lengths = [len(one.target) for one in people]
    longest = max([1, *lengths]) + pad
    found = {
        "items": torch.stack([padded(one.items.values, longest) for one in people]),
        "lengths": torch.tensor(lengths),
    }
    times = isinstance(config, HSTUConfig) and config.time
    known = isinstance(config, HSTUConfig) and config.request_time == "known"
    if times or own:
        found["time"] = torch.stack([padded(one.time, longest) for one in people])
        if known or own:
            found["next_time"] = torch.stack([padded(one.next_time, longest) for one in people])
    if config.context:
        found["context"] = torch.cat([one.context for one in people if one.context is not None])
    return found


def ranker_inputs(
    config: HSTURankerConfig, one: SequenceBatch, codes: Tensor = CODES
) -> dict[str, Tensor]:
    assert one.time is not None
    assert one.action is not None
    assert one.context is not None
    found = {"items": one.items.values, "actions": one.action, "candidates": codes}
    if config.time:
        found |= {"time": one.time, "request_time": torch.tensor([LATE])}
    return found | ({"context": one.context[0]} if config.context else {})


def one_by_one(
    config: HSTURankerConfig, one: SequenceBatch, codes: Tensor = CODES, now: int = LATE
) -> Tensor:
    """Logits of the eager ranker at each candidate in turn, as the next event of a sequence."""
    # An action follows the candidate there, and is the last of the tokens that go on.
    longer = config.truncate_to and config.truncate_to + 1
    model = ranker(replace(config, truncate_to=longer))
    assert one.time is not None
    assert one.action is not None
    rows = []
    for code in codes:
        batch = SequenceBatch.serving(
            Jagged(torch.cat([one.items.values, code[None]]), one.items.offsets + torch.arange(2)),
            time=torch.cat([one.time, torch.tensor([now])]),
            action=torch.cat([one.action, torch.tensor([0])]),
            context=one.context,
        )
        with torch.no_grad():
            rows.append(model.logits(batch)[0][-1])
    return torch.stack(rows)


def eager(model: HSTU | SASRec, one: SequenceBatch) -> tuple[Tensor, Tensor]:
    """(queries [1, D], what is added to the score of each item [1, N + 1])."""
    with torch.no_grad():
        queries = model.queries(one)
        person, codes, terms = model.own_terms(one, queries)
        added = torch.zeros(1, DATA.items + 1).index_put((person, codes), terms)
        return queries, added


def dense_said(dense: DenseRetriever, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The same of the padded twin, [U, D] and [U, N + 1]."""
    items = inputs["items"]
    with torch.no_grad():
        found = dense(**inputs)
        added = torch.zeros(len(items), DATA.items + 1)
        if isinstance(found, Tensor):
            return found, added
        return found[0], added.scatter_add(1, items, found[1])


@pytest.mark.parametrize("name", RETRIEVERS)
def test_a_dense_retriever_is_the_ragged_one(name: str) -> None:
    config = RETRIEVERS[name]
    model = retriever(config)
    dense = DenseRetriever(model)
    people = [person(length) for length in LENGTHS]
    wanted = [torch.cat(parts) for parts in zip(*(eager(model, p) for p in people), strict=True)]
    assert inputs_read(model) == tuple(dense_inputs(config, people))
    single = [dense_said(dense, dense_inputs(config, [one])) for one in people]
    alone = [torch.cat(parts) for parts in zip(*single, strict=True)]
    together = dense_said(dense, dense_inputs(config, people))
    roomy = dense_said(dense, dense_inputs(config, people[:3], 5))
    for found, rows in ((alone, 4), (together, 4), (roomy, 3)):
        for part, rightly in zip(found, wanted, strict=True):
            torch.testing.assert_close(part, rightly[:rows], rtol=1e-5, atol=1e-5)
    assert bool(wanted[1].any()) == config.repeats


@pytest.mark.parametrize("name", ["sasrec and own", "all and own"])
def test_repeats_without_times_count_places(name: str) -> None:
    config = RETRIEVERS[name]
    if isinstance(config, HSTUConfig):
        config = replace(config, time=False)
    model = retriever(config)
    assert "time" not in inputs_read(model, timed=False)
    dense = DenseRetriever(model, timed=False)
    for length in LENGTHS:
        one = replace(person(length), time=None, next_time=None)
        pad = min(2, LONGEST - length)
        found = dense_said(dense, dense_inputs(config, [one], pad, timed=False))
        for part, rightly in zip(found, eager(model, one), strict=True):
            torch.testing.assert_close(part, rightly, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["plain", "all", "sasrec", "sasrec, context, wide", "all and own"])
def test_somebody_without_events_has_a_query_of_zeros(name: str) -> None:
    config = RETRIEVERS[name]
    dense = DenseRetriever(retriever(config))
    found, added = dense_said(dense, dense_inputs(config, [person(0), person(3)]))
    other, more = dense_said(dense, dense_inputs(config, [person(3)]))
    assert float(found[0, : config.width].abs().sum()) == 0
    assert not added[0].any()
    torch.testing.assert_close(found[1:], other)
    torch.testing.assert_close(added[1:], more)


@pytest.mark.parametrize("name", RANKERS)
@pytest.mark.parametrize("events", [0, 1, 2, LONGEST - 1])
def test_a_dense_ranker_is_the_ragged_one(name: str, events: int) -> None:
    config, one = RANKERS[name], person(events)
    with torch.no_grad():
        found = DenseRanker(ranker(config))(**ranker_inputs(config, one))
    assert found.shape == (len(CODES), 2)
    torch.testing.assert_close(found, one_by_one(config, one), rtol=0, atol=1e-5)


def test_each_input_of_a_retriever_is_read_and_padding_is_not() -> None:
    config = RETRIEVERS["all and own"]
    dense, inputs = DenseRetriever(retriever(config)), dense_inputs(config, [person(7)], 2)
    assert set(inputs) == {"items", "lengths", "time", "next_time", "context"}
    with torch.no_grad():
        before = dense(**inputs)
        for name, value in inputs.items():
            after = dense(**inputs | {name: _other(name, value)})
            assert not torch.equal(after[0], before[0]), name
            assert not torch.equal(after[1], before[1]), name
        for name in ("items", "time", "next_time"):
            value = inputs[name].clone()
            value[:, 7:] += 9
            found = dense(**inputs | {name: value})
            torch.testing.assert_close(found, before, rtol=0, atol=1e-5)


def test_each_input_of_a_ranker_is_read() -> None:
    config = RANKERS["all"]
    dense, inputs = DenseRanker(ranker(config)), ranker_inputs(config, person(7))
    assert set(inputs) == {*("items", "actions", "candidates", "time", "request_time", "context")}
    with torch.no_grad():
        before = dense(**inputs)
        for name, value in inputs.items():
            assert not torch.equal(dense(**inputs | {name: _other(name, value)}), before), name


def _other(name: str, value: Tensor) -> Tensor:
    """An input of the same shape that says something else."""
    if "time" in name:
        # Enough seconds for another bucket.
        return value - 9 * 10**8 * torch.arange(1, value.shape[-1] + 1)
    return (value + 1) % 3 if name in ("actions", "context") else (value - 1).clamp(min=0)


def test_a_forgotten_mask_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.pairs

    def open_(*given: Any) -> tuple[Tensor, Tensor]:
        admitted, distance = real(*given)
        return torch.ones_like(admitted), distance

    monkeypatch.setattr(module, "pairs", open_)
    with pytest.raises(AssertionError):
        test_a_dense_retriever_is_the_ragged_one("plain")
    with pytest.raises(AssertionError):
        test_a_dense_ranker_is_the_ragged_one("plain", LONGEST - 1)
