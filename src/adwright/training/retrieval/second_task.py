"""Whether two towers get a second task on their items, and how heavy it is.

    labels    distinct items that training visits take, all together
    few       fewer than ten labels an item of the catalogue: then correlated views of weights .3
              and 1 are tried beside none, by the recall of validation visits, in a search that
              leaves the worse ones early (`training.search`); the best is taken
    enough    no second task: an item's own labels teach more than its features
    ids       after training with views, items without an event are ranked with the id that the
              table has for unknown ones, or with the default embedding that stands for a hidden
              one: by validation, the former where they are alike

Views cost as much again as the main loss, so that a trial where labels are few costs little.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from adwright.core.config import to_jsonable
from adwright.core.errors import ConfigError
from adwright.core.hashing import content_hash
from adwright.data.tasks.next_basket import NextBasket
from adwright.metrics.ranking import recall
from adwright.models.retrieval.retriever import FeatureMasks
from adwright.models.retrieval.two_tower import TwoTower, TwoTowerConfig, UnseenItems
from adwright.training.retrieval.fit import RetrievalConfig, fit_retriever
from adwright.training.retrieval.ranks import catalogue_vectors, retrieved_ranks
from adwright.training.run_settings import seeded
from adwright.training.search import Defaults, Settings, search

#: Labels an item, below which a second task is tried.
FEW_LABELS = 10
WEIGHTS = (0.3, 1.0)
TEMPERATURE = 0.1
#: Validation visits that are asked at most for the ids of items without an event.
ASKED = 1_500

Towers = Defaults[TwoTowerConfig, RetrievalConfig]


def second_task(task: NextBasket) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Ask the rule; trains nothing. Returns the weights to be tried beside none, empty where there
    is nothing to try, and why, a sentence each."""
    each = float(task.count[1:].sum()) / max(len(task.items) - 1, 1)
    told = f"{each:.1f} labels an item"
    if each >= FEW_LABELS:
        return (), (f"no second task: {told}, and it is for fewer than {FEW_LABELS}",)
    try:
        masks = FeatureMasks.of("correlated", task.items)
    except ConfigError as error:
        return (), (f"no second task: {error.what}",)
    tried = " and ".join(f"{weight:g}" for weight in WEIGHTS)
    said = (
        f"a second task, correlated views of items, is tried with weights {tried}, and "
        f"without, on validation: {told}, fewer than {FEW_LABELS}"
    )
    return WEIGHTS, (said, *masks.notes())


def with_second_task(
    task: NextBasket,
    defaults: Towers,
    *,
    folder: Path,
    seed: int = 0,
    weight: float | None = None,
) -> Towers:
    """The defaults with the second task that validation favours where the rule tries one.

    weight: of the second task, 0 for none, with nothing tried; None asks the rule. folder: where
    trials are kept, so that a run that was cut off does not repeat them.
    Raises ConfigError for views of items that have fewer than two features.
    """
    if weight is not None:
        told = f"a second task of weight {weight:g}" if weight else "no second task"
        return _changed(defaults, weight, (f"{told}, as asked",))
    weights, why = second_task(task)
    if not weights:
        return replace(defaults, why=(*defaults.why, *why))

    def measure(settings: Settings, epochs: int) -> float:
        tried = _changed(defaults, settings.get("weight", 0.0))
        model = seeded(seed, lambda: TwoTower(tried.model, task.spec, task.items, task.count))
        k = min(tried.fit.k, len(task.items) - 1)
        return fit_retriever(model, task, replace(tried.fit, seed=seed, epochs=epochs, k=k)).recall

    about = {
        "task": task.data_hash,
        "model": to_jsonable(defaults.model),
        "fit": to_jsonable(defaults.fit),
    }
    key = content_hash({"about": about, "space": list(weights), "seed": seed})
    found = search(
        measure,
        {"weight": weights},
        trials=1 + len(weights),
        epochs=defaults.fit.epochs,
        file=folder / f"second-task-{key[:12]}.json",
        about=about,
        goal=f"recall@{defaults.fit.k}",
        seed=seed,
    )
    best = found.best.settings.get("weight", 0.0)
    taken = f"a second task of weight {best:g} is" if best else "no second task is"
    return _changed(defaults, best, (*why, f"{taken} best; {found.sentence()}"))


def choose_unseen(model: TwoTower, task: NextBasket) -> str:
    """Rank items without a training event, in `model`, by the id that serves validation better;
    returns a sentence, empty where there is nothing to choose: no views, or no such item."""
    asked = task.visits("valid")
    unseen = int((task.count[1:] == 0).sum())
    if model.config.views not in ("random", "correlated") or not unseen or not len(asked):
        return ""
    if len(asked) > ASKED:
        asked = np.sort(np.random.default_rng(0).choice(asked, ASKED, replace=False))
    k, found = min(50, len(task.items) - 1), {}
    choices: tuple[UnseenItems, ...] = ("own", "default")
    model.eval()
    for choice in choices:
        model.rank_unseen_by(choice)
        ranks = retrieved_ranks(catalogue_vectors(model, task), task, asked, depth=k).ranks()
        found[choice] = recall(ranks, k)
    best = max(choices, key=lambda choice: found[choice])
    model.rank_unseen_by(best)
    ids = "their ids are hidden" if best == "default" else "the id of an unknown item stands"
    return (
        f"{unseen:,} items without a training event: {ids}, recall@{k} of validation "
        f"{found['own']:.4f} with it, {found['default']:.4f} hidden"
    )


def _changed(defaults: Towers, weight: float, why: tuple[str, ...] = ()) -> Towers:
    """Views of that weight, as many items a batch as there are visits; 0 for none."""
    model = replace(defaults.model, views="none")
    if weight:
        model = replace(
            model,
            views="correlated",
            alpha=weight,
            view_temperature=TEMPERATURE,
            view_items=defaults.fit.batch,
        )
    return Defaults(model, defaults.fit, (*defaults.why, *why))
