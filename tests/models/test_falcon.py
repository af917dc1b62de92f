"""M-FALCON against scoring one candidate after another, and what it keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.item_sequences import SequenceBatch
from adwright.data.jagged import Jagged
from adwright.models import falcon as module
from adwright.models.falcon import Falcon
from adwright.models.hstu_ranking import HSTURanker, HSTURankerConfig
from tests.models.sequence_ladder import DATA, batch_of, shake
from tests.models.test_hstu_ranking import ALL, CONFIG

CODES = torch.arange(1, DATA.items + 1)
LATE = 2_000_000_000


def _model(config: HSTURankerConfig = CONFIG) -> HSTURanker:
    torch.manual_seed(0)
    model = HSTURanker(config, DATA.items, context_sizes=DATA.context_sizes)
    shake(model)
    return model.eval()


def _person(u: int, events: int = 99) -> SequenceBatch:
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


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, time=False, position=False),
        replace(CONFIG, context=True),
        replace(CONFIG, window=4),
        replace(CONFIG, window=4, prefix=3),
        replace(CONFIG, window=4, context=True),
        replace(CONFIG, truncate_after=1, truncate_to=5),
        ALL,
    ],
    ids=[
        "plain",
        "no bias",
        "context",
        "window",
        "prefix",
        "window and context",
        "truncation",
        "all",
    ],
)
@pytest.mark.parametrize("events", [0, 1, 99])
def test_it_is_the_same_as_one_by_one(config: HSTURankerConfig, events: int) -> None:
    model = _model(config)
    person = _person(3, events)
    found = Falcon(model, micro_batch=4).score(person, CODES, request_time=LATE)
    # In the sequences of one candidate each, an action token follows the candidate.
    if config.truncate_to:
        model = _model(replace(config, truncate_to=config.truncate_to + 1))
    torch.testing.assert_close(found, _one_by_one(model, person), rtol=1e-5, atol=1e-5)


def test_a_candidate_is_judged_alone() -> None:
    """Neither company nor order nor the size of the micro-batches matter."""
    model, person = _model(), _person(3)
    together = Falcon(model).score(person, CODES, request_time=LATE)
    for size in (1, 4, 15):
        found = Falcon(model, micro_batch=size).score(person, CODES, request_time=LATE)
        torch.testing.assert_close(found, together, rtol=1e-5, atol=1e-5)
    back = Falcon(model).score(person, CODES.flip(0), request_time=LATE)
    torch.testing.assert_close(back.flip(0), together, rtol=1e-5, atol=1e-5)
    assert Falcon(model).score(person, CODES[:0], request_time=LATE).shape == (0, 2)


def test_a_forgotten_mask_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = module._places

    def open_(tokens: int, window: int, always: int) -> tuple[Tensor, Tensor]:
        distance, admitted = real(tokens, window, always)
        return distance, torch.ones_like(admitted)

    monkeypatch.setattr(module, "_places", open_)
    with pytest.raises(AssertionError):
        test_it_is_the_same_as_one_by_one(replace(CONFIG, window=4), 99)


def test_a_history_is_read_once_and_again_after_a_new_event() -> None:
    falcon, person = Falcon(_model()), _person(3)
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


def test_the_least_recently_used_history_goes() -> None:
    falcon = Falcon(_model(), capacity=2)
    for u in (0, 1, 0, 2):  # 1 goes
        falcon.score(_person(u), CODES, request_time=LATE)
    assert (falcon.hits, falcon.misses) == (1, 3)
    falcon.score(_person(0), CODES, request_time=LATE)
    assert falcon.hits == 2
    falcon.score(_person(1), CODES, request_time=LATE)
    assert falcon.misses == 4
    falcon.clear()
    falcon.score(_person(1), CODES, request_time=LATE)
    assert falcon.misses == 5
    none = Falcon(_model(), capacity=0)
    for _ in range(2):
        none.score(_person(0), CODES, request_time=LATE)
    assert none.misses == 2


def test_what_cannot_be_scored_is_refused() -> None:
    falcon = Falcon(_model())
    with pytest.raises(ValueInvalidError, match="one person"):
        falcon.score(batch_of([0, 1]), CODES, request_time=LATE)
    with pytest.raises(ValueInvalidError, match="reads times"):
        falcon.score(_person(0), CODES)
    bare = Falcon(_model(replace(CONFIG, time=False)))
    assert bare.score(_person(0), CODES).shape == (DATA.items, 2)
    tight = Falcon(_model(replace(CONFIG, max_length=3)))
    with pytest.raises(ValueInvalidError, match="no place"):
        tight.score(_person(0, 3), CODES, request_time=LATE)
    for wrong in ({"micro_batch": 0}, {"capacity": -1}):
        with pytest.raises(ConfigError):
            Falcon(_model(), **wrong)
