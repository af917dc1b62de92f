"""DIN on the response task and against four peer libraries (hours, in pieces, resumable).

    python -m benchmarks.ranking.din                   everything
    python -m benchmarks.ranking.din --part response   quality: base, DIN and its choices, 5 seeds
    python -m benchmarks.ranking.din --part response --variant third_din --seed 3    one training
    python -m benchmarks.ranking.din --part peers      FuxiCTR, DeepCTR-Torch, RecBole, torch-rechub
    python -m benchmarks.ranking.din --part peers --seed 2    one seed of ours and of theirs

What finished runs found is kept in benchmarks/results/cells, and they are not run again; the result
file is written from whatever is finished, so a stopped benchmark publishes what it has.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from adwright.data.tasks.split import Split
from adwright.metrics.bootstrap import two_level_difference, two_level_ratio
from adwright.metrics.classification import GroupAuc, group_auc_parts
from adwright.models.calibration import fit_logistic
from benchmarks.common.result import Lead, write_result
from benchmarks.ranking import _compare as compare
from benchmarks.ranking import _runs as runs

Array = np.ndarray[Any, Any]
PROTOCOL = (
    "Response task of Complete Journey, all households. Trained on weeks 1-44 with all responses "
    "and 5% of the negatives (redrawn each epoch), one epoch, chosen on weeks 45-48, measured on "
    "every impression of weeks 49-53 (no sampling; ties count half). Histories of natural length. "
    "GAUC: impression-weighted over households with both classes. Variants named third_ are on a "
    "third of the households, for time. Intervals: 95%, over seeds and households "
    "(`adwright.metrics.bootstrap`); differences on the same households. Peers: one thread, the "
    "same rows, layer sizes, batch and epochs, and the same features where a library takes them "
    "(RecBole's DIN uses no user, context or numeric ones); Adam at .001 for the peers, Adam at "
    ".003 and row-wise Adagrad for ours; the machine was shared with other work meanwhile; rows a "
    "CPU-second of training and of scoring; ratio against the fastest peer whose GAUC is not more "
    "than 0.001 below the best peer's. Quality: means over seeds; speeds and memory are medians. "
    "At natural length the response task measures speed alone, the peers on few rows."
)


def main() -> None:
    """Run what is missing, write benchmarks/results/din.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=["all", "response", "peers"], default="all")
    parser.add_argument("--variant", dest="variants", choices=list(runs.VARIANTS), action="append")
    parser.add_argument("--seed", dest="seeds", type=int, choices=runs.SEEDS, action="append")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only-summarise", action="store_true")
    asked = parser.parse_args()
    if not asked.only_summarise:
        if asked.part in ("all", "response"):
            runs.run_all(asked.workers, asked.variants, asked.seeds)
        if asked.part in ("all", "peers"):
            compare.run_all(asked.seeds)
    task = runs.response_task()
    table, figures, leads = summarise_response()
    peer_table, peer_figures, peer_leads = compare.summarise()
    write_result(
        "din",
        protocol=PROTOCOL,
        data=task.data_hash,
        seeds=sorted({row["seed"] for row in table}),
        rows=[*table, *peer_table],
        figures={**figures, **peer_figures},
        leads=[*leads, *peer_leads],
    )


def summarise_response() -> tuple[list[dict[str, Any]], dict[str, Any], list[Lead]]:
    """Rows, figures and leads of the finished runs: all households, then the third."""
    table: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    leads: list[Lead] = []
    for households, reference in ((1.0, "din"), (runs.THIRD, "third_din")):
        test = _columns(households, "test")
        rows, parts, some = _measured(households, test)
        table += rows
        figures |= some
        found, more = _compared(parts, reference)
        figures |= found
        leads += more
    return table, figures, leads


def _measured(
    households: float, test: dict[str, Array]
) -> tuple[list[dict[str, Any]], dict[str, list[GroupAuc]], dict[str, Any]]:
    """A row a training; of each model the parts of its group AUC, of a rule those of one."""
    parts: dict[str, list[GroupAuc]] = {}
    if households == 1:
        rules = {name: test[name] for name in ("popularity", "frequency")}
        for name, score in {**rules, "logistic": _logistic(test)}.items():
            parts[name] = [group_auc_parts(test["label"], score, test["user"])]
    table, ece = [], []
    for name, variant in runs.VARIANTS.items():
        if variant.households != households:
            continue
        for kept in filter(None, (runs.load(name, seed) for seed in runs.SEEDS)):
            if kept.parts is not None:
                parts.setdefault(name, []).append(kept.parts)
            table.append({**kept.record, "about": variant.about})
            ece += [kept.record["ece_calibrated"]] if name == "din" else []
    return table, parts, {"ece_calibrated": max(ece)} if ece else {}


def _compared(
    parts: dict[str, list[GroupAuc]], reference: str
) -> tuple[dict[str, Any], list[Lead]]:
    """Group AUC of each model, and by how much the reference is ahead of it."""
    figures: dict[str, Any] = {}
    leads: list[Lead] = []
    for name, found in parts.items():
        rng, shown = np.random.default_rng(0), found[0].impressions
        interval = two_level_ratio(_hits(name, found), shown, rng)
        figures[f"gauc_{name}"] = interval.value
        figures[f"gauc_{name}_ci"] = [interval.low, interval.high]
        if name != reference and reference in parts:
            mine = _hits(reference, parts[reference])
            gap = two_level_difference(mine, _hits(name, found), shown, np.random.default_rng(0))
            key = f"gauc_{reference}_minus_{name}"
            data = "response task" if reference == "din" else "response task, a third"
            leads.append(Lead(key, _about(reference), _about(name), "group AUC", data, gap))
    return figures, leads


def _about(name: str) -> str:
    return runs.VARIANTS[name].about if name in runs.VARIANTS else name


def _hits(name: str, found: list[GroupAuc]) -> Array:
    """Impressions times AUC by household [U], of what is trained by seed too [S, U]."""
    each = np.stack([one.impressions * one.auc for one in found])
    return each if name in runs.VARIANTS else each[0]


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


if __name__ == "__main__":
    main()
