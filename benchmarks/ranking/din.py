"""DIN on the response task and against four peer libraries (about 2 hours, resumable).

    python -m benchmarks.ranking.din                   everything
    python -m benchmarks.ranking.din --part response   quality: base, DIN and its choices, 3 seeds
    python -m benchmarks.ranking.din --part peers      FuxiCTR, DeepCTR-Torch, RecBole, torch-rechub

Finished runs lie in the cache folder under bench/ and are not run again; the result file is
written from whatever is finished, so a stopped benchmark publishes what it has.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from adwright.data.tasks.task import Split
from adwright.metrics.bootstrap import Interval, bootstrap_difference, bootstrap_ratio
from adwright.metrics.calibration import expected_calibration_error
from adwright.metrics.classification import GroupAuc, auc, group_auc_parts, log_loss
from adwright.models.baselines import fit_logistic
from adwright.models.calibration import fit_calibrator, undo_negative_sampling
from benchmarks.common.result import write_result
from benchmarks.ranking import _compare as compare
from benchmarks.ranking import _runs as runs

Array = np.ndarray[Any, Any]
PROTOCOL = (
    "Response task of Complete Journey, all households. Trained on weeks 1-44 with all responses "
    "and 5% of the negatives (redrawn each epoch), one epoch, chosen on weeks 45-48, measured on "
    "every impression of weeks 49-53 (no sampling; ties count half). Histories of natural length. "
    "GAUC: impression-weighted over households with both classes. Variants named third_ are on a "
    "third of the households, for time. Intervals: 95%, paired "
    "bootstrap over households of the mean of 3 seeds. Peers: one thread, the same rows, layer "
    "sizes, batch and epochs, and the same features where a library takes them (RecBole's DIN "
    "uses no user, context or numeric ones); Adam at .001 for the peers, Adam at .003 and "
    "row-wise Adagrad for ours; the machine was shared with other work meanwhile; "
    "rows a CPU-second of training and of scoring; ratio against the fastest peer whose GAUC is "
    "not more than 0.001 below the best peer's. At natural length the response task measures "
    "speed alone, the peers on few rows."
)


def main() -> None:
    """Run what is missing, write benchmarks/results/din.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=["all", "response", "peers"], default="all")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only-summarise", action="store_true")
    asked = parser.parse_args()
    if not asked.only_summarise:
        if asked.part in ("all", "response"):
            runs.run_all(asked.workers)
        if asked.part in ("all", "peers"):
            compare.run_all()
    task = runs.response_task()
    table, figures = summarise_response()
    peer_table, peer_figures = compare.summarise()
    write_result(
        "din",
        protocol=PROTOCOL,
        data=task.data_hash,
        seeds=runs.SEEDS,
        rows=[*table, *peer_table],
        figures={**figures, **peer_figures},
    )


def summarise_response() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows and figures of the finished runs: all households, then the third."""
    table: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    for households, reference in ((1.0, "din"), (runs.THIRD, "third_din")):
        rows, found = _summarise_share(households, reference)
        table += rows
        figures |= found
    return table, figures


def _summarise_share(
    households: float, reference: str
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    rng = np.random.default_rng(0)
    test = _columns(households, "test")
    parts: dict[str, list[GroupAuc]] = {}
    if households == 1:
        rules = {name: test[name] for name in ("popularity", "frequency")}
        for name, score in {**rules, "logistic": _logistic(test)}.items():
            parts[name] = [group_auc_parts(test["label"], score, test["user"])]
    table, ece = [], []
    for name, variant in runs.VARIANTS.items():
        if variant.households != households:
            continue
        for seed in filter(lambda seed: runs.is_done(name, seed), runs.SEEDS):
            record, scores = runs.load(name, seed)
            p = undo_negative_sampling(scores["test"], runs.RATE)
            found = group_auc_parts(test["label"], p, test["user"])
            parts.setdefault(name, []).append(found)
            row = {**record, "about": variant.about, "gauc": found.mean}
            row |= {"auc": auc(test["label"], p), "log_loss": log_loss(test["label"], p)}
            if "valid" in scores:
                row |= _calibrated(scores, test["label"])
                ece += [row["ece_calibrated"]] if name == "din" else []
            table.append(row)
    means = {name: _mean_of_seeds(found) for name, found in parts.items()}
    figures: dict[str, Any] = {"ece_calibrated": max(ece)} if ece else {}
    for name, (numerators, impressions) in means.items():
        interval = bootstrap_ratio(numerators, impressions, rng)
        figures[f"gauc_{name}"] = interval.value
        figures[f"gauc_{name}_ci"] = [interval.low, interval.high]
        if name != reference and reference in means:
            gap = _paired(means[reference], (numerators, impressions), rng)
            figures[f"gauc_{reference}_minus_{name}"] = gap.value
            figures[f"gauc_{reference}_minus_{name}_ci"] = [gap.low, gap.high]
    return table, figures


def _columns(households: float, split: Split) -> dict[str, Array]:
    rows = runs.response_task(households).rows(split)
    frame = rows.select("user_id", "label", "popularity", "frequency").collect()
    return {
        "user": frame["user_id"].rle_id().to_numpy(),
        "label": frame["label"].to_numpy(),
        "popularity": frame["popularity"].to_numpy().astype(np.float64),
        "frequency": frame["frequency"].to_numpy().astype(np.float64),
    }


def _logistic(test: dict[str, Array]) -> Array:
    """The logistic baseline, fitted on every fifth training row."""
    rows = runs.response_task().rows("train").gather_every(5)
    train = rows.select("label", "popularity", "frequency").collect()
    model = fit_logistic(
        train["popularity"].to_numpy().astype(np.float64),
        train["frequency"].to_numpy().astype(np.float64),
        train["label"].to_numpy(),
    )
    return model(test["popularity"], test["frequency"])


def _calibrated(scores: dict[str, Array], label: Array) -> dict[str, float]:
    """Isotonic calibration on the validation weeks, measured on the test weeks."""
    valid = runs.response_task().rows("valid").select("label").collect()["label"].to_numpy()
    p = undo_negative_sampling(scores["valid"], runs.RATE)
    calibrator = fit_calibrator("isotonic", valid, p)
    calibrated = calibrator(undo_negative_sampling(scores["test"], runs.RATE))
    return {
        "ece_calibrated": expected_calibration_error(label, calibrated),
        "log_loss_calibrated": log_loss(label, calibrated),
    }


def _mean_of_seeds(found: list[GroupAuc]) -> tuple[Array, Array]:
    """(impressions times mean AUC, impressions) of each household."""
    return found[0].impressions * np.mean([f.auc for f in found], axis=0), found[0].impressions


def _paired(a: tuple[Array, Array], b: tuple[Array, Array], rng: np.random.Generator) -> Interval:
    return bootstrap_difference(a[0], b[0], a[1], rng)


if __name__ == "__main__":
    main()
