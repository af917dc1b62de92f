"""A history that is read on is what it would be if it were read from the beginning."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from adwright.core.errors import ValueInvalidError
from adwright.data.batches.jagged import Jagged
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.models.sequential import mfalcon as module
from adwright.models.sequential.hstu_ranker import HSTURanker, HSTURankerConfig
from adwright.models.sequential.mfalcon import History, in_common, layers_of, read_history
from tests.models.sequential.test_hstu_ranker import ALL, CONFIG
from tests.support.models.sequence_checks import DATA, LONGEST, shake

CONFIGS = {
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


MODELS = {name: _model(config) for name, config in CONFIGS.items()}


def person_of(events: int, seed: int = 0) -> SequenceBatch:
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
    name=st.sampled_from(sorted(CONFIGS)),
    lengths=st.lists(st.integers(0, LONGEST - 1), min_size=2, max_size=4),
    seed=st.integers(0, 5),
)
def test_read_on_is_read_afresh(name: str, lengths: list[int], seed: int) -> None:
    """Through any number of visits, longer and shorter."""
    model, kept = MODELS[name], None
    for events in lengths:
        person = _first(person_of(LONGEST, seed), events)
        common = 0 if kept is None else in_common(model, kept, person)
        before = 0 if kept is None else kept.events
        contexts = 0 if kept is None else kept.contexts
        least = min(before, events)
        assert common == (contexts + 2 * least if least or not max(before, events) else 0)
        kept = read_history(model, person, kept, common)
        _same(kept, read_history(model, person))


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(CONFIGS)),
    place=st.integers(0, 9),
    what=st.sampled_from(["item", "time", "action"]),
)
def test_what_changed_in_the_past_is_read_again(name: str, place: int, what: str) -> None:
    model, person = MODELS[name], person_of(10)
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


def test_another_context_has_nothing_in_common() -> None:
    model, person = MODELS["context"], person_of(5)
    kept = read_history(model, person)
    assert person.context is not None
    assert in_common(model, kept, replace(person, context=person.context - 1)) == 0
    without = MODELS["plain"]
    kept = read_history(without, person)
    assert in_common(without, kept, replace(person, context=person.context - 1)) == 10


def test_events_cut_at_the_front_have_nothing_in_common() -> None:
    model, person = MODELS["plain"], person_of(10)
    later = person.at(torch.arange(1, 10), torch.tensor([0, 9]))
    assert in_common(model, read_history(model, person), later) == 0


def test_a_token_that_saw_ahead_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The property is about the mask: without it, reading on gives something else."""
    real = module.pairs

    def open_(i: Tensor, j: Tensor, *rest: object) -> tuple[Tensor, Tensor]:
        admitted, distance = real(i, j, *rest)  # type: ignore[arg-type]
        return torch.ones_like(admitted), distance

    monkeypatch.setattr(module, "pairs", open_)
    model, person = MODELS["deep"], person_of(12)
    kept = read_history(model, _first(person, 6))
    found = read_history(model, person, kept, 12)
    with pytest.raises(AssertionError):
        _same(found, read_history(model, person))


def test_only_the_new_tokens_are_projected(monkeypatch: pytest.MonkeyPatch) -> None:
    model, person = MODELS["deep"], person_of(12)
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
    model, person = MODELS["plain"], person_of(5)
    kept = read_history(model, person)
    for poorer, message in (
        (replace(person, action=None), "done with"),
        (replace(person, time=None, next_time=None), "seconds"),
    ):
        with pytest.raises(ValueInvalidError, match=message):
            read_history(model, poorer, kept, in_common(model, kept, poorer))


def test_a_history_without_room_is_refused() -> None:
    with pytest.raises(ValueInvalidError, match="no place"):
        read_history(MODELS["plain"], person_of(LONGEST))


def test_a_history_of_another_model_is_refused() -> None:
    kept = read_history(MODELS["plain"], person_of(5))
    with pytest.raises(ValueInvalidError, match="without truncation"):
        read_history(MODELS["truncation"], person_of(6), kept, 10)
