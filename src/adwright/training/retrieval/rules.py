"""Fit the simple rules to a log, and rank what was taken by each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from adwright.data.ranges import distinct
from adwright.data.sequences.datasets import NextLog, NextQuestions
from adwright.data.time import SECONDS_PER_DAY
from adwright.metrics.ranking import Ranks, ndcg
from adwright.models.retrieval.item_item import ItemItemConfig
from adwright.models.retrieval.rules import TITLES, NextRule, NextRules, rule_lists
from adwright.training.retrieval.item_item import fit_item_item, listed_ranks, search_item_item

Ints = NDArray[np.int64]
#: Half-lives of "lately", in days, of which validation chooses.
HALF_LIVES = (7, 28, 91)
#: Validation questions that choose a category or a half-life.
QUESTIONS = 200
#: Questions of one call.
TOGETHER = 1_000


def fit_rules(
    log: NextLog,
    *,
    repeats: bool,
    item_item: ItemItemConfig | None = None,
    seed: int = 0,
) -> NextRules:
    """The rules of a log, fitted on its training events and chosen on its validation.

    repeats: whether what a user had may come again. item_item: its settings; None searches them.
    seed: of the questions that choose.
    """
    config = item_item or search_item_item(log, repeats=repeats, seed=seed).config
    model = fit_item_item(log, config)
    few = np.random.default_rng(seed).permutation(len(log.valid))[:QUESTIONS]
    asked = log.valid.some(np.sort(few))
    base = NextRules(model, repeats=repeats)
    lately = [replace(base, lately=_decayed(log, days), half_life=days) for days in HALF_LIVES]
    category = [replace(base, category=codes) for codes in log.categories.values()]
    found = _best("lately", lately if log.time is not None else [], log, asked)
    other = _best("category", category, log, asked)
    return replace(
        base,
        lately=None if found is None else found.lately,
        half_life=None if found is None else found.half_life,
        category=None if other is None else other.category,
    )


def refit_rules(rules: NextRules, log: NextLog) -> NextRules:
    """The same rules, with the settings that were found, of all events of their log."""
    days = rules.half_life
    return replace(
        rules,
        item_item=fit_item_item(log.whole, rules.item_item.config),
        lately=None if days is None else _decayed(log.whole, days),
    )


def rules_ranks(
    rules: NextRules, log: NextLog, asked: NextQuestions, *, unseen: bool, depth: int = 50
) -> Mapping[str, Ranks]:
    """`rule_ranks` of every rule that the log allows, by the name that a table gives it."""
    return {
        TITLES[rule]: rule_ranks(rules, rule, log, asked, unseen=unseen, depth=depth)
        for rule in rules.known
    }


def rule_ranks(
    rules: NextRules,
    rule: NextRule,
    log: NextLog,
    asked: NextQuestions,
    *,
    unseen: bool,
    depth: int = 50,
) -> Ranks:
    """Ranks of the targets among all items, `depth` + 1 where they are not among the first.

    unseen: what a user had is no candidate, and targets that the user had are left out.
    """
    lists = []
    for start in range(0, len(asked), TOGETHER):
        some = asked.some(np.arange(start, min(start + TOGETHER, len(asked))))
        lists.append(rule_lists(rules, rule, log.pasts(some), depth, unseen=unseen))
    if unseen:
        asked = new_targets(log, asked)
    return listed_ranks(np.concatenate([np.zeros((0, depth), np.int64), *lists]), asked)


def new_targets(log: NextLog, asked: NextQuestions) -> NextQuestions:
    """The questions without the targets that the user had before; each stays, if with none."""
    width = log.items + 1
    pasts = log.pasts(asked)
    had, bounds = distinct(pasts.item, pasts.offsets, width)
    of = np.repeat(np.arange(len(asked)), np.diff(bounds))
    owner = np.repeat(np.arange(len(asked)), np.diff(asked.offsets))
    kept = ~np.isin(owner * width + asked.targets, of * width + had)
    total = np.concatenate(([0], np.cumsum(kept)))
    return NextQuestions(
        asked.first, asked.end, asked.user, asked.targets[kept], total[asked.offsets]
    )


def _best(
    rule: NextRule, choices: Sequence[NextRules], log: NextLog, asked: NextQuestions
) -> NextRules | None:
    """Of these the rules of the highest NDCG@10 by `rule`; None where there are none."""
    if len(choices) < 2 or not len(asked):
        return choices[0] if choices else None
    goals = []
    for rules in choices:
        ranks = rule_ranks(rules, rule, log, asked, unseen=not rules.repeats)
        goals.append(ndcg(ranks, 10) if len(ranks.ranks) else 0.0)
    return choices[int(np.argmax(goals))]


def _decayed(log: NextLog, days: float) -> NDArray[np.float64]:
    """Training events of each item, each worth 1/2^(age / days) at the last of them: [N + 1]."""
    place, _ = log.training
    if log.time is None or not len(place):
        return log.count.astype(np.float64)
    return decayed_counts(log.item[place], log.time[place], log.items, days)


def decayed_counts(item: Ints, time: Ints, items: int, days: float) -> NDArray[np.float64]:
    """Events of each of `items` items, each worth 1/2^(age / days) at the last of them: [N + 1].

    item, time: int64 [E], codes and seconds. days: the half-life.
    """
    age = (time.max(initial=0) - time) / SECONDS_PER_DAY
    worth = 0.5 ** (age / days)
    return np.bincount(item, worth, minlength=items + 1).astype(np.float64)
