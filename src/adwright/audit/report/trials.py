"""Trials: the same request in the same order, with a text and without it, in many orders.

    table = run_trials(target, catalogue, texts, orders, log=TrialLog("runs/audit/trials.jsonl"))
    table.clean          # ranks without any text, int64 [O, n]
    table.attacked       # ranks with text k, int64 [K, O, n]

The ranks without a text are those of all texts in that order, and are asked once. Attacks need a
catalogue that is declared as one's own; so do their trials.

Letters: K texts, O orders, n products.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from adwright.audit.catalogue.catalogue import ShopCatalogue
from adwright.audit.report.texts import SellerText, with_text
from adwright.audit.report.trial_log import MadeTrial, TrialLog, trial_key
from adwright.audit.targets.target import Ask, Ranking, RankingCost, Target
from adwright.core.config import require_count
from adwright.core.errors import ConfigError
from adwright.core.progress import progress

Ranks = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RankTable:
    """Ranks from 1; of a product that was not mentioned n + 1.

    rows: int64 [K], the product of each text. clean: int64 [O, n]. attacked: int64 [K, O, n].
    clean_cost, attacked_cost: of all of them. notes: how often the target's answer had which note.
    also: the same by other rules of the target.
    """

    texts: tuple[SellerText, ...]
    rows: npt.NDArray[np.int64]
    clean: Ranks
    attacked: Ranks
    clean_cost: RankingCost
    attacked_cost: RankingCost
    notes: Mapping[str, int] = field(default_factory=dict)
    also: Mapping[str, RankTable] = field(default_factory=dict)

    @property
    def before(self) -> Ranks:
        """The rank of each text's product without it: int64 [K, O]."""
        return self.clean[:, self.rows].T

    @property
    def after(self) -> Ranks:
        """The rank of each text's product with it: int64 [K, O]."""
        found: Ranks = np.take_along_axis(self.attacked, self.rows[:, None, None], axis=2)[:, :, 0]
        return found


def run_trials(
    target: Target,
    catalogue: ShopCatalogue,
    texts: Sequence[SellerText],
    orders: Sequence[Sequence[int]],
    *,
    request: str = "",
    log: TrialLog | None = None,
    batch: int = 8,
) -> RankTable:
    """Rank the catalogue in every order, without any text and with each of them.

    orders: in which no text was chosen, see `draw_orders`. request: empty for the catalogue's own.
    log: keeps what was made, and gives what it has. batch: questions that are asked together, and
    kept together.

    Raises ConfigError for a catalogue that is not declared as one's own where there is an attack
    among the texts, for no text or no order, and as `with_text`; and what the target raises.
    """
    require_count("batch", batch)
    if not texts or not orders:
        raise ConfigError(
            "an audit needs at least one text and one order",
            where=f"{len(texts)} texts, {len(orders)} orders",
            hint="give some",
        )
    if not all(one.control for one in texts):
        catalogue.require_own()
    asked = request or catalogue.request
    shops = [catalogue, *(with_text(catalogue, one) for one in texts)]
    asks = [Ask(shop.listings, asked, tuple(order)) for shop in shops for order in orders]
    log = TrialLog() if log is None else log
    made = _made(target, asks, log, batch)
    n, count = len(catalogue), len(orders)
    rows = np.array([catalogue.index(one.product) for one in texts], np.int64)
    rules = set.intersection(*(set(one.also) for one in made))
    notes: dict[str, int] = {}
    for one in made:
        if one.note:
            notes[one.note] = notes.get(one.note, 0) + 1
    costs = [one.cost for one in made]
    clean_cost = sum(costs[:count], RankingCost())
    attacked_cost = sum(costs[count:], RankingCost())

    def table(ranks: Ranks, also: Mapping[str, RankTable]) -> RankTable:
        return RankTable(
            tuple(texts), rows, ranks[0], ranks[1:], clean_cost, attacked_cost, notes, also
        )

    shape = (len(shops), count, n)
    further = {
        rule: table(np.array([one.also[rule] for one in made], np.int64).reshape(shape), {})
        for rule in sorted(rules)
    }
    return table(np.array([one.ranks for one in made], np.int64).reshape(shape), further)


def _made(target: Target, asks: Sequence[Ask], log: TrialLog, batch: int) -> list[MadeTrial]:
    keys = [trial_key(target, ask) for ask in asks]
    open_: dict[str, Ask] = {}
    for key, ask in zip(keys, asks, strict=True):
        if log.get(key) is None:
            open_.setdefault(key, ask)
    left = list(open_.items())
    with progress(len(left), f"Ranking by {target.name}", "rankings") as bar:
        for start in range(0, len(left), batch):
            some = left[start : start + batch]
            found = target.rank([ask for _, ask in some])
            log.add(
                (key, _trial(ranking, ask)) for (key, ask), ranking in zip(some, found, strict=True)
            )
            bar.advance(len(some))
    trials = [log.get(key) for key in keys]
    return [one for one in trials if one is not None]


def _trial(ranking: Ranking, ask: Ask) -> MadeTrial:
    n = len(ask.listings)
    also = {
        rule: tuple(ranking.by(rule, ask.order).ranks(n).tolist()) for rule in sorted(ranking.also)
    }
    return MadeTrial(tuple(ranking.ranks(n).tolist()), also, ranking.cost, ranking.note)
