"""HSTU and SASRec on MovieLens: 1M by position, and "latest small" with times."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from adwright.data.sequences.item_sequences import ItemSequences
from adwright.metrics.ranking import hit_rate_per_user, ndcg_per_user
from adwright.models.sequential.hstu import HSTUConfig, SASRecConfig
from adwright.training.sequential.fit import SequentialConfig
from adwright.training.sequential.ranks import rank_next
from benchmarks.common.next_basket import by_seed, interval, means_by_seed, method_difference
from benchmarks.common.result import Lead
from benchmarks.sequential import _ml1m as ml1m
from benchmarks.sequential._runs import Model, Values, Variant, measured
from benchmarks.sequential.sequence_files import read_movielens_1m, read_movielens_small

ML1M = (
    "ML-1M (protocol C1), by position only: 6,040 people, 3,706 films, 1,000,209 events in the "
    "order of the file, no times. The last event of a person tests, the one before it validates; "
    "sequences of at most 200. Every film that the person had not yet is ranked, none is sampled "
    "away; ties by a hash. Neighbours in print by position only: NDCG@10 .1718, HR@10 .3023 "
    "(RecTools, HSTU of base size, 100 epochs); .1745 is the bar set for the large one here; "
    ".1879 and .1893 know the time of the event that is asked for, which is another task. Dropout "
    "and epochs: of each model all candidates were trained without the validation events and "
    "asked for NDCG@10 of all 6,040 of them; the best at its end was trained anew on all but the "
    "test event, with the same schedule and each seed. Base: 2 blocks of 1 head, width 50; "
    "dropout .2 for 60 or 100 epochs or .3 for 100; where its row has one seed, .2 for 60 and "
    "nothing was chosen. Large: 4 blocks of 2 heads, width 128; .2 for 25, .3 for 30 or .4 for 40 "
    "epochs, and for SASRec, whose best of these had the least, .1 for 25 and none for 20 too. "
    "SASRec's dropout is of attention's weights too. All: exact softmax at temperature .05, "
    "batches of 128, AdamW at .001, which falls to 0, bfloat16 products."
)
SMALL = (
    "ml-latest-small: 610 people, 9,724 films, 100,836 ratings with times, ties of a second by a "
    "hash; protocol and base sizes as ML-1M, batches of 32, 60 epochs. known: an event's side of "
    "the time bias has the time of the next event; last_event: its own. Results of the two are "
    "of different tasks."
)
_SMALL = SequentialConfig(
    epochs=60, batch=32, schedule="linear", validate_every=5, precision="bfloat16"
)
#: Of the part "small"; ML-1M's are `_ml1m.MODELS`.
VARIANTS: dict[str, Variant] = {
    "small_known": Variant("HSTU, known", HSTUConfig(), _SMALL),
    "small_last_event": Variant("HSTU, last_event", HSTUConfig(request_time="last_event"), _SMALL),
    "small_position": Variant("HSTU, no time", HSTUConfig(time=False), _SMALL),
    "small_sasrec": Variant("SASRec", SASRecConfig(), _SMALL),
}


def sequences_of(part: str, shared: Path) -> ItemSequences:
    """The data of a part."""
    if part == "ml1m":
        return read_movielens_1m(shared / "ml-1m")
    return read_movielens_small(shared / "ml-latest-small" / "ratings.csv")


def runs_of(
    part: str, shared: Path, seeds: Iterable[int], only: str | None, *, run: bool
) -> dict[str, list[Any]]:
    """Variant to the measures of its finished runs; with `run`, missing ones are made.

    Those of ML-1M are made once the model's settings are chosen, which `run` does first.
    """
    sequences = sequences_of(part, shared)
    if part == "ml1m" and run:
        ml1m.validate_all(sequences, only)

    def measure(model: Model) -> Values:
        found = rank_next(model, sequences, "test").ranks
        return {
            "ndcg10": ndcg_per_user(found, 10),
            "hr10": hit_rate_per_user(found, 10),
            "hr50": hit_rate_per_user(found, 50),
            "hr200": hit_rate_per_user(found, 200),
            "tied": np.array(float(found.tied.mean())),
        }

    runs: dict[str, list[Any]] = {}
    for name in ml1m.MODELS if part == "ml1m" else VARIANTS:
        if only not in (None, name):
            continue
        variant, mine = VARIANTS.get(name), list(seeds)
        if part == "ml1m":
            variant, mine = ml1m.chosen(name, sequences), ml1m.MODELS[name].seeds(mine)
        if variant is not None:
            made = [measured(name, variant, s, sequences, measure, run=run) for s in mine]
            runs[name] = [one for one in made if one is not None]
    return runs


def _about(part: str, name: str) -> str:
    return ml1m.MODELS[name].about if part == "ml1m" else VARIANTS[name].about


def rows_of(part: str, runs: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """One row a variant that has a finished run."""
    rows = []
    for name, found in runs.items():
        if not found:
            continue
        mean = by_seed(found)
        people = np.arange(mean["ndcg10"].shape[1])
        row: dict[str, Any] = {"data": part, "model": _about(part, name)}
        measures = {k: mean[k] for k in ("ndcg10", "hr10", "hr50", "hr200")}
        row |= {k: interval(one, people) for k, one in measures.items()} | means_by_seed(measures)
        plain = ("tied", "epochs", "best_epoch", "valid")
        row |= {key: float(np.mean(mean[key])) for key in plain if key in mean}
        pace = float(mean["seconds_epoch"].min())  # of the seed that was disturbed least
        rows.append(row | {"seconds_epoch": pace, "seeds": len(found)})
    return rows


def figures_of(part: str, runs: dict[str, list[Any]]) -> dict[str, Any]:
    """The figures of the contract, as far as the runs are there."""
    models = {name: by_seed(found) for name, found in runs.items() if found}
    figures: dict[str, Any] = {}
    for name, mean in models.items():
        prefix = f"{part}_{name.removeprefix(part).strip('_')}"
        figures[f"{prefix}_ndcg10"] = float(mean["ndcg10"].mean())
        figures[f"{prefix}_hr10"] = float(mean["hr10"].mean())
    return figures


def leads_of(part: str, runs: dict[str, list[Any]]) -> list[Lead]:
    """HSTU beside SASRec, as far as the runs are there."""
    models = {name: by_seed(found)["ndcg10"] for name, found in runs.items() if found}
    leads = []
    pairs = [("hstu", "sasrec"), ("hstu_large", "sasrec_large")]
    pairs += [(f"hstu_{name}", "sasrec_large") for name in ("published", "large_windows")]
    pairs += [(f"small_{n}", "small_sasrec") for n in ("known", "last_event", "position")]
    for one, other in pairs:
        if one in models and other in models:
            a, b = models[one], models[other]
            found = method_difference(a, b, np.arange(a.shape[1]))
            key = f"{part}_{one.removeprefix(part).strip('_')}_minus_sasrec_ndcg10"
            about = (_about(part, one), _about(part, other), "NDCG@10", part)
            leads.append(Lead(key, *about, found))
    return leads
