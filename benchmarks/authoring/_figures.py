"""authoring.json out of the cells that are there.

The measure of a part is accuracy for closed lists, exact F1 for attributes, and nats a token of the
reference for texts, of which less is better. Intervals are over rows and seeds. Invalid answers
count as wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from adwright.lm.engine.weights import SMOLLM2_NOTE
from adwright.metrics.bootstrap import MethodInterval, two_level_difference, two_level_ratio
from benchmarks.authoring._baselines import baselines_of
from benchmarks.authoring._cells import SEEDS, Cell, kept
from benchmarks.authoring._jobs import job_figures
from benchmarks.authoring._rows import PARTS, TUNED, Part, data_hash, rows_of
from benchmarks.common.result import Figure, Lead, write_result
from benchmarks.common.text_measures import label_score

Floats = npt.NDArray[np.float64]
_DRAWS = 1000
#: Of texts: measure, and whether less is better.
_OF_TEXTS = {
    "rouge_l": False,
    "chrf": False,
    "bertscore": False,
    "distinct_2": False,
    "coverage": False,
    "grounded": False,
    "grounded_after": False,
    "number": True,
    "policy": False,
    "limits": False,
    "invalid": True,
}
_WRITTEN = ("ads", "descriptions")
PROTOCOL = (
    f"{SMOLLM2_NOTE}. One pass of LoRA (rank 16, all linear maps) over 200 to 1,800 rows a task; "
    "test rows are of clusters of products that no training row is of. one: a model for all seven "
    "tasks; each: a model a task; shots: four training rows before the question; untuned: of two "
    "forms of the question the one that is better on validation rows. Closed lists: all labels are "
    "scored, by the rule (sum, mean, or less the prior) that is best on validation rows. titles "
    "were kept out of tuning. Ads, answers and titles have references that were put together from "
    "the product's own facts, so they measure form and not style; descriptions are people's, with "
    "what the title lacks given as details. Greedy, repetition penalty 1.1. BERTScore by MiniLM's "
    "last layer. +- is half the width of the 95% interval over rows and seeds."
)


@dataclass(frozen=True)
class _System:
    """The cells of one system on one part, by seed. seeded: whether it has a seed at all."""

    part: Part
    name: str
    found: list[dict[str, Any]]
    seeded: bool

    def values(self, measure: str) -> Floats:
        """[S, N], or [N] of what has no seed."""
        every = np.array([one[measure] for one in self.found], np.float64)
        return every if self.seeded else every[0]

    def ratio(self) -> tuple[Floats, Floats]:
        """Numerators and denominators of the part's own measure."""
        match self.part.form:
            case "label":
                right = self.values("right")
                return right, np.ones_like(right)
            case "pairs":
                pairs = np.array([one["pairs"] for one in self.found], np.float64)
                top, bottom = 2 * pairs[..., 0], pairs[..., 1] + pairs[..., 2]
                return (top, bottom) if self.seeded else (top[0], bottom[0])
            case _:
                return self.values("loss"), self.values("tokens")


def summarise() -> None:
    """Write benchmarks/results/authoring.json from the cells that are there."""
    systems = {
        (part.name, name): one
        for part in PARTS
        for name in ("untuned", "shots", "one", "each", *baselines_of(part))
        if (one := _system(part, name)) is not None
    }
    rows = [_row(one) for one in systems.values()]
    figures: dict[str, Figure] = {}
    leads: list[Lead] = []
    for part in PARTS:
        leads += _leads(part, systems)
    figures |= _named(systems)
    jobs = job_figures()
    figures |= jobs.figures
    rows += jobs.rows
    leads += jobs.leads
    if not rows:
        print("nothing is measured yet")
        return
    write_result(
        "authoring",
        protocol=PROTOCOL + jobs.protocol,
        data=data_hash(),
        seeds=SEEDS,
        rows=rows,
        figures=figures,
        leads=leads,
    )


def _system(part: Part, name: str) -> _System | None:
    seeded = name in ("shots", "one", "each")
    found = [kept(Cell(part.name, name, seed)) for seed in (SEEDS if seeded else (0,))]
    there = [one for one in found if one is not None]
    return _System(part, name, there, seeded) if there else None


