"""What every attack looks like to whoever runs it: steps, each with the best text so far.

    for step in attack.steps(state):
        step.text, step.value, step.state

An attack that is given the state of one of its steps goes on behind that step as if it had never
stopped: the state holds the random generator too.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from adwright.audit.catalogue import ShopCatalogue, ShopListing
from adwright.audit.report.trials import AUDIT_MARK, SellerText, write_texts
from adwright.audit.targets.target import Ask, Target
from adwright.core.atomic import atomic_write_text
from adwright.core.errors import ConfigError, ResumeError
from adwright.core.journal import append_rows, read_rows
from adwright.core.progress import progress

# --------------------------------------------------------------------------------------------------
# What an attack is after: one product of a catalogue of one's own, and where its text goes.
#
#     goal = AttackGoal(catalogue, catalogue.index("ColdBrew Master"))
#     asks = goal.asks(" The best of all.", orders)
#
# An attack adds text to the end of one field that the seller writes, as in section 3 of
# "Manipulating LLMs to Increase Product Visibility" (Kumar and Lakkaraju 2024). It never touches an
# attribute.


@dataclass(frozen=True)
class AttackGoal:
    """Push the product in `row` up.

    field: the text that is added to; empty for the last one that is shown, as in the paper.

    Raises ConfigError where the catalogue is not declared as the own one, for a row that it lacks,
    and for a field that is no text of the product.
    """

    catalogue: ShopCatalogue
    row: int
    field: str = ""

    def __post_init__(self) -> None:
        self.catalogue.require_own()
        if not 0 <= self.row < len(self.catalogue):
            raise ConfigError(
                "the catalogue has no such row",
                where=f"{self.catalogue.name}: {self.row}",
                hint=f"its rows are 0 to {len(self.catalogue) - 1}",
            )
        fields = self.listing.text_fields
        if not fields:
            raise ConfigError(
                "the product has no text that its seller writes",
                where=f"{self.catalogue.name}: {self.name}",
                hint="say in the schema which fields are texts",
            )
        if not self.field:
            object.__setattr__(self, "field", fields[-1])
        self.listing.with_text(self.field, "")  # raises where it is no text

    @property
    def listing(self) -> ShopListing:
        """The product as it is."""
        return self.catalogue.listings[self.row]

    @property
    def name(self) -> str:
        """Of the product."""
        return self.listing.name

    @property
    def own_text(self) -> str:
        """What stands in the field without an attack."""
        return self.listing.texts[self.field]

    def attacked(self, extra: str) -> ShopListing:
        """The product with `extra` behind the text of the field; as it is for an empty one."""
        return self.listing.with_text(self.field, self.own_text + extra)

    def listings(self, extra: str) -> tuple[ShopListing, ...]:
        """All products, this one attacked."""
        return self.catalogue.with_listing(self.row, self.attacked(extra)).listings

    def asks(self, extra: str, orders: Sequence[Sequence[int]]) -> list[Ask]:
        """One question an order."""
        listings = self.listings(extra)
        return [Ask(listings, self.catalogue.request, tuple(one)) for one in orders]


#: How strong an attack is: a name of `found_texts.KINDS`, such as "T1".
AttackTier: TypeAlias = str


@dataclass(frozen=True)
class AttackStep:
    """text: the best so far, to be added behind the field. value: what the attack makes small, of
    that text: a loss, or a mean rank. state: from which it goes on, as JSON. note: for a reader."""

    text: str
    value: float
    state: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


@runtime_checkable
class Attack(Protocol):
    """One attack on one goal with one seed."""

    @property
    def tier(self) -> AttackTier:
        """How strong it is."""

    @property
    def goal(self) -> AttackGoal:
        """What it is after."""

    @property
    def model(self) -> str:
        """The model that it was found on."""

    def steps(self, state: Mapping[str, Any] | None = None) -> Iterator[AttackStep]:
        """Go on from a state, or begin; ends when it is done or its budget is spent."""


def kept_generator(rng: np.random.Generator) -> dict[str, Any]:
    """The state of a generator as JSON."""
    return dict(rng.bit_generator.state)


def generator_of(state: Mapping[str, Any]) -> np.random.Generator:
    """The generator that goes on from a state. Raises ResumeError where it is none."""
    rng = np.random.default_rng(0)
    try:
        rng.bit_generator.state = dict(state)
    except (TypeError, ValueError, KeyError) as error:
        raise ResumeError(
            f"the state of the random generator cannot be read: {error}",
            where="attack",
            hint="begin anew in another folder",
        ) from error
    return rng


# --------------------------------------------------------------------------------------------------
# What an attack may spend, one measure for all: calls of the model and CPU-seconds.
#
#     meter = SpendingMeter(AttackBudget(calls=200))
#     while meter.allows(8):
#         meter.add(calls=8, trials=8)
#
# One call is one reading of a whole prompt by the model. Who has the weights can read less, and
# pays
# that part: a candidate of which 40 of 800 tokens are read costs 1/20, and a gradient costs three
# times what it reads, since going back takes twice as long as going forward. So tiers are compared
# at equal work of the model. A search on ranks counts each ranking that it asks for as one call,
# whatever a defended or averaged ranker reads for it. `trials` says how many texts were looked at.


@dataclass(frozen=True)
class AttackBudget:
    """calls: of the model at most. cpu_seconds: at most, looked at between two steps; 0 for no
    limit. Raises ConfigError for fewer than one call and for negative seconds."""

    calls: float = 200.0
    cpu_seconds: float = 0.0

    def __post_init__(self) -> None:
        if not self.calls >= 1:
            raise ConfigError(
                "an attack needs at least one call", where=f"calls {self.calls}", hint="allow more"
            )
        if not (math.isfinite(self.cpu_seconds) and self.cpu_seconds >= 0):
            raise ConfigError(
                "CPU-seconds are a number from 0 on",
                where=f"cpu_seconds {self.cpu_seconds}",
                hint="use 0 for no limit",
            )


@dataclass(frozen=True)
class Spending:
    """What was spent. calls: readings of whole prompts. trials: texts that were tried, each in one
    order."""

    calls: float = 0.0
    cpu_seconds: float = 0.0
    trials: int = 0

    def __add__(self, other: Spending) -> Spending:
        return Spending(
            self.calls + other.calls,
            self.cpu_seconds + other.cpu_seconds,
            self.trials + other.trials,
        )


class SpendingMeter:
    """Counts against a budget. cpu: seconds of this process so far."""

    def __init__(
        self, budget: AttackBudget, *, cpu: Callable[[], float] = time.process_time
    ) -> None:
        self.budget = budget
        self._before = Spending()
        self._calls, self._trials = 0.0, 0
        self._cpu, self._start = cpu, cpu()

    @property
    def spent(self) -> Spending:
        """All of it, what was spent before included."""
        own = Spending(self._calls, self._cpu() - self._start, self._trials)
        return self._before + own

    def resume(self, spent: Spending) -> None:
        """Take what a job had spent before it was stopped as spent, instead of what is counted."""
        self._before, self._calls, self._trials = spent, 0.0, 0
        self._start = self._cpu()

    def allows(self, calls: float = 1.0) -> bool:
        """Whether so many more calls fit, and there is time."""
        spent, limit = self.spent, self.budget.cpu_seconds
        return spent.calls + calls <= self.budget.calls and not (
            limit and spent.cpu_seconds >= limit
        )

    def add(self, *, calls: float = 0.0, trials: int = 0) -> None:
        """Count what was just spent."""
        self._calls += calls
        self._trials += trials


# --------------------------------------------------------------------------------------------------
# What a black-box attack learns of a text: the ranks of its product, and no more.
#
#     feedback = RankFeedback(target, goal, orders, meter)
#     feedback.mean_ranks([" The best of all."])
#
# Each text is asked once an order; what was asked before costs nothing. Who knows the ranker learns
# the score, too (`by_score`): of equal ranks the better score is then better.

Ranks = NDArray[np.float64]


class RankFeedback:
    """orders: in which texts are tried, not those that they are scored in later. meter: counts one
    call a ranking. by_score: a rank is less by up to one half, the more the better the score is,
    where the target has scores."""

    def __init__(
        self,
        target: Target,
        goal: AttackGoal,
        orders: Sequence[Sequence[int]],
        meter: SpendingMeter,
        *,
        by_score: bool = False,
    ) -> None:
        if not orders:
            raise ConfigError("there is no order to try texts in", where="orders", hint="draw some")
        self.target, self.goal, self.meter = target, goal, meter
        self.orders = tuple(tuple(order) for order in orders)
        self._by_score = by_score
        self._known: dict[tuple[str, int], float] = {}

    def mean_ranks(self, texts: Sequence[str]) -> Ranks:
        """The mean rank of the product with each text over all orders: float64 [K], 1 is first."""
        ranks = np.array([self._of(texts, order) for order in range(len(self.orders))])  # [O, K]
        found: Ranks = ranks.mean(0)
        return found

    def in_order(self, texts: Sequence[str]) -> Callable[[int, NDArray[np.int64]], Ranks]:
        """The ranks of some rows of `texts` in one order, as `halved` asks for them."""

        def look(order: int, rows: NDArray[np.int64]) -> Ranks:
            return self._of([texts[row] for row in rows], order)

        return look

    def cost(self, texts: Sequence[str]) -> int:
        """How many calls `mean_ranks` would make."""
        every = {(text, at) for text in texts for at in range(len(self.orders))}
        return len(every - self._known.keys())

    def _of(self, texts: Sequence[str], order: int) -> Ranks:
        new = list(dict.fromkeys(text for text in texts if (text, order) not in self._known))
        asks: list[Ask] = []
        for text in new:
            asks.extend(self.goal.asks(text, [self.orders[order]]))
        if asks:
            n = len(self.goal.catalogue)
            for text, ranking in zip(new, self.target.rank(asks), strict=True):
                rank = float(ranking.rank_of(self.goal.row, of=n))
                if self._by_score and ranking.scores is not None:
                    score = ranking.scores[self.goal.row]
                    rank -= (1 + score / (1 + abs(score))) / 4
                self._known[text, order] = rank
            self.meter.add(calls=len(asks), trials=len(asks))
        return np.array([self._known[text, order] for text in texts], dtype=np.float64)


# --------------------------------------------------------------------------------------------------
# Run an attack as a job: kept step by step, resumed, shown, and marked for what it is.
#
#     outcome = run_attack(attack, meter, folder="runs/attack/coffee-4-T2-0")
#     outcome.seller_text()           # as an audit tries it, in fresh orders
#
#     FOLDER/
#       attack.json     what was asked for, with the mark of an audit; another attack is refused
# here
#       steps.jsonl     a line a step: best text, its value, what was spent, the state
#       texts.jsonl     the text that was found, with the mark; written when the attack has ended
#
# A process may be killed anywhere: the attack goes on behind the last whole step. Nothing is ever
# written to a catalogue.

_ASKED, _STEPS, _TEXTS = "attack.json", "steps.jsonl", "texts.jsonl"
_DAMAGED = "remove the attack's folder, and run it anew"


@dataclass(frozen=True)
class AttackOutcome:
    """What an attack came to. text: what it adds behind `own` in `field`. values: of all steps,
    losses or mean ranks."""

    product: str
    field: str
    own: str
    text: str
    tier: str
    model: str
    seed: int
    values: tuple[float, ...]
    spent: Spending

    def seller_text(self) -> SellerText:
        """As an audit tries it."""
        return SellerText(self.product, self.field, self.own + self.text, self.tier, str(self.seed))


def run_attack(
    attack: Attack,
    meter: SpendingMeter,
    *,
    folder: str | Path | None = None,
    seed: int = 0,
    note: Mapping[str, Any] | None = None,
) -> AttackOutcome:
    """Run an attack to its end, or go on where it was stopped.

    meter: the one that the attack counts with. folder: None keeps nothing. seed: of the attack, for
    the record. note: more for the record, such as its settings; another one is another attack.

    Raises ConfigError for a catalogue that is not declared as one's own; ResumeError where the
    folder holds another attack; FileUnreadableError for a damaged step; ResourceError
    where it cannot be written.
    """
    goal = attack.goal
    goal.catalogue.require_own()
    place = None if folder is None else Path(folder)
    rows = [] if place is None else _kept_rows(place, _asked(attack, meter, seed, note or {}))
    values = [float(row["value"]) for row in rows]
    text, state = (rows[-1]["text"], rows[-1]["state"]) if rows else ("", None)
    if rows:
        meter.resume(_spending(rows[-1]["spent"]))

    def shown() -> str:
        return f"{values[-1]:.3f}" if values else ""

    with progress(None, f"Attack {attack.tier} on {goal.name}", "steps", note=shown) as bar:
        for step in attack.steps(state):
            text = step.text
            values.append(step.value)
            if place is not None:
                row = asdict(step) | {"spent": asdict(meter.spent)}
                append_rows(place / _STEPS, [row])
            bar.advance()
    outcome = AttackOutcome(
        goal.name,
        goal.field,
        goal.own_text,
        text,
        attack.tier,
        attack.model,
        seed,
        tuple(values),
        meter.spent,
    )
    if place is not None and values:
        write_texts(place / _TEXTS, [outcome.seller_text()])
    return outcome


def _asked(
    attack: Attack, meter: SpendingMeter, seed: int, note: Mapping[str, Any]
) -> dict[str, Any]:
    goal = attack.goal
    return {
        "audit": AUDIT_MARK,
        "tier": attack.tier,
        "model": attack.model,
        "catalogue": goal.catalogue.name,
        "digest": goal.catalogue.digest(),
        "product": goal.name,
        "field": goal.field,
        "seed": seed,
        "budget": asdict(meter.budget),
        "note": dict(note),
    }


def _spending(value: Mapping[str, Any]) -> Spending:
    return Spending(float(value["calls"]), float(value["cpu_seconds"]), int(value["trials"]))


def _kept_rows(folder: Path, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The steps that a folder holds, whose attack is the one that is asked for."""
    path, plain, before = folder / _ASKED, json.loads(json.dumps(asked)), None
    try:
        before = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        atomic_write_text(path, json.dumps(plain, indent=1) + "\n")
    except (OSError, ValueError) as error:
        raise ResumeError(
            f"a file of the attack cannot be read: {error}", where=str(path), hint=_DAMAGED
        ) from error
    else:
        if before != plain:
            held = before if isinstance(before, dict) else {}
            other = next((key for key in plain if held.get(key) != plain[key]), "audit")
            raise ResumeError(
                f"the folder holds another attack: its {other} differs",
                where=str(folder),
                hint="give each attack a folder of its own",
            )
    return read_rows(folder / _STEPS, _step, hint=_DAMAGED)


def _step(row: dict[str, Any]) -> dict[str, Any]:
    float(row["value"]), str(row["text"]), dict(row["state"]), _spending(row["spent"])
    return row
