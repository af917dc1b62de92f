"""The defences of the benchmark of visibility: what a text does behind each by itself, and all.

What cleans texts is measured by ranking what it leaves, so that a text that it does not change
costs nothing more. Facts are the mean of ten turns of the catalogue, since a place in the prompt
moves a product by nats. Two bounds on texts stand side by side: the one that a rule chooses on
books and cameras, and that of `adwright audit run --defend`. Where the rule finds that texts bring
nothing it is 0, and nothing that a seller writes can move anything; so attacks that know the
defence are sent through the other, `stack_half`, and through `stack_facts`, which keeps typed facts
alone of what the other lets through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adwright.audit.catalogue import Order, ShopCatalogue
from adwright.audit.certificate.curve import (
    BoundPoint,
    GradedList,
    bound_curve,
    epsilons,
)
from adwright.audit.defences.guard.guard import GuardText, TextGuard, guard_texts
from adwright.audit.defences.normalise import ExtractionCleaner, FactSchema, NormaliseCleaner
from adwright.audit.defences.stack import (
    BoundedTarget,
    DefenceStack,
    GuardCleaner,
    IsolatedTarget,
    StackConfig,
)
from adwright.audit.report.trials import CONTROL, SellerText, TrialLog, run_trials
from adwright.audit.targets.target import (
    AveragedTarget,
    ListingCleaner,
    Ranking,
    Target,
    best_first,
)
from adwright.core.errors import ConfigError, DataError
from benchmarks.audit._guard_data import honest_texts
from benchmarks.audit.pushed.cells import FACTS, VisibilityCell, kept, scoring_orders
from benchmarks.audit.pushed.lab import DATA, REQUESTS, VisibilityLab, shop, work_folder

#: Each by itself, then all with the bound of the rule, with that of `--defend`, and with that and
#: `--typed-facts`.
DEFENCES = (
    *("normalise", "guard", "extract", "isolated", "bounded"),
    *("stack", "stack_half", "stack_facts"),
)
_CLEANING, _WHOLE = DEFENCES[:3], DEFENCES[5:]
#: The bound of `bounded` and of `stack_half`, in nats.
HALF = 0.5
#: Orders of which the facts are the mean.
_TURNS = 10
#: Of NDCG, that the bound may lose on the catalogues that it is chosen on.
_MOST_LOSS = 0.02
_FITTED = 900
_STACK = StackConfig(eps=HALF)
_TYPED = "stack_facts"


def facts(catalogue: str, lab: VisibilityLab, orders: Sequence[Order]) -> dict[str, Any]:
    """A catalogue as it is: the terms of a bounded score, the ranks without any attack by rule, and
    how many of its texts the guard takes for attacks."""
    whole, bounded = shop(catalogue), _bounded(lab)
    scores = bounded.scores(whole.listings, whole.request)
    left = {
        typed: bounded.scores(
            _cleaned(whole, defence_stack(catalogue, typed=typed)).listings, whole.request
        ).texts.tolist()
        for typed in (False, True)
    }
    log = trial_log(catalogue)
    looks = guard(catalogue).look(guard_texts(whole.listings))
    table = run_trials(lab.target, whole, [_same(whole)], orders, log=log, batch=1)
    ranks = {lab.target.config.rule: table, **table.also}
    return {
        "names": list(whole.names),
        "facts": scores.facts.tolist(),
        "texts": scores.texts.tolist(),
        "texts_left": left[False],
        "texts_left_typed": left[True],
        "ranks": {rule: one.clean.tolist() for rule, one in ranks.items()},
        "grades": ratings(whole),
        "alarms": sum(one.alarm for one in looks),
        "looked_at": len(looks),
        "model": lab.loaded[2],
    }


def ratings(whole: ShopCatalogue) -> list[float]:
    """The shop's own relevance: the rating of each product less the lowest."""
    found = [float(str(one.attributes["Rating"])) for one in whole.listings]
    return [round(one - min(found), 6) for one in found]


def graded_list(found: Mapping[str, Any], rule: str = "sum") -> GradedList:
    """The terms of a catalogue's scores, graded by the order of the undefended ranker, whose texts
    are honest."""
    mean = np.mean(found["ranks"][rule], axis=0)
    texts, terms = np.array(found["texts_left"]), np.array(found["facts"])
    return GradedList(terms, texts, len(mean) - mean)


def tuned_eps(tuning: Sequence[Mapping[str, Any]]) -> float:
    """The smallest bound that loses little of the agreement with the undefended order."""
    lists = [graded_list(one) for one in tuning]
    return choose_eps(bound_curve(lists, epsilons(lists)), most_loss=_MOST_LOSS)


@cache
def chosen_eps(lab: VisibilityLab) -> float:
    """The bound, by what was measured of books and cameras; measured now where it was not."""
    tuning: list[Mapping[str, Any]] = []
    for name in list(REQUESTS)[1:]:
        found = kept(VisibilityCell(name, FACTS))
        tuning.append(found or facts(name, lab, scoring_orders(name)))
    return tuned_eps(tuning)