def _row(one: _System) -> dict[str, Any]:
    """A row of the table."""
    told: dict[str, Any] = {"part": one.part.name, "system": one.name, "seeds": len(one.found)}
    measure = {"label": "accuracy", "pairs": "f1", "text": "loss"}[one.part.form]
    if one.part.form != "text" or "loss" in one.found[0]:
        top, bottom = one.ratio()
        told |= _with_spread(measure, two_level_ratio(top, bottom, _rng(), _DRAWS))
    if one.part.form == "label":
        told["macro_f1"] = round(float(np.mean([_macro_f1(one.part, f) for f in one.found])), 4)
        told["rule"] = ", ".join(dict.fromkeys(f.get("rule", "") for f in one.found))
        told["invalid_free"] = _mean([f["free"]["invalid"] for f in one.found if "free" in f])
    for name in _OF_TEXTS:
        if name in one.found[0]:
            values = one.values(name)
            # A text of one word has no pair of words.
            there = np.isfinite(values).astype(np.float64)
            spread = two_level_ratio(np.nan_to_num(values), there, _rng(), _DRAWS)
            told |= _with_spread(name, spread)
    training = [f["training"] for f in one.found if f.get("training")]
    if training:
        told["training_tokens"] = int(np.mean([each["tokens"] for each in training]))
        told["training_cpu_seconds"] = round(_mean([[t["cpu_seconds"]] for t in training]) or 0)
    return {key: value for key, value in told.items() if value is not None}


def _leads(part: Part, systems: Mapping[tuple[str, str], _System]) -> list[Lead]:
    """Tuned against all else, by the part's measure; and texts by the share with a number that no
    fact has."""
    found = []
    measure = {"label": "accuracy", "pairs": "exact F1", "text": "nats a token"}[part.form]
    lower = part.form == "text"
    pairs = [("one", "untuned"), ("each", "untuned"), ("one", "shots"), ("one", "each")]
    if part.form != "text":
        pairs += [("one", name) for name in baselines_of(part)]
    data = f"{part.name}, held-out clusters"
    for a, b in pairs:
        first, second = systems.get((part.name, a)), systems.get((part.name, b))
        if first is None or second is None:
            continue
        lead = _difference(first.ratio(), second.ratio())
        found.append(Lead(f"{part.name}_{a}_minus_{b}", a, b, measure, data, lead, lower))
    first, second = systems.get((part.name, "one")), systems.get((part.name, "untuned"))
    if part.form == "text" and first is not None and second is not None:
        others = {"number": "share with an ungrounded number", "rouge_l": "ROUGE-L"}
        for name, said in others.items():
            mine, theirs = first.values(name), second.values(name)
            lead = _difference((mine, np.ones_like(mine)), (theirs, np.ones_like(theirs)))
            key = f"{part.name}_{name}_one_minus_untuned"
            found.append(Lead(key, "one", "untuned", said, data, lead, name == "number"))
    return found


def _difference(first: tuple[Floats, Floats], second: tuple[Floats, Floats]) -> MethodInterval:
    return two_level_difference(
        first[0], second[0], first[1], _rng(), _DRAWS, denominators_b=second[1]
    )


def _named(systems: Mapping[tuple[str, str], _System]) -> dict[str, Figure]:
    """The figures that every release names."""
    found: dict[str, Figure] = {}
    wanted = {
        "classification_accuracy": ("pricerunner", "one"),
        "classification_accuracy_alone": ("pricerunner", "each"),
        "classification_tfidf": ("pricerunner", "tfidf"),
        "intent_accuracy": ("intent", "one"),
        "intent_accuracy_alone": ("intent", "each"),
        "intent_overlap": ("intent", "overlap"),
    }
    for key, place in wanted.items():
        if place in systems:
            found[key] = float(systems[place].values("right").mean())
    closed = [one for (part, _), one in systems.items() if one.part.form == "label"]
    if closed:
        # A label is chosen among those of the list: anything else would be counted here.
        found["invalid_closed"] = sum(
            not 0 <= at < len(row.request.labels)
            for one in closed
            for run in one.found
            for at, row in zip(run["chosen"], rows_of(one.part).test, strict=False)
        )
    written = [systems[part, "one"] for part in _WRITTEN if (part, "one") in systems]
    if written:
        for key, name in (("before", "grounded"), ("after", "grounded_after")):
            found[f"grounded_share_{key}"] = float(
                np.mean([one.values(name).mean() for one in written])
            )
    for part in TUNED:
        for system in ("one", "untuned"):
            one = systems.get((part.name, system))
            if part.form != "text" or one is None:
                continue
            found[f"{part.name}_number_share_{system}"] = float(one.values("number").mean())
            bound = one.found[0].get("constrained")
            if bound is not None:
                share = float(np.mean(bound["number"]))
                found[f"{part.name}_number_share_{system}_constrained"] = share
    return found


def _macro_f1(part: Part, found: Mapping[str, Any]) -> float:
    """Of a list that all rows share; of reasons, which differ from row to row, the accuracy."""
    if part.name == "intent":
        return float(np.mean(found["right"]))
    chosen, gold = ([str(at) for at in found[key]] for key in ("chosen", "gold"))
    return label_score(chosen, gold).macro_f1


def _with_spread(name: str, found: MethodInterval) -> dict[str, float]:
    return {name: round(found.value, 4), f"{name}_spread": round(found.width / 2, 4)}


def _mean(values: Sequence[Sequence[float]]) -> float | None:
    flat = [each for one in values for each in one]
    return round(float(np.mean(flat)), 4) if flat else None


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)
