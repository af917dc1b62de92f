"""One attack, or one control, of the benchmark of visibility: its text, its cost and its ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from adwright.audit.attacks.attack import (
    Attack,
    AttackBudget,
    AttackGoal,
    AttackStep,
    AttackTier,
    RankFeedback,
    Spending,
    SpendingMeter,
    run_attack,
)
from adwright.audit.attacks.gradient import (
    GradientAttack,
    GradientConfig,
    fluent_config,
    spread_orders,
)
from adwright.audit.attacks.search import (
    RankSearchConfig,
    SearchAttack,
    adaptive_search,
    control_texts,
    template_texts,
)
from adwright.audit.report.trials import AUDIT_MARK, RankTable, SellerText, TrialLog, run_trials
from adwright.audit.targets.likelihood import prompt_tokens
from adwright.audit.targets.target import Ask
from adwright.core.config import to_jsonable
from adwright.core.errors import ConfigError, ResumeError
from benchmarks.audit.pushed.cells import (
    ADAPTIVE,
    CHOSEN,
    CONTROLS,
    SCORED,
    TYPED,
    VisibilityCell,
    scoring_orders,
)
from benchmarks.audit.pushed.defences import (
    HALF,
    chosen_eps,
    defence_stack,
    ranks_behind,
    stack_target,
    text_term,
    trial_log,
)
from benchmarks.audit.pushed.lab import VisibilityLab, shop, work_folder

#: Readings of the whole prompt that each of T1 to T4 may spend; see `budget`.
CALLS = 120
GRADIENT = GradientConfig(steps=500, candidates=64)
_FLUENT = fluent_config(GRADIENT)
_SEARCH = RankSearchConfig(steps=500)


def attacked(
    cell: VisibilityCell, lab: VisibilityLab, *, calls: float = CALLS, orders: int = SCORED
) -> dict[str, Any]:
    """Attack, or write the control, and score the text. calls: of the attack. orders: that it is
    scored in."""
    goal = AttackGoal(shop(cell.catalogue), cell.row)
    full = calls == CALLS and orders == SCORED
    found: dict[str, Any] = {"audit": AUDIT_MARK}
    if cell.tier in CONTROLS:
        controls = control_texts(
            goal,
            seed=cell.seed,
            words=GRADIENT.tokens,
            tokens=lab.tokens,
            vocabulary=lab.target.model.vocabulary,
        )
        text = controls[CONTROLS.index(cell.tier)]
    else:
        text, more = _searched(cell, goal, lab, calls, keeps=full)
        found |= more
    found |= {
        "text": text.text,
        "added": text.text[len(goal.own_text) :],
        "tier": text.tier,
        "model": lab.loaded[2],
        "dtype": str(lab.loaded[0].dtype),
    }
    fresh = scoring_orders(cell.catalogue)[:orders]
    if cell.tier in ADAPTIVE:
        typed = cell.tier == TYPED
        behind = {
            name: ranks_behind(name, text, cell.catalogue, lab, fresh)
            for name in (("stack_facts",) if typed else ("stack", "stack_half"))
        }
        term = text_term(text, cell.catalogue, lab, typed=typed)
        return found | {"ranks": behind, "eps": chosen_eps(lab), "term": round(term, 4)}
    log = trial_log(cell.catalogue) if full else TrialLog()
    table = run_trials(lab.target, goal.catalogue, [text], fresh, log=log, batch=1)
    seconds = round(table.attacked_cost.cpu_seconds, 1)
    return found | {"ranks": _ranks(table, lab), "cpu_seconds_scoring": seconds}


def seller_text(cell: VisibilityCell, found: Mapping[str, Any]) -> SellerText:
    """The text of a cell that was measured, as an audit has it."""
    goal = AttackGoal(shop(cell.catalogue), cell.row)
    return SellerText(goal.name, goal.field, found["text"], found["tier"], str(cell.seed))


def _searched(
    cell: VisibilityCell, goal: AttackGoal, lab: VisibilityLab, calls: float, *, keeps: bool
) -> tuple[SellerText, dict[str, Any]]:
    """The text that an attack ends in. Where the defences take out the words that the attack by
    gradient through them begins with, it has none, and the text is the seller's own."""
    calls *= _own_readings(goal, lab) if cell.tier in ADAPTIVE else 1.0
    meter = SpendingMeter(AttackBudget(calls))
    try:
        attack, settings = _attack(cell, goal, lab, meter)
    except ConfigError as error:
        own = SellerText(goal.name, goal.field, goal.own_text, "T4", str(cell.seed))
        return own, {"spent": asdict(Spending()), "values": [], "refused": error.what}
    folder = work_folder() / f"{cell.name}-{CALLS}" if keeps else None
    outcome = run_attack(attack, meter, folder=folder, seed=cell.seed, note=settings)
    values = [round(value, 4) for value in outcome.values]
    return outcome.seller_text(), {"spent": asdict(outcome.spent), "values": values}


