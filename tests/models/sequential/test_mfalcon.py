"""M-FALCON against scoring one candidate after another, and what it keeps."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from adwright.core.errors import ConfigError, MissingExtraError, ValueInvalidError
from adwright.core.vector_code import has_pairs
from adwright.data.batches.jagged import Jagged
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.models.sequential import mfalcon as module
from adwright.models.sequential.hstu_ranker import HSTURanker, HSTURankerConfig
from adwright.models.sequential.mfalcon import Falcon, Kernel
from tests.models.sequential.test_hstu_ranker import ALL, CONFIG
from tests.support.models.sequence_checks import DATA, batch_of, shake

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
        items,
        time=more(person.time, now),
        action=more(person.action, 0),
        context=person.context,
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


def test_a_kept_history_is_not_mistaken_for_another_person(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is in common is asked for each time, also under the same key."""
    monkeypatch.setattr(
        "adwright.models.sequential.mfalcon.in_common", lambda model, kept, person: kept.tokens
    )
    with pytest.raises((AssertionError, RuntimeError)):
        test_a_person_who_comes_again_is_read_on()


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
