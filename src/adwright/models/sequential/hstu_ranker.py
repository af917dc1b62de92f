"""HSTU as a ranker of actions: what will this user do with this item?

Zhai et al., ICML 2024, arXiv 2402.17152, section 2.2. Items and what was done with them take
turns, and an item's token predicts the action that follows it:

    Phi_0, a_0, Phi_1, a_1, ..., Phi_n-1, a_n-1        p(a_i | Phi_0, a_0, ..., Phi_i)

so the item to be scored has met the whole history in every layer, which a retriever's item
never does, and one pass trains on all of a user's actions. A head gives one logit per task; a
task is a set of action codes (clicked; four stars or more), and its loss is binary.

Ours, where the paper leaves it open: both tokens of an event share an embedding of their place
and a time, and a token's side of rab_t knows its own time, which for an item is the time of the
request; the head is LN, one hidden layer with SiLU, logits. `request_time` has no meaning here,
and `truncate_to` counts tokens. Events of action 0 (unknown) have no loss.

`mfalcon` scores many candidates against one history.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import settings
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.models.kernels.attention_spec import dropout
from adwright.models.sequential.hstu import HSTUConfig, HSTUStack
from adwright.models.sequential.sequence_model import Encoded, SequenceInput, SequenceTokens

#: A name, and the action codes that count as 1.
Task = tuple[str, tuple[int, ...]]


@settings
class HSTURankerConfig(HSTUConfig):
    """What the ranker adds to the sizes of `HSTUConfig`.

    actions: codes of actions, 0 (unknown) included. tasks: what is predicted.
    hidden: width of the head's layer. The fields loss and request_time are not read.
    """

    kind: ClassVar[str] = "hstu_ranker"
    title: ClassVar[str] = "HSTU ranker"

    actions: int = 2
    tasks: tuple[Task, ...] = (("positive", (1,)),)
    hidden: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden < 1 or self.actions < 2 or not self.tasks:
            raise ConfigError(
                "a ranker needs a hidden layer, two action codes and a task",
                where=f"hidden {self.hidden}, actions {self.actions}, tasks {self.tasks}",
            )
        for name, codes in self.tasks:
            if not codes or not all(1 <= code < self.actions for code in codes):
                raise ConfigError(
                    f"the codes of a task lie in 1..{self.actions - 1}",
                    where=f"task {name}: {codes}",
                )


class HSTURanker(nn.Module):
    """Logits of K tasks at each item. items: N of the catalogue, coded from 1.

    >>> stars = (("liked", (8, 9, 10)), ("finished", (5, 6, 7, 8, 9, 10)))
    >>> config = HSTURankerConfig(actions=11, tasks=stars)
    >>> [name for name, _ in config.tasks]
    ['liked', 'finished']
    """

    def __init__(
        self, config: HSTURankerConfig, items: int, *, context_sizes: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        self.config = config
        self.input = SequenceInput(config, items, context_sizes)
        self.action = nn.Embedding(config.actions, config.width, padding_idx=0)
        nn.init.trunc_normal_(self.action.weight, std=0.02)
        with torch.no_grad():
            self.action.weight[0] = 0
        self.stack = HSTUStack(config, 2 * config.max_length + len(self.input.context))
        self.head = nn.Sequential(
            nn.LayerNorm(config.width),
            nn.Linear(config.width, config.hidden),
            nn.SiLU(),
            nn.Linear(config.hidden, len(config.tasks)),
        )
        counts = torch.zeros(config.actions, len(config.tasks))
        for column, (_, codes) in enumerate(config.tasks):
            counts[list(codes), column] = 1
        self.register_buffer("counts", counts)

    def tokens(self, batch: SequenceBatch) -> SequenceTokens:
        """Context, then item and action of each event in turn; the action of event e has the
        number -2 - e instead of e, so that it is nobody's item.

        Raises ValueInvalidError for a batch without actions.
        """
        if batch.action is None:
            raise ValueInvalidError(
                "a ranker reads what was done with each item",
                hint="pass the action of each event, 0 where it is unknown",
            )
        known: SequenceTokens = self.input(batch, batch.time)
        acted = self.action(batch.action) * self.config.width**0.5
        acted = acted + self.input.position[self.input.places(batch)]
        acted = dropout(acted, self.config.dropout, self.training)
        twice = 1 + (known.event >= 0).long()
        each = torch.arange(len(twice), device=twice.device)
        source = torch.repeat_interleave(each, twice)
        total = torch.cat([twice.new_zeros(1), twice.cumsum(0)])
        both = known.select(source, total[known.offsets])
        second = torch.zeros_like(source, dtype=torch.bool)
        second[1:] = source[1:] == source[:-1]
        x = both.x.index_copy(0, second.nonzero()[:, 0], acted.to(both.x.dtype))
        event = torch.where(second, -2 - both.event, both.event)
        return replace(both, x=x, event=event)

    def encode(self, batch: SequenceBatch) -> Encoded:
        """Vectors [K, D] of the items that the last layer sees, before the head."""
        last = self.stack(self.tokens(batch))
        kept = (last.event >= 0).nonzero()[:, 0]
        return Encoded(last.x.index_select(0, kept), last.event[kept])

    def logits(self, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """(logits [E', K] of the tasks, int64 [E'] the events that they are of)."""
        encoded = self.encode(batch)
        found: Tensor = self.head(encoded.vectors)
        return found, encoded.event

    def loss(self, batch: SequenceBatch) -> Tensor:
        """Binary cross-entropy [] summed over the events of a known action and over the tasks."""
        logits, event = self.logits(batch)
        action = self._actions(batch)[event]
        label = self.get_buffer("counts")[action]
        each = functional.binary_cross_entropy_with_logits(logits.float(), label, reduction="none")
        return (each * (action > 0)[:, None]).sum()

    def asked(self, batch: SequenceBatch) -> int:
        """How many events the loss is summed over: after a truncation, those whose item is among
        the latest tokens alone."""
        known = self._actions(batch) > 0
        if self.config.truncate_to:
            ends = batch.items.offsets[1:][batch.items.owner()]
            # An item has its action after it: the e-th from the end is the 2 e-th token.
            back = ends - torch.arange(len(ends), device=ends.device)
            late = 2 * back <= self.config.truncate_to
            known = known & late
        return int(known.sum())

    def candidates(self, codes: Tensor, place: int | Tensor) -> Tensor:
        """Tokens [m, D] of the items int64 [m], each as if it was the event at `place`: from 0, one
        for all, or one each."""
        items: Tensor = self.input.item(codes) * self.config.width**0.5
        return items + self.input.position[place]

    def require_place(self, events: int) -> None:
        """Raise ValueInvalidError where a history of so many events leaves no place for a
        candidate."""
        if events >= self.config.max_length:
            raise ValueInvalidError(
                "the history leaves no place for a candidate",
                value=f"{events} events, max_length {self.config.max_length}",
                hint="cut it to the latest max_length - 1 events",
            )

    @staticmethod
    def _actions(batch: SequenceBatch) -> Tensor:
        return torch.zeros_like(batch.target) if batch.action is None else batch.action
