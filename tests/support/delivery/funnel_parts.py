"""The parts of a small funnel: models of the small task that learned nothing, and its rules."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from adwright.data.sequences.datasets import NextLog, log_of_task
from adwright.delivery.funnel.columns import ScoreMixture
from adwright.delivery.funnel.funnel import Funnel, FunnelParts, Serving
from adwright.models.retrieval.item_item import ItemItem, ItemItemConfig
from adwright.models.retrieval.rules import NextRules
from adwright.training.retrieval.item_item import ItemItemArtifact, fit_linear
from adwright.training.retrieval.rules import fit_rules
from tests.support.delivery.cascade_parts import DRAWS, hcn, histories, ranker, task, two_tower
from tests.support.delivery.sequence_parts import hstu

MIXED = ScoreMixture(("item-item", "frequency", "two-tower"), (1.0, 0.5, 0.25))
SERVING = Serving({"item-item": 5, "past": 4, "two-tower": 6, "popularity": 3}, MIXED)


@cache
def log() -> NextLog:
    return log_of_task(task())


@cache
def rules(*, repeats: bool = True) -> NextRules:
    return fit_rules(log(), repeats=repeats, item_item=ItemItemConfig(own=0.1))


@cache
def linear(*, repeats: bool = True) -> ItemItem:
    return fit_linear(log(), ItemItemConfig(own=0.1), repeats=repeats).model


@cache
def funnel_parts(*, repeats: bool = True) -> FunnelParts:
    known = rules(repeats=repeats)
    return FunnelParts(
        ids=log().ids,
        count=task().count,
        repeats=repeats,
        models={
            "item-item": ItemItemArtifact(known.item_item, log().ids, repeats),
            "linear": ItemItemArtifact(linear(repeats=repeats), log().ids, repeats),
            "alike": ItemItemArtifact(known.item_item, log().ids, repeats),
            "sequence": hstu(),
            "sasrec": hstu(),
            "two-tower": two_tower(),
            "hcn": hcn(),
            "fine": ranker(),
        },
        draws=DRAWS,
        lately=known.lately,
        category=known.category,
    )


def without(parts: FunnelParts, *names: str) -> FunnelParts:
    return replace(parts, models={n: one for n, one in parts.models.items() if n not in names})


def funnel(serving: Serving = SERVING) -> Funnel:
    return Funnel(funnel_parts(), serving, histories(), "hash", 3)
