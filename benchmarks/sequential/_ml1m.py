"""Models of MovieLens 1M by position: settings by validation, then trainings of several seeds.

A model's settings are candidates: a dropout and a number of epochs. Each candidate is trained once
without the validation events and asked after every fifth epoch, of all 6,040 people, so what was
asked on the way is its curve of quality against CPU-time. The candidate that is best at its end
is trained anew on the validation events too, with every seed, and measured on the test events. So
what is published is what was validated, schedule of the rate and all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from adwright.core.atomic import atomic_write_text
from adwright.data.sequences.item_sequences import ItemSequences
from adwright.metrics.reports.charts import to_svg
from adwright.models.sequential.hstu import HSTUConfig, SASRecConfig
from adwright.training.sequential.fit import SequentialConfig
from adwright.training.sequential.ranks import validation
from benchmarks.common.result import PICTURES
from benchmarks.sequential._runs import Model, Values, Variant, is_done, measured

_FIT = SequentialConfig(schedule="linear", validate_every=5, precision="bfloat16")
_LARGE = HSTUConfig(width=128, heads=2, qk_width=64, v_width=64, blocks=4, time=False)
_LARGE_SASREC = SASRecConfig(width=128, heads=2, blocks=4)


@dataclass(frozen=True)
class Candidate:
    """dropout: of input, layers and, in SASRec, attention's weights. epochs: of the schedule."""

    dropout: float
    epochs: int


@dataclass(frozen=True)
class Choice:
    """A model, how it is trained, and the candidates for the rest.

    cost: CPU-seconds an epoch. most_seeds: of final trainings, 0 for as many as are asked for.
    said: what the protocol says of it.
    """

    about: str
    model: HSTUConfig | SASRecConfig
    candidates: tuple[Candidate, ...]
    cost: float
    fit: SequentialConfig = _FIT
    most_seeds: int = 0
    said: str = ""

    def seeds(self, asked: Iterable[int]) -> list[int]:
        """Those of `asked` that are trained."""
        return [seed for seed in asked if not self.most_seeds or seed < self.most_seeds]

    def variant(self, candidate: Candidate, *, final: bool) -> Variant:
        """One training; final: on the validation events too."""
        fit = replace(self.fit, epochs=candidate.epochs, train_on_validation=final)
        model = replace(self.model, dropout=candidate.dropout)
        return Variant(self.about, model, replace(fit, patience=candidate.epochs))


#: More dropout takes longer to learn.
_SMALL = (Candidate(0.2, 60), Candidate(0.2, 100), Candidate(0.3, 100))
_BIG = (Candidate(0.2, 25), Candidate(0.3, 30), Candidate(0.4, 40))
#: Of the three the least dropout was the best for SASRec, so less was tried, and none.
_BIG_SASREC = (*_BIG, Candidate(0.1, 25), Candidate(0.0, 20))
#: Costs are of one core of 2.6 GHz, while the other was in use.
MODELS: Mapping[str, Choice] = {
    "hstu": Choice("HSTU, base", HSTUConfig(time=False), _SMALL, 15.0),
    "sasrec": Choice("SASRec, base", SASRecConfig(), _SMALL, 17.0),
    "hstu_large": Choice("HSTU, large", _LARGE, _BIG, 38.0),
    "sasrec_large": Choice("SASRec, large", _LARGE_SASREC, _BIG_SASREC, 48.0),
    # The published large shape: its schedule and dropout, nothing to choose.
    "hstu_published": Choice(
        "HSTU, published large shape",
        HSTUConfig(width=50, heads=2, qk_width=25, v_width=25, blocks=8, time=False),
        (Candidate(0.2, 100),),
        30.0,
        replace(_FIT, schedule="constant"),
        most_seeds=1,
        said="ML-1M's published large shape: 8 blocks of 2 heads of 25, width 50, dropout .2, 100 "
        "epochs at a constant rate, one seed.",
    ),
    # Events before the last 200 of a person too, in windows of their own.
    "hstu_large_windows": Choice(
        "HSTU, large, whole windows",
        _LARGE,
        _BIG[:2],
        32.0,
        replace(_FIT, all_windows=True),
        said="Whole windows of ML-1M: the events before the last 200 of a person are read too, in "
        "windows of their own.",
    ),
}


