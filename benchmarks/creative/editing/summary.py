"""Figures and rows of the result of the benchmark of edits, of the cells that are finished."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from adwright.metrics.bootstrap import MethodInterval, interval_of, with_seeds
from benchmarks.common.result import RESULTS, Figure, Lead
from benchmarks.creative.editing.cells import Rows
from benchmarks.creative.editing.drawn import RULES
from benchmarks.creative.editing.predictors import LATENTS

BySeed = Mapping[int, Rows]
#: Parts that search, and what their figures begin with.
_PARTS = {"searches": "", "few": "few_", "faces": "face_"}
_DRAWS = 2000
#: Of the methods, in figures.
SAID = {
    "genetic": "",
    "genetic, no penalties": "_no_penalties",
    "random": "_random",
    "ascent": "_ascent",
}
_FORM = ("mae", "mape", "ndcg10", "ndcg50", "spearman", "kendall", "spearman_true")
Number = Callable[[dict[str, Any]], float]


def figures_of(found: Mapping[str, BySeed]) -> dict[str, Figure]:
    """All figures of the parts that are there."""
    made: dict[str, Figure] = {}
    for part, start in _PARTS.items():
        if part in found:
            made |= _searches(found[part], start)
    if "fronts" in found:
        made |= _fronts(found["fronts"])
    if "speed" in found:
        rows = found["speed"][0]
        ratios = [row["single"] / row["batched"] for row in rows]
        made["batched_speedup"] = float(np.median(ratios))
        made["batched_speedup_least"] = float(min(ratios))
    if "guards" in found:
        made |= _guards(found["guards"][0])
    if "files" in found:
        made |= _files(found["files"][0])
    if "protected" in found:
        rows = found["protected"][0]
        made["protected_untouched"] = _share(rows, "untouched")
        made["protected_plans"] = len(rows)
    if "faces" in found:
        made |= _faces(found["faces"])
    if "predictors" in found:
        made |= _predictors(_all_predictors(found))
    return made


def leads_of(found: Mapping[str, BySeed]) -> list[Lead]:
    """What is compared: penalties or none, and pictures with their latents or without."""
    leads = []
    for part, start in _PARTS.items():
        if part in found:
            gap = _paired(found[part], "genetic", "genetic, no penalties", itemgetter("truth"))
            key = f"{start}gain_true_minus_no_penalties"
            leads.append(Lead(key, "genetic", "genetic, no penalties", "true gain", part, gap))
    systems = _all_predictors(found)
    if LATENTS in _systems(systems):
        gains = [
            _row(some, LATENTS)["spearman"] - _row(some, "image")["spearman"]
            for some in systems.values()
        ]
        value = float(np.mean(gains))
        gap = with_seeds(interval_of(value, np.full(2, value)), np.array(gains))
        key = "predictor_spearman_latents_minus_image"
        leads.append(Lead(key, LATENTS, "image", "rank correlation", "portraits held out", gap))
    return leads


def rows_of(found: Mapping[str, BySeed]) -> Rows:
    """The tables: rules, searches, predictors and cases of the guard."""
    rows: Rows = [
        {"table": "rules", "name": name, "rule": rule.printed()} for name, rule in RULES.items()
    ]
    for part in _PARTS:
        for method in SAID:
            of = {seed: _of(some, method) for seed, some in found.get(part, {}).items()}
            if of:
                rows.append({"table": part, "method": method, **_of_method(of)})
    systems = _all_predictors(found)
    for name in _systems(systems):
        rows.append({"table": "predictors", "system": name, **_form(systems, name)})
    rows += _upworthy()
    for kind, some in _by_kind(found.get("guards", {}).get(0, [])).items():
        refused = [row for row in some if row["expected"]]
        rows.append(
            {
                "table": "guards",
                "kind": kind,
                "cases": len(some),
                "to_refuse": len(refused),
                "right": sum(row["right"] for row in some),
            }
        )
    return rows


def _searches(found: BySeed, start: str) -> dict[str, Figure]:
    made: dict[str, Figure] = {}
    for method, word in SAID.items():
        of = {seed: _of(some, method) for seed, some in found.items()}
        for key, name in (("predicted", "gain_predicted"), ("truth", "gain_true"),
                          ("second", "gain_second_predictor")):  # fmt: skip
            made |= _ends(f"{start}{name}{word}", _mean(of, itemgetter(key)))
        real = {seed: [row for row in some if row["changed"]] for seed, some in of.items()}
        if any(real.values()):  # of a search that changed no ad there is no share
            made |= _share_ends(
                f"{start}real_share{word}", _mean(real, lambda row: float(row["truth"] > 0))
            )
        made |= _ends(f"{start}gain_score{word}", _mean(of, lambda row: row["score_gain"]))
    seconds = _mean(
        {seed: _of(some, "genetic") for seed, some in found.items()}, lambda row: row["cpu_seconds"]
    )
    made[f"{start}ga_cpu_seconds_per_ad"] = seconds.value
    for other in ("random", "ascent"):
        name = "random_search" if other == "random" else other
        if all(sum(row["score_gain"] for row in _of(some, other)) > 0 for some in found.values()):
            made |= _ends(f"{start}gain_ratio_{name}", _ratio(found, "genetic", other))
    kept = {
        seed: [row for row in _of(some, "genetic") if row.get("kept")]
        for seed, some in found.items()
    }
    if all(kept.values()):
        made[f"{start}kept_share"] = float(
            np.mean([len(kept[seed]) / len(_of(some, "genetic")) for seed, some in found.items()])
        )
        made |= _share_ends(
            f"{start}real_share_kept", _mean(kept, lambda row: float(row["truth"] > 0))
        )
        made |= _ends(f"{start}gain_true_kept", _mean(kept, lambda row: row["truth"]))
    return made


def _fronts(found: BySeed) -> dict[str, Figure]:
    made: dict[str, Figure] = {
        "pareto_points": _mean(found, lambda row: row["points"]).value,
        "pareto_better_for_all": _mean(found, lambda row: row["better_for_all"]).value,
        "pareto_better_for_all_sums": _mean(found, lambda row: row["better_for_all_sums"]).value,
        "pareto_calls": _mean(found, lambda row: row["calls"]).value,
        "pareto_calls_sums": _mean(found, lambda row: row["calls_sums"]).value,
    }
    ratio = _mean(found, lambda row: row["hypervolume"] / max(row["hypervolume_sums"], 1e-12))
    return made | _ends("hypervolume_ratio_single", ratio)


def _guards(rows: Rows) -> dict[str, Figure]:
    refused = [row for row in rows if row["expected"]]

    def passed(*codes: str) -> int:
        return sum(not row["said"] for row in refused if row["expected"] in codes)

    return {
        "guard_cases": len(refused),
        "guard_cases_right": sum(row["right"] for row in refused),
        "guard_allowed_right": sum(row["right"] for row in rows if not row["expected"]),
        "guard_allowed": len(rows) - len(refused),
        "consent_bypass": passed("no_manifest", "no_consent", "expired", "other_face"),
        "locked_direction_used": passed(
            "locked_direction", "mixture", "renamed_direction", "not_allowed", "drift", "too_far"
        ),
        "minors_edited": passed("minor", "age_unknown"),
    }


def _files(rows: Rows) -> dict[str, Figure]:
    files = [row for row in rows if row["form"] != "log"]
    return {
        "manifest_valid_share": _share(files, "valid"),
        "tag_share": _share(files, "tagged"),
        "tampered_pixel_found_share": _share(files, "pixel_found"),
        "tampered_byte_found_share": _share(files, "byte_found"),
        "signed_files": len(files),
    }


def _faces(found: BySeed) -> dict[str, Figure]:
    """What penalties are for: how far faces were moved, with and without them. The reader is what
    the truth of a moved face is known by."""
    made: dict[str, Figure] = {}
    for method in ("genetic", "genetic, no penalties"):
        of = {seed: _of(some, method) for seed, some in found.items()}
        for key in ("latent_distance", "identity_distance"):
            made |= _ends(f"face_{key}{SAID[method]}", _mean(of, itemgetter(key)))
        every = [row for some in of.values() for row in some]
        made[f"face_drift_stopped_share{SAID[method]}"] = _share(every, "drift_stopped")
    quality = _mean(found, itemgetter("reader_quality"))
    return {**made, "face_reader_quality": quality.value}


def _all_predictors(found: Mapping[str, BySeed]) -> BySeed:
    """Those without faces, and where it was measured the one with them."""
    faced = found.get("latents", {})
    return {
        seed: [*rows, *faced.get(seed, [])] for seed, rows in found.get("predictors", {}).items()
    }


def _predictors(found: BySeed) -> dict[str, Figure]:
    made: dict[str, Figure] = {}
    for name in _systems(found):
        word = {"image": "image", "image and true attributes": "attributes",
                LATENTS: "latents"}.get(name)  # fmt: skip
        if word is not None:
            made[f"predictor_spearman_{word}"] = _form(found, name)["spearman"]
    return made


def _form(found: BySeed, name: str) -> dict[str, Any]:
    rows = [_row(some, name) for some in found.values()]
    by_seed = {key: [float(row[key]) for row in rows] for key in _FORM if key in rows[0]}
    return {key: float(np.mean(each)) for key, each in by_seed.items()} | {"by_seed": by_seed}


def _upworthy() -> Rows:
    """Of the benchmark of click rates: predictors of ads without faces, in the same form."""
    path = RESULTS / "clickrate.json"
    if not path.exists():
        return []
    return [
        {"table": "upworthy", "system": row["title"], **{k: row[k] for k in _FORM if k in row}}
        for row in json.loads(path.read_text("utf-8"))["rows"]
        if "mae" in row
    ]


def _of_method(of: BySeed) -> dict[str, Any]:
    rows = [row for some in of.values() for row in some]
    changed = [row for row in rows if row["changed"]]
    keys = ("predicted", "second", "truth", "score_gain", "cpu_seconds", "calls")
    made: dict[str, Any] = {"ads": len(rows), "changed": len(changed)}
    made |= {key: float(np.mean([row[key] for row in rows])) for key in keys}
    made["real_share"] = float(np.mean([row["truth"] > 0 for row in changed])) if changed else 0.0
    if "kept" in rows[0]:
        made["kept_share"] = _share(rows, "kept")
    made["by_seed"] = {
        key: [float(np.mean([row[key] for row in some])) for some in of.values()] for key in keys
    }
    return made


def _of(rows: Rows, method: str) -> Rows:
    return [row for row in rows if row["method"] == method]


def _row(rows: Rows, system: str) -> dict[str, Any]:
    return next(row for row in rows if row["system"] == system)


def _systems(found: BySeed) -> list[str]:
    """Those that every seed has."""
    each = [[row["system"] for row in some] for some in found.values()]
    return [name for name in each[0] if all(name in names for names in each)] if each else []


def _by_kind(rows: Rows) -> dict[str, Rows]:
    made: dict[str, Rows] = {}
    for row in rows:
        made.setdefault(row["kind"], []).append(row)
    return made


def _share(rows: Sequence[Mapping[str, Any]], key: str) -> float:
    return float(np.mean([bool(row[key]) for row in rows]))


def _ends(name: str, found: MethodInterval) -> dict[str, Figure]:
    return {name: found.value, f"{name}_ci": [found.low, found.high]}


def _share_ends(name: str, found: MethodInterval) -> dict[str, Figure]:
    """A share lies between 0 and 1, whatever its interval says."""
    ends = [float(np.clip(end, 0, 1)) for end in (found.low, found.high)]
    return {name: found.value, f"{name}_ci": ends}


def _mean(of: BySeed, number: Number) -> MethodInterval:
    """Over ads and seeds: ads are drawn within each seed, whose means then speak for the seeds."""
    values = [np.array([number(row) for row in some], float) for some in of.values()]
    return _interval([one for one in values if len(one)])


def _paired(found: BySeed, one: str, other: str, number: Number) -> MethodInterval:
    """Of the difference on the same ads."""
    values = []
    for some in found.values():
        first, second = ({row["ad"]: number(row) for row in _of(some, m)} for m in (one, other))
        values.append(np.array([first[ad] - second[ad] for ad in first], float))
    return _interval(values)


def _interval(values: Sequence[np.ndarray]) -> MethodInterval:
    rng = np.random.default_rng(0)
    drawn = np.mean(
        [one[rng.integers(len(one), size=(_DRAWS, len(one)))].mean(1) for one in values], 0
    )
    seeds = np.array([one.mean() for one in values])
    return with_seeds(interval_of(float(seeds.mean()), drawn), seeds)


def _ratio(found: BySeed, one: str, other: str) -> MethodInterval:
    """Of the mean gain in score by one method and by another, on the same ads."""
    rng = np.random.default_rng(0)
    drawn, seeds = [], []
    for some in found.values():
        pairs = [
            np.array([row["score_gain"] for row in _of(some, method)]) for method in (one, other)
        ]
        at = rng.integers(len(pairs[0]), size=(_DRAWS, len(pairs[0])))
        drawn.append(pairs[0][at].mean(1) / np.maximum(pairs[1][at].mean(1), 1e-9))
        seeds.append(pairs[0].mean() / max(pairs[1].mean(), 1e-9))
    value = float(np.mean(seeds))
    return with_seeds(interval_of(value, np.mean(drawn, 0)), np.array(seeds))
