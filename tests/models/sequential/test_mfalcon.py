"""M-FALCON against scoring one candidate after another, and what it keeps."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from adwright.core.errors import ConfigError, MissingExtraError, ValueInvalidError
from adwright.core.vector_code import has_pairs
from adwright.data.batches.jagged import Jagged
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.models.kernels.attention_spec import time_bucket
from adwright.models.sequential import mfalcon as module
from adwright.models.sequential.hstu_ranker import HSTURanker, HSTURankerConfig
from adwright.models.sequential.mfalcon import (
    Falcon,
    FusedScorer,
    History,
    Kernel,
    LayerHistory,
    LayerMask,
    in_common,
    layer_masks,
    layers_of,
    read_history,
    score_candidates,
)
from tests.models.sequential.test_hstu_ranker import ALL, CONFIG
from tests.support.models.sequence_checks import DATA, LONGEST, batch_of, shake

CODES = torch.arange(1, DATA.items + 1)
LATE = 2_000_000_000


def model_of(config: HSTURankerConfig = CONFIG) -> HSTURanker:
    torch.manual_seed(0)
    model = HSTURanker(config, DATA.items, context_sizes=DATA.context_sizes)
    shake(model)
    return model.eval()


def person_of(u: int, events: int = 99) -> SequenceBatch:
    batch = batch_of([u])
    kept = torch.arange(min(events, int(batch.items.offsets[-1])))
    return batch.at(kept, torch.tensor([0, len(kept)]))


def _with(person: SequenceBatch, code: int, now: int) -> SequenceBatch:
    """The history with one more event, whose action is unknown."""
    assert person.time is not None
    assert person.action is not None

    def more(values: Tensor, value: int) -> Tensor:
        return torch.cat([values, torch.tensor([value])])

    items = Jagged(more(person.items.values, code), person.items.offsets + torch.tensor([0, 1]))
    return SequenceBatch.serving(
        items, time=more(person.time, now), action=more(person.action, 0), context=person.context
    )


def _one_by_one(model: HSTURanker, person: SequenceBatch, now: int = LATE) -> Tensor:
    """Logits of the last item of sequences that end with each candidate in turn."""
    rows = [model.logits(_with(person, int(code), now))[0][-1] for code in CODES]
    return torch.stack(rows).detach()


CONFIGS = {
    "plain": CONFIG,
    "no bias": replace(CONFIG, time=False, position=False),
    "position": replace(CONFIG, time=False),
    "time": replace(CONFIG, position=False),
    "context": replace(CONFIG, context=True),
    "window": replace(CONFIG, window=4),
    "window of one": replace(CONFIG, window=1, blocks=3),
    "prefix": replace(CONFIG, window=4, prefix=3),
    "window and context": replace(CONFIG, window=4, context=True),
    "truncation": replace(CONFIG, truncate_after=1, truncate_to=5),
    "group": replace(CONFIG, norm="group"),
    "concat": replace(CONFIG, concat=True),
    "scaled": replace(CONFIG, scaled=True),
    "many heads": replace(CONFIG, heads=7, qk_width=1, v_width=3),
    "odd sizes": replace(CONFIG, width=13, heads=3, qk_width=5, v_width=7, blocks=3),
    "whole vectors": replace(CONFIG, width=32, heads=2, qk_width=16, v_width=16),
    "all": ALL,
}


@pytest.mark.parametrize("kernel", ["plain", "fused"])
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("events", [0, 1, 99])
def test_it_is_the_same_as_one_by_one(name: str, events: int, kernel: Kernel) -> None:
    config = CONFIGS[name]
    model = model_of(config)
    person = person_of(3, events)
    falcon = Falcon(model, micro_batch=4, kernel=kernel)
    found = falcon.score(person, CODES, request_time=LATE)
    # In the sequences of one candidate each, an action token follows the candidate.
    if config.truncate_to:
        model = model_of(replace(config, truncate_to=config.truncate_to + 1))
    torch.testing.assert_close(found, _one_by_one(model, person), rtol=1e-5, atol=1e-5)


def test_bfloat16_is_as_near_as_its_rounding() -> None:
    """It is used, kept histories included, and it does not add up."""
    for name in ("plain", "window and context", "odd sizes", "all"):
        model, person = model_of(CONFIGS[name]), person_of(3)
        exact = Falcon(model).score(person, CODES, request_time=LATE)
        falcon = Falcon(model, precision="bfloat16")
        found = falcon.score(person, CODES, request_time=LATE, key=3)
        torch.testing.assert_close(found, exact, rtol=0.05, atol=0.05)
        assert torch.equal(found, exact) == (not has_pairs())
        longer = _with(person, 5, LATE)
        found = falcon.score(longer, CODES, request_time=LATE, key=3)
        assert falcon.extended == 1
        exact = Falcon(model).score(longer, CODES, request_time=LATE)
        torch.testing.assert_close(found, exact, rtol=0.05, atol=0.05)


def test_without_numba_torch_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    model, person = model_of(), person_of(3)
    wanted = Falcon(model).score(person, CODES, request_time=LATE)
    monkeypatch.setattr("adwright.models.sequential.mfalcon.find_spec", lambda name: None)
    found = Falcon(model).score(person, CODES, request_time=LATE)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    with pytest.raises(MissingExtraError, match="fast"):
        Falcon(model, kernel="fused")


def test_new_weights_count_after_a_clearing() -> None:
    model, person = model_of(), person_of(3)
    falcon = Falcon(model)
    falcon.score(person, CODES, request_time=LATE)
    shake(model)
    falcon.clear()
    found = falcon.score(person, CODES, request_time=LATE)
    fresh = Falcon(model).score(person, CODES, request_time=LATE)
    assert torch.equal(found, fresh)


def test_a_candidate_is_judged_alone() -> None:
    """Neither company nor order nor the size of the micro-batches matter."""
    model, person = model_of(), person_of(3)
    together = Falcon(model).score(person, CODES, request_time=LATE)
    for size in (1, 4, 15):
        found = Falcon(model, micro_batch=size).score(person, CODES, request_time=LATE)
        torch.testing.assert_close(found, together, rtol=1e-5, atol=1e-5)
    back = Falcon(model).score(person, CODES.flip(0), request_time=LATE)
    torch.testing.assert_close(back.flip(0), together, rtol=1e-5, atol=1e-5)
    assert Falcon(model).score(person, CODES[:0], request_time=LATE).shape == (0, 2)


def test_a_forgotten_mask_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.LayerMask.of

    def open_(*given: Any) -> module.LayerMask:
        mask = real(*given)
        return replace(mask, admitted=torch.ones_like(mask.admitted))

    monkeypatch.setattr(module.LayerMask, "of", open_)
    with pytest.raises(AssertionError):
        test_it_is_the_same_as_one_by_one("window", 99, "plain")


def test_a_history_is_read_once_and_again_after_a_new_event() -> None:
    falcon, person = Falcon(model_of()), person_of(3)
    first = falcon.score(person, CODES, request_time=LATE)
    assert torch.equal(falcon.score(person, CODES, request_time=LATE), first)
    later = falcon.score(person, CODES, request_time=LATE + 10**10)
    assert (falcon.hits, falcon.misses) == (2, 1)
    assert not torch.equal(later, first)
    assert person.action is not None
    assert person.time is not None
    for other in (
        _with(person, 3, LATE),
        replace(person, action=3 - person.action),
        replace(person, time=person.time - 1),
    ):
        before = falcon.misses
        found = falcon.score(other, CODES, request_time=LATE)
        assert falcon.misses == before + 1
        fresh = Falcon(falcon.model).score(other, CODES, request_time=LATE)
        assert torch.equal(found, fresh)


def test_a_person_who_comes_again_is_read_on() -> None:
    falcon, person = Falcon(model_of()), person_of(3)
    longer, other = _with(person, 3, LATE), person_of(4)
    for history, counts in (
        (person, (0, 0, 1)),
        (person, (1, 0, 1)),
        (longer, (1, 1, 1)),
        (longer, (2, 1, 1)),
        (person, (2, 2, 1)),
        (other, (2, 2, 2)),
    ):
        found = falcon.score(history, CODES, request_time=LATE, key="17")
        assert (falcon.hits, falcon.extended, falcon.misses) == counts
        assert len(falcon) == 1
        fresh = Falcon(falcon.model).score(history, CODES, request_time=LATE)
        torch.testing.assert_close(found, fresh, rtol=1e-5, atol=1e-5)
    falcon.score(other, CODES, request_time=LATE, key="18")
    falcon.score(other, CODES, request_time=LATE)
    assert (falcon.misses, len(falcon)) == (4, 3)


def test_many_threads_may_ask() -> None:
    falcon = Falcon(model_of(), capacity=3)
    people = [person_of(u) for u in range(6)]
    alone = [falcon.score(one, CODES, request_time=LATE) for one in people]

    def ask(turn: int) -> bool:
        u = turn * 7 % 6
        key = None if turn % 2 else u % 4
        found = falcon.score(people[u], CODES, request_time=LATE, key=key)
        return torch.allclose(found, alone[u], rtol=1e-5, atol=1e-5)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(60)))
    assert falcon.hits + falcon.extended + falcon.misses == 66
    assert len(falcon) == 3


def test_the_least_recently_used_history_goes() -> None:
    falcon = Falcon(model_of(), capacity=2)
    for u in (0, 1, 0, 2):  # 1 goes
        falcon.score(person_of(u), CODES, request_time=LATE)
    assert (falcon.hits, falcon.misses) == (1, 3)
    falcon.score(person_of(0), CODES, request_time=LATE)
    assert falcon.hits == 2
    falcon.score(person_of(1), CODES, request_time=LATE)
    assert falcon.misses == 4
    falcon.clear()
    falcon.score(person_of(1), CODES, request_time=LATE)
    assert falcon.misses == 5
    none = Falcon(model_of(), capacity=0)
    for _ in range(2):
        none.score(person_of(0), CODES, request_time=LATE)
    assert none.misses == 2


def test_what_cannot_be_scored_is_refused() -> None:
    falcon = Falcon(model_of())
    with pytest.raises(ValueInvalidError, match="one person"):
        falcon.score(batch_of([0, 1]), CODES, request_time=LATE)
    with pytest.raises(ValueInvalidError, match="reads times"):
        falcon.score(person_of(0), CODES)
    bare = Falcon(model_of(replace(CONFIG, time=False)))
    assert bare.score(person_of(0), CODES).shape == (DATA.items, 2)
    tight = Falcon(model_of(replace(CONFIG, max_length=3)))
    with pytest.raises(ValueInvalidError, match="no place"):
        tight.score(person_of(0, 3), CODES, request_time=LATE)
    for wrong in (
        {"micro_batch": 0},
        {"capacity": -1},
        {"precision": "float16"},
        {"kernel": "triton"},
    ):
        with pytest.raises(ConfigError):
            Falcon(model_of(), **wrong)  # type: ignore[arg-type]


CONFIGS_MFALCON_CACHE = {
    "plain": CONFIG,
    "deep": replace(CONFIG, blocks=4),
    "no bias": replace(CONFIG, time=False, position=False),
    "context": replace(CONFIG, context=True),
    "window": replace(CONFIG, window=4, blocks=3),
    "prefix": replace(CONFIG, window=4, prefix=3, context=True),
    "truncation": replace(CONFIG, truncate_after=1, truncate_to=5, blocks=3),
    "late truncation": replace(CONFIG, truncate_after=2, truncate_to=8, blocks=3),
    "truncation and context": replace(
        CONFIG, truncate_after=1, truncate_to=6, blocks=3, context=True, window=3, prefix=2
    ),
    "all": ALL,
}


def _model(config: HSTURankerConfig) -> HSTURanker:
    torch.manual_seed(0)
    model = HSTURanker(config, DATA.items, context_sizes=DATA.context_sizes)
    shake(model)
    return model.eval()


MODELS = {name: _model(config) for name, config in CONFIGS_MFALCON_CACHE.items()}


def drawn_person(events: int, seed: int = 0) -> SequenceBatch:
    """Somebody with times that stand still or move, and all actions."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(high: int) -> Tensor:
        return torch.randint(0, high, (max(events, LONGEST),), generator=generator)[:events]

    items = Jagged(1 + drawn(DATA.items), torch.tensor([0, events]))
    time = 1_600_000_000 + (10 ** drawn(7) * drawn(2)).cumsum(0)
    context = torch.tensor([[1] * len(DATA.context_sizes)])
    return SequenceBatch.serving(items, time=time, action=drawn(3), context=context)


