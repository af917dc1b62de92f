"""The texts of an audit that nobody brought: attacks find them, on orders of their own.

    texts = find_texts(shop, target, AttackPlan(tiers=("T0", "T1", "control")), folder="runs/audit")

T0 and the controls are written without a look at the ranker: the first template of each kind, and
random words, the name again, a truthful sentence. T1 searches on rank feedback. T2 and T3 need the
weights of a model on this machine (`weights`). T4 searches through the target as it is defended,
and with weights goes by gradient through the defence, too, each with all of the calls. Every attack
is a job in a folder of its own, which goes on where it was stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adwright.audit.attacks.attack import (
    Attack,
    AttackBudget,
    AttackGoal,
    AttackTier,
    RankFeedback,
    SpendingMeter,
    run_attack,
)
from adwright.audit.attacks.search import (
    SearchAttack,
    adaptive_search,
    control_texts,
    template_texts,
    templates,
)
from adwright.audit.catalogue import Order, ShopCatalogue, draw_orders
from adwright.audit.defences.stack import BoundedTarget, IsolatedTarget
from adwright.audit.report.trials import CONTROL, SellerText
from adwright.audit.targets.target import DefendedTarget, Target
from adwright.core.config import require_count
from adwright.core.errors import ConfigError


@dataclass(frozen=True)
class ModelWeights:
    """A causal model of transformers in eval mode and its tokens, as `load_causal` gives them."""

    model: Any
    tokens: Any
    name: str


@dataclass(frozen=True)
class AttackPlan:
    """tiers: of "T0" to "T4" and "control". products: names, none for all. runs: of each attack,
    by its seed. calls: of the model, for each of them. orders: that texts are chosen on, fewer
    where there are not so many. seed: of
    the first run.

    Raises ConfigError that names the setting.
    """

    tiers: tuple[str, ...] = ("T0", "control")
    products: tuple[str, ...] = ()
    runs: int = 1
    calls: int = 200
    orders: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("runs", "calls", "orders"):
            require_count(name, getattr(self, name))
        known = ("T0", *KINDS, CONTROL)
        unknown = [one for one in self.tiers if one not in known]
        if unknown or not self.tiers:
            raise ConfigError(
                f"unknown tier {unknown[0]!r}" if unknown else "no tier is asked for",
                where="tiers",
                hint=f"use some of {', '.join(known)}",
            )


def find_texts(
    catalogue: ShopCatalogue,
    target: Target,
    plan: AttackPlan,
    *,
    folder: str | Path | None = None,
    weights: ModelWeights | None = None,
) -> list[SellerText]:
    """The texts of all tiers, products and runs of a plan.

    target: that is attacked; T0 and the controls do not ask it. folder: of the jobs; None keeps
    nothing. weights: for T2 and T3, and for the second kind of T4.

    Raises ConfigError for a catalogue that is not declared as one's own, an unknown product, T2 and
    T3 without weights, T4 where the target has no defence, and for fewer calls than a search needs
    to try one text; and as `run_attack`.
    """
    catalogue.require_own()
    _require_means(target, plan, weights, len(catalogue))
    rows = [catalogue.index(name) for name in plan.products] or list(range(len(catalogue)))
    found: list[SellerText] = []
    for row in rows:
        goal = AttackGoal(catalogue, row)
        for tier in plan.tiers:
            found += _texts(goal, tier, target, plan, folder, weights)
    return found


def choosing_orders(plan: AttackPlan, n: int) -> list[Order]:
    """The orders of n products on which the attacks of a plan may choose: not to be scored on.
    Templates and controls choose on none."""
    if not KINDS.keys() & set(plan.tiers):
        return []
    found: dict[Order, None] = {}
    for seed in range(plan.seed, plan.seed + plan.runs):
        # A gradient attack takes some of a whole round of places.
        count = -(-_orders(plan, n) // n) * n
        drawn = draw_orders(n, count, seed=seed, purpose="choose", balanced=True)
        found |= dict.fromkeys(drawn)
    return list(found)


@dataclass(frozen=True)
class AttackJob:
    """One attack of a plan on one goal; seed: of this run."""

    goal: AttackGoal
    tier: AttackTier
    target: Target
    plan: AttackPlan
    weights: ModelWeights | None
    seed: int
    meter: SpendingMeter

    @property
    def order_count(self) -> int:
        """Of the orders that it chooses in."""
        return _orders(self.plan, len(self.goal.catalogue))


def _texts(
    goal: AttackGoal,
    tier: str,
    target: Target,
    plan: AttackPlan,
    folder: str | Path | None,
    weights: ModelWeights | None,
) -> Iterator[SellerText]:
    if tier == "T0":
        first = {kind: text for kind, text in reversed(template_texts(goal))}
        for kind in templates():
            yield SellerText(goal.name, goal.field, goal.own_text + first[kind], tier, kind)
        return
    for seed in range(plan.seed, plan.seed + plan.runs):
        if tier == CONTROL:
            yield from control_texts(goal, seed=seed)
            continue
        for name, make in KINDS[tier].makers.items():
            meter = SpendingMeter(AttackBudget(calls=plan.calls))
            attack = make(AttackJob(goal, tier, target, plan, weights, seed, meter))
            if attack is None:
                continue
            job = f"{tier}{name and '-'}{name}-{goal.row}-{seed}"
            place = None if folder is None else Path(folder) / "attacks" / job
            outcome = run_attack(attack, meter, folder=place, seed=seed)
            run = f"{seed} {name}".strip()
            run += "" if outcome.values else " without a text that gets through"
            yield replace(outcome.seller_text(), run=run)


def _by_search(job: AttackJob) -> Attack | None:
    n, target = len(job.goal.catalogue), job.target
    orders = draw_orders(n, job.order_count, seed=job.seed, purpose="choose", balanced=True)
    if job.tier == "T4" and isinstance(target, DefendedTarget):
        return adaptive_search(
            target,
            target.defence,
            job.goal,
            orders,
            job.meter,
            model=target.name,
            seed=job.seed,
        )
    feedback = RankFeedback(target, job.goal, orders, job.meter)
    return SearchAttack(feedback, model=target.name, seed=job.seed)


def _by_gradient(job: AttackJob) -> Attack | None:
    """At T4 through the defence: None where it takes out the plain words that the attack begins
    with, as a change of one token will then not get through either."""
    if job.weights is None:
        return None
    from adwright.audit.attacks.gradient import GradientAttack, GradientConfig, fluent_config
    from adwright.audit.attacks.gradient_reading import SuffixReader

    fluent, model, target = job.tier != "T2", job.weights.name, job.target
    config = GradientConfig(order_count=job.order_count)
    defence, alone = None, False
    if job.tier == "T4" and isinstance(target, DefendedTarget):
        defence, model = target.defence, f"{model}, through {target.defence.name}"
        alone = isinstance(target.target, IsolatedTarget | BoundedTarget)
    try:
        return GradientAttack(
            job.goal,
            SuffixReader(job.weights.model, fluent=fluent),
            job.weights.tokens,
            job.meter,
            model=model,
            config=fluent_config(config) if fluent else config,
            cleaner=defence,
            alone=alone,
            seed=job.seed,
        )
    except ConfigError:
        if defence is None:
            raise
        return None


@dataclass(frozen=True)
class AttackKind:
    """The attacks of a tier. makers: by what its folder and its run are called behind the tier.
    searches: it takes calls for two texts at least. weights: it takes those of the model; defended:
    a target behind a defence."""

    makers: Mapping[str, Callable[[AttackJob], Attack | None]]
    searches: bool = False
    weights: bool = False
    defended: bool = False


#: A new attack has its own file, and a row here.
KINDS: Mapping[str, AttackKind] = {
    "T1": AttackKind({"": _by_search}, searches=True),
    "T2": AttackKind({"": _by_gradient}, weights=True),
    "T3": AttackKind({"": _by_gradient}, weights=True),
    "T4": AttackKind({"": _by_search, "gradient": _by_gradient}, searches=True, defended=True),
}


def _orders(plan: AttackPlan, n: int) -> int:
    return min(plan.orders, math.factorial(min(n, 20)))


def _require_means(target: Target, plan: AttackPlan, weights: ModelWeights | None, n: int) -> None:
    # The product as it is, and one text, in every order.
    least = 2 * _orders(plan, n)
    for tier in (one for one in plan.tiers if one in KINDS):
        kind = KINDS[tier]
        if kind.searches and plan.calls < least:
            raise ConfigError(
                f"a search in {_orders(plan, n)} orders needs at least {least} calls",
                where=f"calls {plan.calls}",
                hint="allow more, or a net of 0 would say nothing",
            )
        if kind.weights and weights is None:
            raise ConfigError(
                f"{tier} needs the weights of the model",
                where="tiers",
                hint="rank by the likelihood of a model on this machine, or leave it out",
            )
        if kind.defended and not isinstance(target, DefendedTarget):
            raise ConfigError(
                f"{tier} knows the defence, and there is none",
                where="tiers",
                hint=f"defend the ranker, or leave {tier} out",
            )
