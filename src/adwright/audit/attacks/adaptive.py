"""Attacks that know the defence (T4): only texts that get through it are tried.

    passes = passing(defence, goal, score=guard.score, limit=guard.threshold)
    behind = DefendedTarget(target, defence)           # or stack.target(target)
    search = adaptive_search(behind, defence, goal, orders, meter, passes=passes, model="..")

A defence is measured by who has read it. Black box: the search ranks through the whole defence,
learns the scores that it ranks by, and spends no call on a text that it would drop. Where the
weights are known, `GradientAttack` takes the defence as `cleaner` and `alone`: its gradient is that
of what the defended ranker reads, the record as the defence leaves it and by itself, and candidates
that would be changed are dropped before any is read. What a filter decides has no gradient; it is
minded by dropping.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from adwright.audit.attacks.budget import SpendingMeter
from adwright.audit.attacks.feedback import RankFeedback
from adwright.audit.attacks.goal import AttackGoal
from adwright.audit.attacks.pieces import text_pieces
from adwright.audit.attacks.search import RankSearchConfig, SearchAttack
from adwright.audit.catalogue.listing import ShopListing
from adwright.audit.targets.defended import ListingCleaner
from adwright.audit.targets.target import Target
from adwright.core.errors import ConfigError

#: The share of pieces of which a search can still put texts together.
_FEW = 0.1


def passing(
    defence: ListingCleaner,
    goal: AttackGoal,
    *,
    score: Callable[[ShopListing], float] | None = None,
    limit: float = float("inf"),
) -> Callable[[str], bool]:
    """Whether an added text gets through: the defence leaves at least half of its words in the
    field, and the listing scores no more than `limit`.

    score: how suspicious a listing is, the higher the more. Raises ConfigError for a limit without
    a score.
    """
    if score is None and limit != float("inf"):
        raise ConfigError(
            "a limit needs a score that it bounds", where=f"limit {limit}", hint="give the score"
        )

    def passes(extra: str) -> bool:
        listing = goal.attacked(extra)
        if score is not None and not score(listing) <= limit:
            return False
        # Words that the seller wrote before stand there anyway, once for each time.
        left = Counter(_words(defence.clean(listing).texts.get(goal.field, "")))
        left.subtract(_words(goal.own_text))
        words = Counter(_words(extra))
        kept = sum(min(count, max(left[word], 0)) for word, count in words.items())
        return bool(words) and 2 * kept >= sum(words.values())

    return passes


def adaptive_search(
    target: Target,
    defence: ListingCleaner,
    goal: AttackGoal,
    orders: Sequence[Sequence[int]],
    meter: SpendingMeter,
    *,
    model: str,
    passes: Callable[[str], bool] | None = None,
    config: RankSearchConfig | None = None,
    seed: int = 0,
) -> SearchAttack:
    """A search whose feedback comes through the defence. target: behind it. passes: by default
    `passing` without a score. Where few pieces of the config get through by themselves, as before
    typed extraction, texts are made of those and of facts that do."""
    feedback = RankFeedback(target, goal, orders, meter, by_score=True)
    known = passing(defence, goal) if passes is None else passes
    config = RankSearchConfig() if config is None else config
    pool = text_pieces(goal, config.pieces)
    through = [one for one in pool if known(f" {one}")]
    if len(through) < _FEW * len(pool):
        through += [one for one in text_pieces(goal, "facts") if known(f" {one}")]
        pool = tuple(dict.fromkeys(through)) or pool
    return SearchAttack(feedback, config, model=model, passes=known, pool=pool, seed=seed)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
