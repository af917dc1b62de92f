"""HSTU and SASRec on MovieLens: 1M by position, and "latest small" with times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from adwright.data.sequences.datasets import read_movielens_1m, read_movielens_small
from adwright.data.sequences.item_sequences import ItemSequences
from adwright.metrics.ranking import hit_rate_per_user, ndcg_per_user
from adwright.models.sequential.hstu import HSTUConfig
from adwright.models.sequential.sasrec import SASRecConfig
from adwright.training.sequential.fit import SequentialConfig
from adwright.training.sequential.ranks import rank_next
from benchmarks.common.next_basket import by_seed, interval, means_by_seed, method_difference
from benchmarks.common.result import Lead
from benchmarks.sequential._runs import Model, Values, Variant, measured

ML1M = (
    "ML-1M (protocol C1): 6,040 people, 3,706 films, 1,000,209 events in the order of the file, "
    "no times. The last event of a person tests, the one before it validates; sequences of at "
    "most 200. Every film that the person had not yet is ranked, none is sampled away; ties by a "
    "hash. Settings were chosen on the validation events (of the large model a dropout of .2 and "
    ".4, NDCG@10 of 2,000 people after every fifth of 40 epochs: with .2 it was best, .172, after"
    " 25 epochs and then fell; .3 lies between and was not validated), and the models then "
    "trained on all but the test event, as the published ones and RecTools', for a fixed number "
    "of epochs. Base: 2 blocks of 1 head, width 50, dropout .2, 60 epochs. Large: 4 blocks of 2 "
    "heads, width 128, dropout .3, 30 epochs. All: exact softmax at temperature .05, batches of "
    "128, AdamW with a rate that falls from .001 to 0, bfloat16 products."
)
SMALL = (
    "ml-latest-small: 610 people, 9,724 films, 100,836 ratings with times, ties of a second by a "
    "hash; protocol and base sizes as ML-1M, batches of 32, 60 epochs. known: an event's side of "
    "the time bias has the time of the next event; last_event: its own. Results of the two are "
    "of different tasks."
)
_FIT = SequentialConfig(
    epochs=30,
    schedule="linear",
    validate_every=5,
    validation_people=2000,
    precision="bfloat16",
)
_BASE = replace(_FIT, epochs=60)
_SMALL = replace(_BASE, batch=32, validation_people=0)
_LARGE = HSTUConfig(width=128, heads=2, qk_width=64, v_width=64, blocks=4, time=False, dropout=0.3)
# Without dropout of attention's weights, which torch draws slower on a CPU than all the rest.
_SASREC = SASRecConfig(attention_dropout=0.0)
_LARGE_SASREC = replace(_SASREC, width=128, heads=2, blocks=4, dropout=0.3)
VARIANTS: dict[str, dict[str, Variant]] = {
    "ml1m": {
        "hstu": Variant(
            "HSTU, base", HSTUConfig(time=False), replace(_BASE, train_on_validation=True)
        ),
        "sasrec": Variant("SASRec, base", _SASREC, replace(_BASE, train_on_validation=True)),
        "hstu_large": Variant("HSTU, large", _LARGE, replace(_FIT, train_on_validation=True)),
        "sasrec_large": Variant(
            "SASRec, large", _LARGE_SASREC, replace(_FIT, train_on_validation=True)
        ),
    },
    "small": {
        "small_known": Variant("HSTU, known", HSTUConfig(), _SMALL),
        "small_last_event": Variant(
            "HSTU, last_event", HSTUConfig(request_time="last_event"), _SMALL
        ),
        "small_position": Variant("HSTU, no time", HSTUConfig(time=False), _SMALL),
        "small_sasrec": Variant("SASRec", _SASREC, _SMALL),
    },
}


def sequences_of(part: str, shared: Path) -> ItemSequences:
    """The data of a part."""
    if part == "ml1m":
        return read_movielens_1m(shared / "ml-1m")
    return read_movielens_small(shared / "ml-latest-small" / "ratings.csv")


def runs_of(
    part: str, shared: Path, seeds: Iterable[int], only: str | None, *, run: bool
) -> dict[str, list[Any]]:
    """Variant to the measures of its finished runs; with `run`, missing ones are made."""
    sequences = sequences_of(part, shared)

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
    for name, variant in VARIANTS[part].items():
        if only in (None, name):
            made = [measured(name, variant, s, sequences, measure, run=run) for s in seeds]
            runs[name] = [one for one in made if one is not None]
    return runs


def rows_of(part: str, runs: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """One row a variant that has a finished run."""
    rows = []
    for name, found in runs.items():
        if not found:
            continue
        mean = by_seed(found)
        people = np.arange(mean["ndcg10"].shape[1])
        row: dict[str, Any] = {"data": part, "model": VARIANTS[part][name].about}
        measures = {k: mean[k] for k in ("ndcg10", "hr10", "hr50", "hr200")}
        row |= {k: interval(one, people) for k, one in measures.items()} | means_by_seed(measures)
        plain = ("tied", "epochs", "best_epoch", "valid", "seconds_epoch")
        row |= {key: float(np.mean(mean[key])) for key in plain if key in mean}
        rows.append(row | {"seeds": len(found)})
    return rows


def figures_of(part: str, runs: dict[str, list[Any]]) -> dict[str, Any]:
    """The figures of the contract, as far as the runs are there."""
    models = {name: by_seed(found) for name, found in runs.items() if found}
    figures: dict[str, Any] = {}
    for name, mean in models.items():
        prefix = f"{part}_{name.removeprefix(part).strip('_')}"
        figures[f"{prefix}_ndcg10"] = float(mean["ndcg10"].mean())
        figures[f"{prefix}_hr10"] = float(mean["hr10"].mean())
        figures[f"{prefix}_cpu_seconds_epoch"] = float(mean["seconds_epoch"].mean())
    return figures


def leads_of(part: str, runs: dict[str, list[Any]]) -> list[Lead]:
    """HSTU beside SASRec, as far as the runs are there."""
    models = {name: by_seed(found)["ndcg10"] for name, found in runs.items() if found}
    leads = []
    pairs = [("hstu", "sasrec"), ("hstu_large", "sasrec_large")]
    pairs += [(f"small_{n}", "small_sasrec") for n in ("known", "last_event", "position")]
    for one, other in pairs:
        if one in models and other in models:
            a, b = models[one], models[other]
            found = method_difference(a, b, np.arange(a.shape[1]))
            key = f"{part}_{one.removeprefix(part).strip('_')}_minus_sasrec_ndcg10"
            about = (VARIANTS[part][one].about, VARIANTS[part][other].about, "NDCG@10", part)
            leads.append(Lead(key, *about, found))
    return leads
