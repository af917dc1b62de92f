"""What a search found, and how it is said: never as more than a model's estimate.

    found = find_edit(fitness, lambda f: genetic_search(f, seed=0), second=other_judge)
    found.plan, found.first.said(), found.confirmed

Beside what the searched judge says stands the second opinion: of a judge that the search never
asked, trained with another seed, encoder or fold. A search finds where its judge is wrong as well
as where the picture is better; where the second judge sees no gain, `advice` is to leave the ad.
Every gain is said together with `ESTIMATE`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from adwright.core.errors import ConfigError, MissingExtraError
from adwright.creative.editor.edits.plan import EditedPicture, EditPlan
from adwright.creative.editor.provenance.label import ESTIMATE
from adwright.creative.editor.search.fitness import PlanFitness
from adwright.creative.editor.search.picture_judge import (
    Floats,
    PictureJudge,
    Pixels,
    checked_answers,
)
from adwright.creative.editor.search.settings import SearchOutcome

__all__ = ["FoundEdit", "HasMembers", "JudgedChange", "edit_at", "find_edit", "judged_change"]


@runtime_checkable
class HasMembers(Protocol):
    """A judge that is several, such as `EnsembleJudge`."""

    @property
    def judges(self) -> Sequence[PictureJudge]:
        """Each of them."""
        ...

    def members(self, pictures: Pixels, /) -> Floats:
        """float [M, N]: what each says."""
        ...


@dataclass(frozen=True)
class JudgedChange:
    """What a judge says of a picture before and after an edit. low, high: interval of the change,
    None of a judge that is no ensemble. coverage: of the interval."""

    judge: str
    before: float
    after: float
    low: float | None = None
    high: float | None = None
    coverage: float = 0.9

    @property
    def change(self) -> float:
        """After less before."""
        return self.after - self.before

    @property
    def relative(self) -> float:
        """The change as a share of what was said before; not a number where that was 0."""
        return self.change / abs(self.before) if self.before else float("nan")

    def said(self) -> str:
        """In words, with its interval, and what kind of number it is."""
        text = f"{self.judge} {self.before:.4g} to {self.after:.4g}"
        if self.before:
            text += f" ({self.relative:+.1%})"
        if self.low is not None and self.high is not None:
            text += f", change {self.low:+.3g} to {self.high:+.3g} ({self.coverage:.0%} interval)"
        else:
            text += ", without an interval: a single judge"
        return f"{text}; {ESTIMATE}"


@dataclass(frozen=True, eq=False)
class FoundEdit:
    """An edit that a search found. first: what the judge says that was searched. second: of the
    one that was not. penalties: of the edit, by name, without weights. calls: pictures judged, in
    batches. cpu_seconds: of the search, of all threads. reason: why it was kept or not, where that
    was decided."""

    plan: EditPlan
    method: str
    original: Pixels = field(repr=False)
    done: EditedPicture = field(repr=False)
    first: JudgedChange
    second: JudgedChange | None
    penalties: Mapping[str, float]
    score_gain: float
    calls: int
    batches: int
    cpu_seconds: float
    reason: str = ""

    @property
    def changed(self) -> bool:
        """Whether there is anything in it; a search that finds nothing better returns no edit."""
        return not np.array_equal(self.done.picture, self.original)

    @property
    def confirmed(self) -> bool | None:
        """Whether the second judge sees a gain too; None without one."""
        return None if self.second is None else self.changed and self.second.change > 0

    @property
    def advice(self) -> str:
        """What to make of it, in a sentence: the reason, where one was given."""
        if self.reason:
            return self.reason
        if not self.changed:
            return "Leave the picture as it is: nothing better was found."
        if self.confirmed is None:
            return f"No second judge was asked, so test before use ({ESTIMATE})."
        if not self.confirmed:
            return "Leave the picture as it is: the second judge sees no gain."
        return f"Worth a test: both judges see a gain ({ESTIMATE})."

    def settings(self) -> list[tuple[str, float]]:
        """(name, value) of each knob that is not neutral, edits that were skipped left out."""
        skipped = {one.at for one in self.done.skipped}
        return [
            (f"{edit.kind.replace('_', ' ')} {knob.name}", value)
            for at, edit in enumerate(self.plan.edits)
            if at not in skipped and not edit.is_neutral()
            for knob, value in zip(edit.knobs(), edit.values(), strict=True)
            if value != knob.neutral
        ]

    def as_row(self) -> dict[str, str | float | int | bool | None]:
        """Plain values, for a table or JSON."""
        row: dict[str, str | float | int | bool | None] = {"method": self.method}
        for name, one in (("first", self.first), ("second", self.second)):
            row |= {
                f"{name}_judge": None if one is None else one.judge,
                f"{name}_before": None if one is None else one.before,
                f"{name}_after": None if one is None else one.after,
                f"{name}_low": None if one is None else one.low,
                f"{name}_high": None if one is None else one.high,
            }
        return row | {
            "confirmed": self.confirmed,
            "score_gain": self.score_gain,
            "calls": self.calls,
            "batches": self.batches,
            "cpu_seconds": self.cpu_seconds,
            "plan": self.plan.to_json(),
            "note": ESTIMATE,
        }


def find_edit(
    fitness: PlanFitness,
    search: Callable[[PlanFitness], SearchOutcome],
    *,
    second: PictureJudge | None = None,
    cpu: Callable[[], float] = time.process_time,
) -> FoundEdit:
    """Search, and tell what was found.

    second: a judge that the search does not ask. cpu: tells CPU-seconds. Raises ConfigError where
    the fitness has several judges, and where the second is one of them or of their members.
    """
    if second is not None:
        _require_unseen(second, fitness.judges)
    start, batches = cpu(), fitness.batches
    outcome = search(fitness)
    spent = cpu() - start
    return edit_at(
        fitness, outcome, second=second, batches=fitness.batches - batches, cpu_seconds=spent
    )


def edit_at(
    fitness: PlanFitness,
    outcome: SearchOutcome,
    *,
    second: PictureJudge | None = None,
    batches: int = 0,
    cpu_seconds: float = float("nan"),
) -> FoundEdit:
    """What an outcome is, judged before and after. Raises as `find_edit`."""
    if second is not None:
        _require_unseen(second, fitness.judges)
    if len(fitness.judges) != 1:
        raise ConfigError(
            f"{len(fitness.judges)} judges were searched", where="fitness", hint="see pareto"
        )
    batch = fitness.batch(outcome.vector[None])
    pair = np.stack([batch.unedited, batch.pictures[0]])
    return FoundEdit(
        plan=batch.plans[0],
        method=outcome.method,
        original=fitness.picture,
        done=batch.done[0],
        first=judged_change(fitness.judges[0], pair),
        second=None if second is None else judged_change(second, pair),
        penalties={one.penalty.name: float(one.penalty.of(batch)[0]) for one in fitness.penalties},
        score_gain=outcome.gain,
        calls=outcome.calls,
        batches=batches,
        cpu_seconds=cpu_seconds,
    )


def judged_change(judge: PictureJudge, pair: Pixels, *, coverage: float = 0.9) -> JudgedChange:
    """What a judge says of pictures uint8 [2, H, W, 3], before and after.

    Of an ensemble of M with an interval: what another such model would say of the change, if the
    members are drawn from the same kind,

        mean +- t(M - 1) sd sqrt(1 + 1 / M)

    with the mean and standard deviation of the members' changes. It says nothing of what all
    members get wrong alike. Raises ConfigError for a coverage that is no share,
    MissingExtraError without scipy.
    """
    if not 0 < coverage < 1:
        raise ConfigError(f"coverage {coverage}", where="coverage", hint="0 < coverage < 1")
    before, after = checked_answers(judge, pair)
    if not isinstance(judge, HasMembers):
        return JudgedChange(judge.name, float(before), float(after), coverage=coverage)
    try:
        from scipy.stats import t
    except ImportError as error:
        raise MissingExtraError("intervals of predicted changes", "creative") from error
    said = np.asarray(judge.members(pair), np.float64)
    changes, many = said[:, 1] - said[:, 0], len(said)
    reach = t.ppf((1 + coverage) / 2, many - 1) * changes.std(ddof=1) * np.sqrt(1 + 1 / many)
    mean = changes.mean()
    return JudgedChange(
        judge.name,
        float(before),
        float(after),
        float(mean - reach),
        float(mean + reach),
        coverage,
    )


def _require_unseen(second: PictureJudge, judges: Sequence[PictureJudge]) -> None:
    """A second opinion of what was searched is none."""
    seen, asked = _parts(judges), _parts([second])
    if any(one is other for one in asked for other in seen):
        raise ConfigError(
            f"the second judge {second.name!r} was searched, itself or a part of it",
            where="second",
            hint="pass one of another seed, encoder or fold",
        )


def _parts(judges: Sequence[PictureJudge]) -> list[PictureJudge]:
    found: list[PictureJudge] = []
    for judge in judges:
        found.append(judge)
        if isinstance(judge, HasMembers):
            found += _parts(judge.judges)
    return found