def _first(person: SequenceBatch, events: int) -> SequenceBatch:
    return person.at(torch.arange(events), torch.tensor([0, events]))


def _same(found: History, fresh: History) -> None:
    assert (found.events, found.contexts, found.tokens) == (
        *(fresh.events, fresh.contexts),
        fresh.tokens,
    )
    assert found.person is fresh.person
    for one, other in zip(found.layers, fresh.layers, strict=True):
        assert len(one) == len(other)
        torch.testing.assert_close(one.k, other.k, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(one.v, other.v, rtol=1e-5, atol=1e-5)
        assert (one.time is None) == (other.time is None)
        assert one.time is None or other.time is None or torch.equal(one.time, other.time)
    assert (found.before is None) == (fresh.before is None)
    if found.before is not None and fresh.before is not None:
        torch.testing.assert_close(found.before, fresh.before, rtol=1e-5, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(CONFIGS_MFALCON_CACHE)),
    lengths=st.lists(st.integers(0, LONGEST - 1), min_size=2, max_size=4),
    seed=st.integers(0, 5),
)
def test_read_on_is_read_afresh(name: str, lengths: list[int], seed: int) -> None:
    """Through any number of visits, longer and shorter."""
    model, kept = MODELS[name], None
    for events in lengths:
        person = _first(drawn_person(LONGEST, seed), events)
        common = 0 if kept is None else in_common(model, kept, person)
        before = 0 if kept is None else kept.events
        contexts = 0 if kept is None else kept.contexts
        least = min(before, events)
        assert common == (contexts + 2 * least if least or not max(before, events) else 0)
        kept = read_history(model, person, kept, common)
        _same(kept, read_history(model, person))


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(CONFIGS_MFALCON_CACHE)),
    place=st.integers(0, 9),
    what=st.sampled_from(["item", "time", "action"]),
)
def test_what_changed_in_the_past_is_read_again(name: str, place: int, what: str) -> None:
    model, person = MODELS[name], drawn_person(10)
    assert person.time is not None
    assert person.action is not None
    changed = {
        "item": replace(person, items=replace(person.items, values=person.items.values.clone())),
        "time": replace(person, time=person.time.clone()),
        "action": replace(person, action=person.action.clone()),
    }[what]
    match what:
        case "item":
            changed.items.values[place] = changed.items.values[place] % DATA.items + 1
        case "time":
            assert changed.time is not None
            changed.time[place] += 12_345
        case _:
            assert changed.action is not None
            changed.action[place] = (changed.action[place] + 1) % 3
    kept = read_history(model, person)
    common = in_common(model, kept, changed)
    unread = what == "time" and not model.config.time
    # An item stands before its own action.
    wanted = 2 * place + int(what == "action")
    wanted = 20 if unread else wanted
    assert common == (kept.contexts + wanted if wanted else 0)
    _same(read_history(model, changed, kept, common), read_history(model, changed))