def _attack(
    cell: VisibilityCell, goal: AttackGoal, lab: VisibilityLab, meter: SpendingMeter
) -> tuple[Attack, dict[str, Any]]:
    chosen = spread_orders(len(goal.catalogue), cell.row, CHOSEN, cell.seed)
    model = lab.target.model.info.name
    match cell.tier:
        case "T0":
            feedback = RankFeedback(lab.searched, goal, chosen[:2], meter)
            return TemplateAttack(feedback, model=model), {}
        case "T1":
            feedback = RankFeedback(lab.searched, goal, chosen, meter)
            search = SearchAttack(feedback, _SEARCH, model=model, seed=cell.seed)
            return search, to_jsonable(_SEARCH)
        case "T4" | "T4-facts":
            typed = cell.tier == TYPED
            # Behind the stack each record is read alone, so that the orders say nothing.
            attack = adaptive_search(
                stack_target(cell.catalogue, lab, typed=typed),
                defence_stack(cell.catalogue, typed=typed),
                goal,
                chosen[:1],
                meter,
                model=model,
                config=_SEARCH,
                seed=cell.seed,
            )
            return UntilBound(attack, lab, meter, typed), to_jsonable(attack.config)
    config = GRADIENT if cell.tier == "T2" else _FLUENT
    through = cell.tier in ADAPTIVE
    gradient = GradientAttack(
        goal,
        lab.reader(fluent=config.fluency > 0),
        lab.tokens,
        meter,
        model=model,
        config=config,
        orders=chosen,
        cleaner=defence_stack(cell.catalogue) if through else None,
        alone=through,
        seed=cell.seed,
    )
    return UntilBound(gradient, lab, meter) if through else gradient, to_jsonable(config)


@dataclass(frozen=True, eq=False)
class UntilBound:
    """An attack through the stack that ends when its text adds as much as the bound lets through:
    more is cut off. The look at the score is a reading, which the attack pays."""

    attack: Attack
    lab: VisibilityLab
    meter: SpendingMeter
    typed: bool = False

    @property
    def tier(self) -> AttackTier:
        """Of the attack, as all that follows."""
        return self.attack.tier

    @property
    def model(self) -> str:
        """The name of what it attacks."""
        return self.attack.model

    @property
    def goal(self) -> AttackGoal:
        """What it is after."""
        return self.attack.goal

    def steps(self, state: Mapping[str, Any] | None = None) -> Iterator[AttackStep]:
        """The steps of the attack, up to the first whose text adds the bound."""
        goal, seen = self.goal, ""
        for step in self.attack.steps(state):
            yield step
            if step.text == seen:
                continue
            seen = step.text
            self.meter.add(calls=1)
            text = SellerText(goal.name, goal.field, goal.own_text + seen, "T4", "")
            if text_term(text, goal.catalogue.name, self.lab, typed=self.typed) >= HALF:
                return


def _own_readings(goal: AttackGoal, lab: VisibilityLab) -> float:
    """Readings of the record's own prompt that are as long as one of the whole list."""
    listings, request = goal.catalogue.listings, goal.catalogue.request
    whole = prompt_tokens(lab.tokens, Ask(listings, request, range(len(listings))))
    alone = prompt_tokens(lab.tokens, Ask(listings[goal.row : goal.row + 1], request, (0,)))
    return len(whole) / len(alone)


def _ranks(table: RankTable, lab: VisibilityLab) -> dict[str, Any]:
    """By rule: ranks of all products [O][n] without the text and with it."""
    rules = {lab.target.config.rule: table, **table.also}
    return {
        rule: {"clean": one.clean.tolist(), "attacked": one.attacked[0].tolist()}
        for rule, one in rules.items()
    }


class TemplateAttack:
    """Tries every template in all orders of the feedback, one a step; the one of the lowest mean
    rank is kept. model: its name."""

    def __init__(self, feedback: RankFeedback, *, model: str) -> None:
        self.model = model
        self._feedback = feedback
        self._texts = template_texts(feedback.goal)

    @property
    def tier(self) -> AttackTier:
        """T0."""
        return "T0"

    @property
    def goal(self) -> AttackGoal:
        """What it is after."""
        return self._feedback.goal

    def steps(self, state: Mapping[str, Any] | None = None) -> Iterator[AttackStep]:
        """Begin, or go on behind a step. Raises ResumeError for another state."""
        at, best, value = _begun(state)
        while at < len(self._texts):
            kind, text = self._texts[at]
            if not self._feedback.meter.allows(self._feedback.cost([text])):
                return
            found = float(self._feedback.mean_ranks([text])[0])
            at += 1
            if found < value:
                best, value = text, found
            yield AttackStep(best, value, {"at": at, "best": best, "value": value}, kind)


def _begun(state: Mapping[str, Any] | None) -> tuple[int, str, float]:
    if not state:
        return 0, "", float("inf")
    try:
        return int(state["at"]), str(state["best"]), float(state["value"])
    except (KeyError, TypeError, ValueError) as error:
        raise ResumeError(
            f"the state of the attack cannot be read: {error}",
            where="templates",
            hint="begin anew in another folder",
        ) from error
