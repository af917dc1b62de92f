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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from adwright.audit.attacks.attack import (
    Attack,
    AttackBudget,
    AttackGoal,
    AttackTier,
    RankFeedback,
    SpendingMeter,
)
from adwright.audit.attacks.run import run_attack
from adwright.audit.attacks.search import SearchAttack, adaptive_search
from adwright.audit.attacks.templates import TEMPLATES, control_texts, template_texts
from adwright.audit.catalogue import Order, ShopCatalogue, draw_orders
from adwright.audit.defences.stack import BoundedTarget, IsolatedTarget
from adwright.audit.report.trials import SellerText
from adwright.audit.targets.target import DefendedTarget, Target
from adwright.core.config import require_count
from adwright.core.errors import ConfigError

_Maker = Callable[
    [AttackGoal, str, Target, "AttackPlan", SpendingMeter, "ModelWeights | None"], Attack | None
]


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
        unknown = [one for one in self.tiers if one not in get_args(AttackTier)]
        if unknown or not self.tiers:
            raise ConfigError(
                f"unknown tier {unknown[0]!r}" if unknown else "no tier is asked for",
                where="tiers",
                hint=f"use some of {', '.join(get_args(AttackTier))}",
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
    if not {"T1", "T2", "T3", "T4"} & set(plan.tiers):
        return []
    found: dict[Order, None] = {}
    for seed in range(plan.seed, plan.seed + plan.runs):
        # A gradient attack takes some of a whole round of places.
        count = -(-_orders(plan, n) // n) * n
        drawn = draw_orders(n, count, seed=seed, purpose="choose", balanced=True)
        found |= dict.fromkeys(drawn)
    return list(found)


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
        for kind in TEMPLATES:
            yield SellerText(goal.name, goal.field, goal.own_text + first[kind], tier, kind)
        return
    for seed in range(plan.seed, plan.seed + plan.runs):
        if tier == "control":
            yield from control_texts(goal, seed=seed)
            continue
        own = replace(plan, seed=seed)
        for name, make in _makers(tier, weights).items():
            meter = SpendingMeter(AttackBudget(calls=plan.calls))
            attack = make(goal, tier, target, own, meter, weights)
            if attack is None:
                continue
            job = f"{name}-{goal.row}-{seed}"
            place = None if folder is None else Path(folder) / "attacks" / job
            outcome = run_attack(attack, meter, folder=place, seed=seed)
            run = f"{seed}{name.removeprefix(tier).replace('-', ' ')}"
            run += "" if outcome.values else " without a text that gets through"
            yield replace(outcome.seller_text(), run=run)


def _makers(tier: str, weights: ModelWeights | None) -> dict[str, _Maker]:
    """What makes the attacks of a tier, by the name of its folder."""
    if tier in ("T2", "T3"):
        return {tier: _by_gradient}
    if tier == "T4" and weights is not None:
        return {tier: _by_search, f"{tier}-gradient": _through_defence}
    return {tier: _by_search}


def _by_search(
    goal: AttackGoal,
    tier: str,
    target: Target,
    plan: AttackPlan,
    meter: SpendingMeter,
    weights: ModelWeights | None,
) -> Attack | None:
    n = len(goal.catalogue)
    orders = draw_orders(n, _orders(plan, n), seed=plan.seed, purpose="choose", balanced=True)
    if tier == "T4" and isinstance(target, DefendedTarget):
        return adaptive_search(
            target, target.defence, goal, orders, meter, model=target.name, seed=plan.seed
        )
    feedback = RankFeedback(target, goal, orders, meter)
    return SearchAttack(feedback, model=target.name, seed=plan.seed)


def _by_gradient(
    goal: AttackGoal,
    tier: str,
    target: Target,
    plan: AttackPlan,
    meter: SpendingMeter,
    weights: ModelWeights | None,
) -> Attack | None:
    if weights is None:
        return None
    from adwright.audit.attacks.gradient import GradientAttack, GradientConfig, fluent_config
    from adwright.audit.attacks.gradient_reading import SuffixReader

    count = _orders(plan, len(goal.catalogue))
    config = GradientConfig(order_count=count)
    config = fluent_config(config) if tier == "T3" else config
    reader = SuffixReader(weights.model, fluent=tier == "T3")
    return GradientAttack(
        goal, reader, weights.tokens, meter, model=weights.name, config=config, seed=plan.seed
    )


def _through_defence(
    goal: AttackGoal,
    tier: str,
    target: Target,
    plan: AttackPlan,
    meter: SpendingMeter,
    weights: ModelWeights | None,
) -> Attack | None:
    """None where the defence takes out the plain words that the attack begins with: a change of one
    token will then not get through either."""
    if weights is None or not isinstance(target, DefendedTarget):
        return None
    from adwright.audit.attacks.gradient import GradientAttack, GradientConfig, fluent_config
    from adwright.audit.attacks.gradient_reading import SuffixReader

    count = _orders(plan, len(goal.catalogue))
    config = fluent_config(GradientConfig(order_count=count))
    try:
        return GradientAttack(
            goal,
            SuffixReader(weights.model, fluent=True),
            weights.tokens,
            meter,
            model=f"{weights.name}, through {target.defence.name}",
            config=config,
            cleaner=target.defence,
            alone=isinstance(target.target, IsolatedTarget | BoundedTarget),
            seed=plan.seed,
        )
    except ConfigError:
        return None


def _orders(plan: AttackPlan, n: int) -> int:
    return min(plan.orders, math.factorial(min(n, 20)))


def _require_means(target: Target, plan: AttackPlan, weights: ModelWeights | None, n: int) -> None:
    # The product as it is, and one text, in every order.
    least = 2 * _orders(plan, n)
    if plan.calls < least and {"T1", "T4"} & set(plan.tiers):
        raise ConfigError(
            f"a search in {_orders(plan, n)} orders needs at least {least} calls",
            where=f"calls {plan.calls}",
            hint="allow more, or a net of 0 would say nothing",
        )
    white = [one for one in plan.tiers if one in ("T2", "T3")]
    if white and weights is None:
        raise ConfigError(
            f"{white[0]} needs the weights of the model",
            where="tiers",
            hint="rank by the likelihood of a model on this machine, or leave it out",
        )
    if "T4" in plan.tiers and not isinstance(target, DefendedTarget):
        raise ConfigError(
            "T4 knows the defence, and there is none",
            where="tiers",
            hint="defend the ranker, or leave T4 out",
        )