def test_a_token_that_saw_ahead_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The property is about the mask: without it, reading on gives something else."""
    real = module.pairs

    def open_(i: Tensor, j: Tensor, *rest: object) -> tuple[Tensor, Tensor]:
        admitted, distance = real(i, j, *rest)  # type: ignore[arg-type]
        return torch.ones_like(admitted), distance

    monkeypatch.setattr(module, "pairs", open_)
    model, person = MODELS["deep"], drawn_person(12)
    kept = read_history(model, _first(person, 6))
    found = read_history(model, person, kept, 12)
    with pytest.raises(AssertionError):
        _same(found, read_history(model, person))


def test_only_the_new_tokens_are_projected(monkeypatch: pytest.MonkeyPatch) -> None:
    model, person = MODELS["deep"], drawn_person(12)
    kept = read_history(model, _first(person, 11))
    sizes = []
    real = type(layers_of(model)[0]).project

    def counted(layer: object, x: Tensor) -> object:
        sizes.append(len(x))
        return real(layer, x)  # type: ignore[arg-type]

    monkeypatch.setattr(type(layers_of(model)[0]), "project", counted)
    read_history(model, person, kept, 22)
    assert sizes == [2] * 4


def test_what_is_missing_is_said_also_to_somebody_known() -> None:
    model, person = MODELS["plain"], drawn_person(5)
    kept = read_history(model, person)
    for poorer, message in (
        (replace(person, action=None), "done with"),
        (replace(person, time=None, next_time=None), "seconds"),
    ):
        with pytest.raises(ValueInvalidError, match=message):
            read_history(model, poorer, kept, in_common(model, kept, poorer))


def test_a_history_of_another_model_is_refused() -> None:
    kept = read_history(MODELS["plain"], drawn_person(5))
    with pytest.raises(ValueInvalidError, match="without truncation"):
        read_history(MODELS["truncation"], drawn_person(6), kept, 10)


pairs = pytest.mark.skipif(not has_pairs(), reason="the processor multiplies no bfloat16")


LARGE = HSTURankerConfig(
    width=40,
    max_length=200,
    heads=3,
    qk_width=20,
    v_width=9,
    blocks=3,
    dropout=0.0,
    actions=3,
    tasks=(("any", (1, 2)),),
)


def _large(**change: Any) -> HSTURanker:
    torch.manual_seed(1)
    model = HSTURanker(replace(LARGE, **change), DATA.items, context_sizes=DATA.context_sizes)
    shake(model, 0.1)
    return model.eval()


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"window": 30, "prefix": 21, "context": True},
        {"window": 300, "prefix": 5},
        {"window": 290, "prefix": 150},
        {"truncate_after": 1, "truncate_to": 250, "norm": "group", "concat": True},
    ],
)
@pytest.mark.parametrize("candidates", [1, 8, 113, 300])
def test_many_tiles_equal_torch(change: dict[str, Any], candidates: int) -> None:
    """Tiles begin and end anywhere, in candidates and in tokens."""
    model = _large(**change)
    history = read_history(model, drawn_person(190))
    codes = torch.arange(candidates) % DATA.items + 1
    masks = layer_masks(model, history, LATE)
    with torch.no_grad():
        wanted = score_candidates(model, history, codes, masks)
    fused = FusedScorer(model)
    found = fused.score(fused.pack(history), codes, masks)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_what_was_not_packed_is_refused() -> None:
    model = model_of()
    history = read_history(model, drawn_person(5))
    with pytest.raises(ValueInvalidError, match="packed"):
        FusedScorer(model).score(
            history, torch.ones(1, dtype=torch.long), layer_masks(model, history, 0)
        )


@pytest.mark.parametrize(
    "config", [CONFIG, replace(CONFIG, window=5, prefix=2), replace(ALL, truncate_to=6)]
)
def test_one_layer_follows_the_formula(config: HSTURankerConfig) -> None:
    model = model_of(replace(config, blocks=1, truncate_after=0, truncate_to=0))
    history = read_history(model, person_of(3, 7))
    (layer,), (seen,) = layers_of(model), history.layers
    found = score_candidates(model, history, CODES, layer_masks(model, history, LATE))
    always = max(history.contexts, config.prefix)
    assert layer.rab_p is not None
    assert layer.rab_t is not None
    assert seen.time is not None
    for code, row in zip(CODES[:3], found, strict=False):
        x = model.candidates(code[None], history.events)
        parts = layer.project(x)
        total = torch.zeros(config.heads, config.v_width)
        for h in range(config.heads):
            for j in range(len(seen)):
                distance = len(seen) - j
                if config.window and distance >= config.window and j >= always:
                    continue
                bias = layer.rab_p[distance] + layer.rab_t[time_bucket(LATE - seen.time[j])]
                s = layer.alpha * parts.q[0, h] @ seen.k[j, h] + bias
                total[h] += s * torch.sigmoid(s) * seen.v[j, h]
            s = layer.alpha * parts.q[0, h] @ parts.k[0, h] + layer.rab_p[0] + layer.rab_t[0]
            total[h] += s * torch.sigmoid(s) * parts.v[0, h]
        wanted = layer.merge(parts.u, total[None] / layer.longest, x)[0]
        torch.testing.assert_close(row, wanted, rtol=1e-5, atol=1e-5)


def test_what_a_window_leaves() -> None:
    mask = LayerMask.of(None, 6, 0, 3, 2)
    assert mask.distance.tolist() == [6, 5, 4, 3, 2, 1]
    assert mask.admitted.tolist() == [True, True, False, False, True, True]
    assert not mask.bucket.any()
    assert LayerMask.of(None, 4, 0, 0, 0).admitted.all()
    late = LayerMask.of(torch.tensor([5, 90]), 2, 100, 0, 0)
    assert late.bucket.tolist() == [int(time_bucket(torch.tensor(s))) for s in (95, 10)]


def test_an_event_hidden_by_the_window_changes_nothing() -> None:
    """The mask at work: K and V of hidden tokens may be anything."""
    model = model_of(replace(CONFIG, blocks=1, window=5, prefix=2))
    history = read_history(model, person_of(3, 7))
    masks = layer_masks(model, history, LATE)
    before = score_candidates(model, history, CODES, masks)
    (seen,) = history.layers
    hidden = ~masks[0].admitted
    assert 0 < int(hidden.sum()) < len(hidden)

    def moved(where: torch.Tensor) -> torch.Tensor:
        k = seen.k + 10.0 * where[:, None, None]
        layers = (LayerHistory(k, seen.v, seen.time),)
        return score_candidates(model, replace(history, layers=layers), CODES, masks)

    assert torch.equal(moved(hidden), before)
    assert not torch.allclose(moved(~hidden), before)