def validate_all(sequences: ItemSequences, only: str | None) -> None:
    """Train the candidates that are missing, of models with something to choose or a curve."""
    for name in MODELS:
        if only in (None, name):
            for candidate in MODELS[name].candidates:
                _validated(name, candidate, sequences, run=True)


def chosen(name: str, sequences: ItemSequences) -> Variant | None:
    """The final training of a model; None before all its candidates are validated."""
    choice = MODELS[name]
    if len(choice.candidates) == 1:
        return choice.variant(choice.candidates[0], final=True)
    found = [_validated(name, one, sequences, run=False) for one in choice.candidates]
    if any(one is None for one in found):
        return None
    goals = [float(one["curve"][-1, 2]) for one in found if one is not None]
    return choice.variant(choice.candidates[int(np.argmax(goals))], final=True)


def curve_rows(sequences: ItemSequences) -> list[dict[str, Any]]:
    """A row a validated candidate: [epoch, CPU-hours so far, NDCG@10 of the validation events]."""
    rows = []
    for name, choice in MODELS.items():
        for candidate in choice.candidates:
            found = _validated(name, candidate, sequences, run=False)
            if found is not None:
                lines = found["curve"].tolist()
                curve = [[int(e), round(s / 3600, 3), round(g, 4)] for e, s, g in lines]
                about = {"dropout": candidate.dropout, "epochs": candidate.epochs}
                rows.append({"data": "ml1m-valid", "model": choice.about, **about, "curve": curve})
    return rows


def said_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Of the models of `rows` what the protocol says of none but them."""
    there = {row["model"] for row in rows}
    return [choice.said for choice in MODELS.values() if choice.said and choice.about in there]


def draw_curves(rows: Iterable[Mapping[str, Any]]) -> None:
    """docs/_static/hstu_ml1m.svg: the curves of `curve_rows`, a dash for each dropout."""
    points = [
        {"model": row["model"], "dropout": f"{row['dropout']:g}", "hours": hours, "ndcg": ndcg}
        for row in rows
        if row["data"] == "ml1m-valid"
        for _, hours, ndcg in row["curve"]
    ]
    if not points:
        return
    x = alt.X("hours:Q", title="CPU-hours of training", scale=alt.Scale(zero=True))
    x = x.axis(tickCount=6)
    y = alt.Y("ndcg:Q", title="NDCG@10, validation", scale=alt.Scale(zero=False, nice=False))
    color, dash = alt.Color("model:N", title=None), alt.StrokeDash("dropout:N")
    chart = alt.Chart(pl.DataFrame(points))
    lines = chart.mark_line().encode(x, y, color, dash)
    both = lines + chart.mark_point(filled=True).encode(x, y, color)
    PICTURES.mkdir(parents=True, exist_ok=True)
    whole = both.properties(width=440, height=280)
    atomic_write_text(PICTURES / "hstu_ml1m.svg", to_svg(whole))


def plan(sequences: ItemSequences, seeds: Iterable[int]) -> list[tuple[str, str, float]]:
    """(model, what, estimated CPU-hours) of each training that is missing.

    Before a model's settings are chosen, its final trainings count as its longest candidate.
    """
    missing = []
    for name, choice in MODELS.items():
        for candidate in choice.candidates:
            if _validated(name, candidate, sequences, run=False) is None:
                what = f"validate dropout {candidate.dropout:g}, {candidate.epochs} epochs"
                missing.append((name, what, choice.cost * candidate.epochs / 3600))
        final = chosen(name, sequences)
        epochs = max(one.epochs for one in choice.candidates)
        for seed in choice.seeds(seeds):
            if final is None or not is_done(name, final, seed, sequences):
                hours = choice.cost * (epochs if final is None else final.fit.epochs) / 3600
                missing.append((name, f"final, seed {seed}", hours))
    return missing


def _validated(
    name: str, candidate: Candidate, sequences: ItemSequences, *, run: bool
) -> Mapping[str, Any] | None:
    """The curve of a candidate: curve [validations, 3], and what `measured` adds."""

    def ask(model: Model) -> tuple[float, dict[str, float]]:
        return validation(model, sequences, k=10, unseen=True)

    def measure(_: Model) -> Values:
        return {}

    variant = MODELS[name].variant(candidate, final=False)
    return measured(f"valid-{name}", variant, 0, sequences, measure, ask, curve=True, run=run)
