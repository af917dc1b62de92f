"""Training an HSTU ranker on choices: what was taken beside what was not, after one history.

In a log of purchases every action is the same, so a ranker that reads items and actions in turn
(`hstu_ranker`) has nothing to tell apart. Drawn negatives among the events, with an action of their
own, would give it something; but then every history in training would be full of events that nobody
did, and none in serving is. So a history here holds only what was taken, and what was and was not
taken at one moment are candidates after it: each sees the events before that moment and itself,
stands at the place after them and at the time of the moment, and has a label. Serving asks the same
of `mfalcon`, with the same mask, place and time:

    [ context, Phi_0, a_0, ..., Phi_n-1, a_n-1 ]  c_1  c_2  ...  c_m       (`AttentionSpec.targets`)

The action of every event is then the same; its token costs time and says that something happened.
Where a log knows more (viewed, returned), actions say it.

`ChoiceRanker` learns from the sequences of `fit_sequential`: from each it draws a new moment
whenever it is read, takes what was taken then, and draws negatives as the choice task does
(`data.tasks.negatives`), whose odds are undone in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from adwright.core.errors import ValueInvalidError
from adwright.data.batches.jagged import Jagged
from adwright.data.ranges import ranges, run_starts
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.data.tasks.negatives import Draws, draw_negatives, popular_share
from adwright.models.kernels.attention_spec import dropout
from adwright.models.sequential.hstu_ranker import HSTURanker, HSTURankerConfig
from adwright.models.sequential.mfalcon import layers_of
from adwright.models.sequential.sequence_model import SequenceModel, SequenceTokens

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Choices:
    """What U users choose from.

    past: their histories, each of at least one event; next_time of the last event says when they
    choose. items: Jagged int64, C candidates. label: float [C], 1 for what was taken.
    """

    past: SequenceBatch
    items: Jagged
    label: Tensor

    def __post_init__(self) -> None:
        if len(self.past) != len(self.items) or self.label.shape != self.items.values.shape:
            raise ValueInvalidError(
                "choices are a history and a list of candidates a person, with a label each",
                value=f"{len(self.past)} histories, {len(self.items)} lists, "
                f"{len(self.items.values)} candidates, {len(self.label)} labels",
            )
        if len(self.past) and int(self.past.items.lengths.min()) < 1:
            raise ValueInvalidError(
                "a choice comes after a history", hint="leave out people without an event"
            )


class ChoiceRanker(HSTURanker):
    """An HSTU ranker that is trained on choices; in serving it is an `HSTURanker`.

    draws: the negatives. count: int64 [N + 1], training events of each item code.
    Sequences without actions are read as if everything was taken, action 1.
    """

    def __init__(
        self,
        config: HSTURankerConfig,
        items: int,
        *,
        draws: Draws,
        count: Ints,
        context_sizes: tuple[int, ...] = (),
    ) -> None:
        super().__init__(config, items, context_sizes=context_sizes)
        self.draws, self.share = draws, popular_share(count)

    def loss(self, batch: SequenceBatch) -> Tensor:
        """Binary cross-entropy [] of a choice a person, averaged over its candidates and summed
        over the people who have one."""
        # Of torch's generator, whose state a training run keeps.
        rng = np.random.default_rng(int(torch.randint(1 << 62, ())))
        choices = self.choices(batch, rng)
        candidates = max(len(choices.label), 1)
        return choice_loss(self, choices) / candidates * len(choices.past)

    def asked(self, batch: SequenceBatch) -> int:
        """Count the users who have a moment to learn from."""
        return len(_Moments.of(batch).people)

    def choices(self, batch: SequenceBatch, rng: np.random.Generator) -> Choices:
        """Draw a moment of each user among those after the first."""
        moments = _Moments.of(batch)
        people, first = moments.people, moments.first
        pick = (rng.random(len(people)) * np.diff(moments.offsets)).astype(np.int64)
        begin, end = (side[moments.offsets[:-1] + pick] for side in (moments.start, moments.end))
        place, offsets = ranges(first, begin - first)
        bare = replace(batch, context=None)
        past = bare.at(torch.from_numpy(place), torch.from_numpy(offsets))
        if past.time is not None and past.next_time is not None and batch.time is not None:
            following = past.time.roll(-1)
            following[past.items.offsets[1:] - 1] = batch.time[torch.from_numpy(begin)]
            past = replace(past, next_time=following)
        context = None if batch.context is None else batch.context[torch.from_numpy(people)]
        past = replace(past, context=context)
        taken, bounds = ranges(begin, end - begin)
        items = batch.items.values.numpy()
        return with_negatives(past, items[taken], bounds, self.draws, self.share, rng)


def with_negatives(
    past: SequenceBatch,
    taken: Ints,
    bounds: Ints,
    draws: Draws,
    share: NDArray[np.float64],
    rng: np.random.Generator,
) -> Choices:
    """Choices of what was taken (item codes, person u's from bounds[u] to bounds[u + 1], each
    counted once) and of drawn negatives; share: `popular_share`.

    Without actions, those of `past` are 1.
    """
    width, people = len(share), len(past)
    owner = np.repeat(np.arange(people), np.diff(bounds))
    positive = np.unique(owner * width + taken)
    seen = np.unique(past.items.owner().numpy() * width + past.items.values.numpy())
    seen = seen[seen % width > 0]
    offsets = np.searchsorted(seen, np.arange(people + 1) * width)
    drawn, of_drawn = draw_negatives(draws, seen % width, offsets, share, rng)
    negative = of_drawn * width + drawn
    negative = negative[~np.isin(negative, positive)]
    keys = np.concatenate([positive, negative])
    order = np.argsort(keys // width, kind="stable")
    label = np.repeat(np.array([1, 0], np.float32), [len(positive), len(negative)])[order]
    rows = np.searchsorted(keys[order] // width, np.arange(people + 1))
    if past.action is None:
        past = replace(past, action=torch.ones_like(past.items.values))
    items = Jagged(torch.from_numpy(keys[order] % width), torch.from_numpy(rows))
    return Choices(past, items, torch.from_numpy(label))


def choice_logits(model: HSTURanker, choices: Choices) -> Tensor:
    """Logits [C, K] of the candidates.

    Raises ValueInvalidError for a history that leaves no place for a candidate.
    """
    config, past, items = model.config, choices.past, choices.items
    model.require_place(int(past.items.lengths.max()) if len(past) else 0)
    history, owner = model.tokens(past), items.owner()
    mine = model.candidates(items.values, past.items.lengths[owner])
    mine = dropout(mine, config.dropout, model.training)
    now = None
    if past.next_time is not None:
        now = past.next_time[past.items.offsets[1:] - 1][owner]
    tokens = _after(history, mine, items, now)
    spec = replace(model.stack.spec(history), targets=items.lengths)
    for number, layer in enumerate(layers_of(model)):
        if number and number == config.truncate_after:
            tokens = SequenceModel.latest(tokens, config.truncate_to - 1 + items.lengths)
        tokens = replace(tokens, x=layer(tokens, spec))
    ends = tokens.offsets[1:] - items.offsets[1:]
    at = ends[owner] + torch.arange(len(owner), device=owner.device)
    logits: Tensor = model.head(tokens.x.index_select(0, at))
    return logits


def choice_loss(model: HSTURanker, choices: Choices) -> Tensor:
    """Binary cross-entropy [] of the first task, summed over the candidates."""
    logits = choice_logits(model, choices)[:, 0].float()
    label = choices.label.to(logits.device)
    return functional.binary_cross_entropy_with_logits(logits, label, reduction="sum")


def _after(history: SequenceTokens, x: Tensor, items: Jagged, now: Tensor | None) -> SequenceTokens:
    """Append to each sequence its candidates x [C, D]; now: int64 [C] seconds."""
    device = x.device
    people = torch.arange(len(items), device=device)
    owner = torch.repeat_interleave(people, history.offsets.diff())
    # Row r of both parts together is token place[r]'s.
    of_history = torch.arange(len(history.x), device=device) + items.offsets[:-1][owner]
    of_items = torch.arange(len(x), device=device) + history.offsets[1:][items.owner()]
    place = torch.cat([of_history, of_items])
    order = torch.empty_like(place)
    order[place] = torch.arange(len(place), device=device)

    def joined(values: Tensor | None) -> Tensor | None:
        return None if values is None or now is None else torch.cat([values, now])[order]

    nobody = history.event.new_full((len(x),), -1)
    return SequenceTokens(
        torch.cat([history.x, x]).index_select(0, order),
        history.offsets + items.offsets,
        history.contexts,
        torch.cat([history.event, nobody])[order],
        joined(history.time),
        joined(history.query_time),
    )


class _Moments(NamedTuple):
    """Decision moments of the P users with at least two.

    people, first: int64 [P], the users and their first events. start, end: int64 [M], the events
    of each moment after a user's first one. offsets: int64 [P + 1] of each user's moments.
    """

    people: Ints
    first: Ints
    start: Ints
    end: Ints
    offsets: Ints

    @classmethod
    def of(cls, batch: SequenceBatch) -> _Moments:
        """Group the events of a batch by time; without times each event is a moment."""
        owner = batch.items.owner().numpy()
        time = np.arange(len(owner)) if batch.time is None else batch.time.numpy()
        bounds = run_starts(owner, time)
        later = np.flatnonzero(np.diff(owner[bounds[:-1]], prepend=-1) == 0)
        start, end = bounds[later], bounds[later + 1]
        people, count = np.unique(owner[start], return_counts=True)
        offsets = np.concatenate(([0], np.cumsum(count)))
        return cls(people, batch.items.offsets.numpy()[people], start, end, offsets)
