"""What users took, one item after another: the data of sequential models.

E events of U users lie end to end, oldest first. The last event of a user is the target of
the test, the one before it the target of validation, and training sees neither (protocol C1):

    e_1 ... e_n-2     training; the final training before a test has e_n-1 as well
    e_n-1             validation, asked with e_1 ... e_n-2 as history
    e_n               test, asked with e_1 ... e_n-1 as history

Where events of one instant have no order (a basket), the history of a target ends before the
target's instant, and validation takes the last event before the test's instant; with one event
an instant this is the protocol above.

Data that is split by time (`train_ends`) holds out whole spans instead, in which users take many
things; then what is asked are visits (`training.visit_ranks`), not one event per user. Where
besides the events of an instant have no order (`moment`), each event predicts an event of the
next instant, drawn anew whenever it is read.

A training sample is a user (or a window of a long sequence), not a pair of history and item:
every position predicts the event after it, so a sequence of n events is read once and not n
times ("generative training", Zhai et al., ICML 2024, arXiv 2402.17152, section 2.3).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adwright.core.artifacts import Fitted
from adwright.core.errors import ValueInvalidError
from adwright.data.batches.jagged import Jagged
from adwright.data.ranges import distinct, ranges
from adwright.data.time import MICROSECONDS_PER_SECOND

Ints = NDArray[np.int64]
#: The splits that hold one target per user.
Held = Literal["valid", "test"]


@dataclass(frozen=True)
class SequenceBatch:
    """U sequences of E events in all.

    items: Jagged int64, item codes, oldest first; code 0 is an unknown item.
    target: int64 [E], the item after each event; 0 where there is nothing to predict.
    time: int64 [E], seconds since 1970, None for data without times. next_time: int64 [E], when
    the item after each event was asked for. action: int64 [E], codes of what was done with the
    item, or None. context: int64 [U, F], codes of what is known of the users, or None.
    """

    items: Jagged
    target: Tensor
    time: Tensor | None = None
    next_time: Tensor | None = None
    action: Tensor | None = None
    context: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("target", "time", "next_time", "action"):
            value = getattr(self, name)
            if value is not None and value.shape != self.items.values.shape:
                raise ValueInvalidError(
                    f"a sequence batch needs one {name} an event",
                    value=f"{list(value.shape)} for {self.items.values.numel()} events",
                )
        if (self.time is None) != (self.next_time is None):
            raise ValueInvalidError("time and next_time come together or not at all")
        if self.context is not None and len(self.context) != len(self.items):
            raise ValueInvalidError(
                "a sequence batch needs one row of context a person",
                value=f"{len(self.context)} for {len(self.items)} people",
            )

    def __len__(self) -> int:
        return len(self.items)

    @classmethod
    def serving(
        cls,
        items: Jagged,
        *,
        time: Tensor | None = None,
        request_time: Tensor | None = None,
        action: Tensor | None = None,
        context: Tensor | None = None,
        by_moment: bool = False,
    ) -> SequenceBatch:
        """People whose next item is not known yet.

        request_time: int64 [U], when they ask; without, at the time of their last event.
        by_moment: what comes after an event is the next instant, not another event of its own;
        see `ItemSequences.by_moment`.
        """
        following = None
        if time is not None:
            if request_time is None:
                padded = torch.cat([time, time.new_zeros(1)])
                request_time = padded[items.offsets[1:] - 1]
            following = _shifted(time, items.offsets, request_time)
            if by_moment:
                following = _after_instant(time, following, items.offsets)
        target = torch.zeros_like(items.values)
        return cls(items, target, time, following, action, context)

    def at(self, place: Tensor, offsets: Tensor) -> SequenceBatch:
        """Only the events `place` (int64 [K], rising), which lie at `offsets` (int64 [U + 1]).

        A kept event predicts what truly came after it, whether that was kept or not.
        """
        return SequenceBatch(
            Jagged(self.items.values[place], offsets),
            self.target[place],
            _at(self.time, place),
            _at(self.next_time, place),
            _at(self.action, place),
            self.context,
        )


@dataclass(frozen=True, eq=False)
class ItemSequences:
    """Sequences of U users over a catalogue of N items.

    item: int64 [E], codes from 1 to N. offsets: int64 [U + 1], user u has the events
    offsets[u] to offsets[u + 1]. time: int64 [E], seconds since 1970, never falling within a
    user, or None. action: int64 [E], codes below `actions`, or None.
    moment: int64 [E], for data where events of an instant have no order, the place of the first
    event of the same instant; None where each event stands for itself.
    train_ends: for a split by time, where the training events of each user end, int64 [U]
    without those of validation and int64 [U] with them; None for the protocol above.
    context: int64 [U, F], codes below `context_sizes` [F], or None.
    ids: what the codes 1 to N stand for.
    Raises ValueInvalidError for arrays that do not belong together or codes out of range.
    """

    name: str
    protocol: str
    data_hash: str
    users: tuple[str, ...]
    ids: tuple[str, ...]
    item: Ints
    offsets: Ints
    time: Ints | None = None
    action: Ints | None = None
    actions: int = 0
    moment: Ints | None = None
    train_ends: tuple[Ints, Ints] | None = None
    context: Ints | None = None
    context_sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        events = len(self.item)
        if len(self.offsets) != len(self.users) + 1 or self.offsets[-1] != events:
            raise ValueInvalidError(
                "offsets must be one more than the people, and end with the number of events",
                value=f"{len(self.offsets)} offsets, {len(self.users)} people, {events} events",
            )
        for name in ("time", "action", "moment"):
            value = getattr(self, name)
            if value is not None and len(value) != events:
                raise ValueInvalidError(f"one {name} an event", value=f"{len(value)} of {events}")
        if events and (self.item.min() < 1 or self.item.max() > self.items):
            raise ValueInvalidError(
                f"item codes lie in 1..{self.items}",
                value=f"{self.item.min()}..{self.item.max()}",
                hint="code the items again",
            )
        if self.time is not None and self._falls(self.time).any():
            raise ValueInvalidError("times fall within a person", hint="sort by person and time")

    def __len__(self) -> int:
        return len(self.users)

    @property
    def items(self) -> int:
        """N, items of the catalogue; codes run from 1 to N."""
        return len(self.ids)

    @cached_property
    def count(self) -> Ints:
        """int64 [N + 1], events of each item code that training sees when validation is held
        out; 0 for the unknown item."""
        place, _ = ranges(self.offsets[:-1], self.training_end() - self.offsets[:-1])
        return np.bincount(self.item[place], minlength=self.items + 1)

    def held(self, split: Held) -> tuple[Ints, Ints]:
        """(int64 [U] place of each user's target, int64 [U] where its history ends).

        A user without such an event has a target at -1 and a history that ends where it
        begins. Raises ValueInvalidError for a split by time.
        """
        if self.train_ends is not None:
            raise ValueInvalidError(
                "these sequences are split by time and hold no single target a person",
                hint="rank visits, or read the sequences with split='last'",
            )
        first = self.offsets[:-1]
        target, end = self._before(self.offsets[1:])
        if split == "valid":
            target, end = self._before(np.maximum(end, first))
        return target, end

    def people(self, split: Held) -> Ints:
        """Numbers of the users who have a target and at least one event before it."""
        target, end = self.held(split)
        return np.flatnonzero((target >= 0) & (end > self.offsets[:-1]))

    @property
    def by_moment(self) -> bool:
        """Whether an event predicts an event of the next instant, instead of the next event."""
        return self.train_ends is not None and self.moment is not None

    @cached_property
    def _moment_end(self) -> Ints:
        """int64 [E], where the events of each event's instant end."""
        bounds = np.flatnonzero(np.diff(_start(self.moment), append=-1)) + 1
        return bounds[np.searchsorted(bounds, np.arange(len(self.item)), side="right")]

    def training_end(self, *, final: bool = False) -> Ints:
        """int64 [U], where the training events of each user end.

        final: the training before the test, which has the validation targets too.
        """
        if self.train_ends is not None:
            return self.train_ends[int(final)]
        return self.held("test" if final else "valid")[1]

    def fitted(self, *, final: bool = False) -> Fitted:
        """What a model that reads `training_end` was fitted on, in whole seconds."""
        end = self.training_end(final=final)
        events = int((end - self.offsets[:-1]).sum())
        if self.time is None or not events:
            return Fitted(events)
        last = int(self.time[end[end > self.offsets[:-1]] - 1].max())
        return Fitted.of(events, (last + 1) * MICROSECONDS_PER_SECOND - 1)

    def windows(
        self, max_length: int, *, final: bool = False, whole: bool = False
    ) -> tuple[Ints, Ints]:
        """Training samples of at most `max_length` positions: (first [W], end [W]) places of
        the events that are read; each predicts the one after it.

        whole: long sequences give several windows, cut from the end; without, the last one.
        """
        first, last = self.offsets[:-1], self.training_end(final=final) - 1
        if self.by_moment and len(self.item):
            # The events of the last instant have nothing to predict.
            last = np.where(last >= first, _start(self.moment)[np.maximum(last, 0)], last)
        pairs = np.maximum(last - first, 0)
        number = -(-pairs // max_length)
        if not whole:
            number = np.minimum(number, 1)
        person = np.repeat(np.arange(len(self)), number)
        back, _ = ranges(np.zeros_like(number), number)
        end = last[person] - back * max_length
        return np.maximum(first[person], end - max_length), end

    def batch(
        self, first: Ints, end: Ints, rng: np.random.Generator | None = None
    ) -> SequenceBatch:
        """The training samples `first` to `end` (int64 [B] each), in that order.

        rng: draws the events of the next instants; only where `by_moment`.
        """
        place, offsets = ranges(first, end - first)
        if not self.by_moment:
            return self._read(place, offsets, place + 1)
        if rng is None:
            raise ValueInvalidError(
                "what comes next is one of several events", hint="pass a random generator"
            )
        start = self._moment_end[place]
        size = self._moment_end[np.minimum(start, len(self.item) - 1)] - start
        return self._read(place, offsets, start + rng.integers(size))

    def questions(self, people: Ints, split: Held, *, max_length: int) -> SequenceBatch:
        """The latest `max_length` events before the held target of `people` (int64 [B], of
        `self.people`); only the last position has a target and the time of the request."""
        target, end = self.held(split)
        target, end = target[people], end[people]
        first = np.maximum(self.offsets[people], end - max_length)
        place, offsets = ranges(first, end - first)
        after = place + 1
        after[offsets[1:] - 1] = target
        batch = self._read(place, offsets, after)
        asked = torch.zeros_like(batch.target)
        last = torch.from_numpy(offsets[1:] - 1)
        asked[last] = batch.target[last]
        return replace(batch, target=asked)

    def seen(self, people: Ints, split: Held) -> tuple[Ints, Ints]:
        """Distinct items of each user's whole history: (codes [S], offsets [B + 1])."""
        first, end = self.offsets[people], self.held(split)[1][people]
        place, offsets = ranges(first, end - first)
        return distinct(self.item[place], offsets, self.items + 1)

    def targets(self, people: Ints, split: Held) -> Ints:
        """int64 [B], the item code of each user's target."""
        return self.item[self.held(split)[0][people]]

    def _before(self, stop: Ints) -> tuple[Ints, Ints]:
        """The last event before `stop` of each user, and where its instant begins."""
        first = self.offsets[:-1]
        target = np.where(stop > first, stop - 1, -1)
        if self.moment is None or not len(self.item):
            return target, np.where(target >= 0, target, first)
        return target, np.where(target >= 0, np.maximum(self.moment[target], first), first)

    def _read(self, place: Ints, offsets: Ints, after: Ints) -> SequenceBatch:
        person = np.searchsorted(self.offsets, place[offsets[:-1]], side="right") - 1
        time = next_time = action = context = None
        if self.time is not None:
            time, next_time = (torch.from_numpy(self.time[at]) for at in (place, after))
        if self.action is not None:
            action = torch.from_numpy(self.action[place])
        if self.context is not None:
            context = torch.from_numpy(self.context[person])
        items = Jagged(torch.from_numpy(self.item[place]), torch.from_numpy(offsets))
        target = torch.from_numpy(self.item[after])
        return SequenceBatch(items, target, time, next_time, action, context)

    def _falls(self, time: Ints) -> NDArray[np.bool_]:
        owner = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        falls: NDArray[np.bool_] = (time[1:] < time[:-1]) & (owner[1:] == owner[:-1])
        return falls


def _shifted(time: Tensor, offsets: Tensor, last: Tensor) -> Tensor:
    """time [E] of the event after each event, and `last` [U] at the end of each sequence."""
    following = torch.roll(time, -1)
    filled = offsets[1:] > offsets[:-1]
    following[offsets[1:][filled] - 1] = last[filled]
    return following


def _after_instant(time: Tensor, following: Tensor, offsets: Tensor) -> Tensor:
    """`following` [E] at the last event of each event's instant."""
    if not len(time):
        return following
    last = torch.ones(len(time), dtype=torch.bool)
    last[:-1] = time[1:] != time[:-1]
    ends = offsets[1:][offsets[1:] > offsets[:-1]] - 1
    last[ends] = True
    place = last.nonzero()[:, 0]
    return following[place[torch.searchsorted(place, torch.arange(len(time)))]]


def _start(moment: Ints | None) -> Ints:
    return np.zeros(0, np.int64) if moment is None else moment


def _at(values: Tensor | None, place: Tensor) -> Tensor | None:
    return None if values is None else values[place]