@cache
def guard(catalogue: str) -> TextGuard:
    """Fitted on honest texts of five merchants, none of this catalogue, whose listings name no
    merchant: they are read as those of an unknown one."""
    own = set(shop(catalogue).names)
    fitted: list[GuardText] = []
    for some in honest_texts(DATA).values():
        others = [one for _, one in some if one.name not in own]
        fitted += others[:: max(len(others) // _FITTED, 1)][:_FITTED]
    return TextGuard.fit(fitted, np.random.default_rng(0))


@cache
def defence_stack(catalogue: str, *, typed: bool = False) -> DefenceStack:
    """Normalisation, the guard, each listing by itself, and the bound of `--defend`. typed: with
    typed extraction."""
    schema = FactSchema.of(shop(catalogue).listings) if typed else None
    config = replace(_STACK, extract=typed)
    return DefenceStack(config, guard=guard(catalogue), schema=schema)


@cache
def stack_target(catalogue: str, lab: VisibilityLab, *, typed: bool = False) -> Target:
    """The ranker behind that stack."""
    return defence_stack(catalogue, typed=typed).target(lab.target, facts=_facts(lab))


def text_term(
    text: SellerText, catalogue: str, lab: VisibilityLab, *, typed: bool = False
) -> float:
    """What a text of a product adds to its score behind the stack, before the bound."""
    whole = shop(catalogue)
    listing = whole.listings[whole.index(text.product)].with_text(text.field, text.text)
    left = defence_stack(catalogue, typed=typed).clean(listing)
    return float(_alone(lab).text_terms([left], whole.request)[0][0])


def defended(
    text: SellerText,
    catalogue: str,
    lab: VisibilityLab,
    orders: Sequence[Order],
    known: Mapping[str, Any],
) -> dict[str, Any]:
    """What a text does behind each defence, and what is left of it. known: ranks by defence that
    were measured before."""
    whole = shop(catalogue)
    attacked = whole.listings[whole.index(text.product)].with_text(text.field, text.text)
    left = {name: _cleaner(name, catalogue).clean(attacked) for name in _CLEANING}
    left["stack"] = defence_stack(catalogue).clean(attacked)
    return {
        "ranks": {
            name: known.get(name) or ranks_behind(name, text, catalogue, lab, orders)
            for name in DEFENCES
        },
        "left": {name: one.texts[text.field] for name, one in left.items()},
        "eps": chosen_eps(lab),
    }


def ranks_behind(
    name: str, text: SellerText, catalogue: str, lab: VisibilityLab, orders: Sequence[Order]
) -> dict[str, Any]:
    """Ranks [O][n] behind a defence, without the text and with it. Where each listing is read
    alone the order says nothing, and there is one ranking."""
    whole = shop(catalogue)
    row = whole.index(text.product)
    other = whole.with_listing(row, whole.listings[row].with_text(text.field, text.text))
    found = {}
    for kind, one in (("clean", whole), ("attacked", other)):
        if name in _CLEANING:
            cleaned = _cleaned(one, _cleaner(name, catalogue))
            table = run_trials(
                lab.target, cleaned, [_same(cleaned)], orders, log=trial_log(catalogue), batch=1
            )
            found[kind] = table.clean.tolist()
        else:
            scores = _scores_alone(name, one, catalogue, lab).tolist()
            best = best_first(scores, range(len(one)))
            found[kind] = [Ranking(best).ranks(len(one)).tolist()]
    return found


def _scores_alone(
    name: str, whole: ShopCatalogue, catalogue: str, lab: VisibilityLab
) -> NDArray[np.float64]:
    """[n] behind a defence that reads each listing alone."""
    if name == "isolated":
        return _alone(lab).scored(whole.listings, whole.request)[0]
    stack = defence_stack(catalogue, typed=name == _TYPED)
    cleaned = _cleaned(whole, stack) if name in _WHOLE else whole
    scores = _bounded(lab).scores(cleaned.listings, whole.request)
    return replace(scores, eps=chosen_eps(lab)).honest if name == "stack" else scores.honest


@cache
def _alone(lab: VisibilityLab) -> IsolatedTarget:
    return IsolatedTarget(lab.target)


@cache
def _facts(lab: VisibilityLab) -> Target:
    return AveragedTarget(lab.target, _TURNS, balanced=True)


@cache
def _bounded(lab: VisibilityLab) -> BoundedTarget:
    return BoundedTarget(_facts(lab), _alone(lab), HALF)


def trial_log(catalogue: str) -> TrialLog:
    """Rankings that were made of a catalogue, by the ranker in float32."""
    return TrialLog(work_folder() / f"{catalogue}-float32.jsonl")


@cache
def _cleaner(name: str, catalogue: str) -> ListingCleaner:
    if name == "normalise":
        return NormaliseCleaner()
    if name == "guard":
        return GuardCleaner(guard(catalogue))
    return ExtractionCleaner(FactSchema.of(shop(catalogue).listings))


def _cleaned(whole: ShopCatalogue, cleaner: ListingCleaner) -> ShopCatalogue:
    return whole.with_listings({row: cleaner.clean(one) for row, one in enumerate(whole.listings)})


def _same(whole: ShopCatalogue) -> SellerText:
    """No change at all, so that trials rank a catalogue as it is."""
    one = whole.listings[0]
    field = one.text_fields[-1]
    return SellerText(one.name, field, one.texts[field], f"{CONTROL} none")


def choose_eps(points: Sequence[BoundPoint], *, most_loss: float = 0.02) -> float:
    """The smallest eps that loses at most the share `most_loss` of NDCG.

    Choose on catalogues for tuning, publish on others. Raises DataError where none does: try larger
    bounds; ConfigError where `most_loss` is no share.
    """
    if not 0 <= most_loss <= 1:
        raise ConfigError("most_loss is a share", where=f"most_loss {most_loss!r}", hint="0 to 1")
    good = [one.eps for one in points if one.loss_percent <= 100 * most_loss + 1e-9]
    if not good:
        raise DataError(
            f"every bound loses more than {most_loss:.1%} of NDCG",
            column="eps",
            hint="try larger bounds, or accept a larger loss",
        )
    return min(good)
