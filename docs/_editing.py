"""The tables of the editor of ads: editor of the results, and the rules of its drawn ads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from _results import ABSENT, figures_of, number, result, source

METHODS = {
    "genetic": "genetic, 30 x 5",
    "genetic, no penalties": "the same, without penalties and lower bound",
    "random": "random",
    "ascent": "gradient ascent",
}
FORM = ("mae", "mape", "ndcg10", "ndcg50", "spearman", "kendall")


def rules() -> Iterator[str]:
    """The made-up rules, printed."""
    found = [row for row in _rows("rules")]
    yield "| judge of | rule |"
    yield "|---|---|"
    for row in found:
        yield f"| {row['name'].replace('_', ' ')} | {row['rule']} |"
    if not found:
        yield f"| all | {ABSENT} |"


def gains() -> Iterator[str]:
    """What each search gained, by whom."""
    yield (
        "| search | gain by its judge | by the second judge | true gain | truly better | "
        "changed ads | CPU s an ad |"
    )
    yield "|---|---|---|---|---|---|---|"
    figures = figures_of("editor")
    words = {"genetic": "", "genetic, no penalties": "_no_penalties"}
    words |= {"random": "_random", "ascent": "_ascent"}
    parts = (("searches", "", ""), ("few", "few_", "few ads, "), ("faces", "face_", "faces, "))
    for part, start, said in parts:
        for row in _rows(part):
            word = words[row["method"]]
            cells = [
                _ends(figures, f"{start}{name}{word}", "+.1%")
                for name in ("gain_predicted", "gain_second_predictor", "gain_true")
            ]
            cells.append(_ends(figures, f"{start}real_share{word}", ".0%"))
            cells.append(f"{row['changed']} of {row['ads']}")
            cells.append(number(row["cpu_seconds"], ".2f"))
            yield f"| {said}{METHODS[row['method']]} | {' | '.join(cells)} |"
    yield ""
    yield _sentence(figures)
    yield ""
    yield str(result("editor").get("protocol", f"Edits are {ABSENT}."))
    yield from source("editor")


def several() -> Iterator[str]:
    """NSGA-II, speed, and what is signed and protected."""
    figures = figures_of("editor")
    yield "| what | value |"
    yield "|---|---|"
    for key, said, form in (
        ("hypervolume_ratio_single", "hypervolume, NSGA-II over weighted sums", ".3f"),
        ("pareto_points", "plans on the front of NSGA-II", ".1f"),
        ("gain_ratio_random_search", "gain in score, genetic over random at equal calls", ".3f"),
        ("gain_ratio_ascent", "gain in score, genetic over gradient ascent", ".3f"),
        ("ga_cpu_seconds_per_ad", "CPU-seconds of a genetic search, an ad", ".2f"),
        ("batched_speedup", "one by one over batched, CPU time", ".1f"),
        ("manifest_valid_share", "signed files that C2PA's own reader finds whole", ".0%"),
        ("tampered_pixel_found_share", "files with a changed pixel that are found out", ".0%"),
        ("protected_untouched", "random plans that leave all protected pixels", ".0%"),
    ):
        yield f"| {said} | {_ends(figures, key, form)} |"


def penalties() -> Iterator[str]:
    """What penalties spare faces that are moved."""
    figures = figures_of("editor")
    yield "| of the genetic search of moves of faces | with penalties | without |"
    yield "|---|---|---|"
    for said, key, form in (
        ("distance in W+ that it adds", "face_latent_distance", ".2f"),
        ("identity distance", "face_identity_distance", ".3f"),
        ("edits that drift of the skin would stop", "face_drift_stopped_share", ".0%"),
    ):
        cells = [_ends(figures, f"{key}{word}", form) for word in ("", "_no_penalties")]
        yield f"| {said} | {' | '.join(cells)} |"
    yield ""
    quality = number(figures.get("face_reader_quality"), ".2f")
    yield (
        "The truth of a moved face is what a reader of attributes sees in it; of their variance on "
        f"portraits that it did not learn from it explains {quality}."
    )


def guard() -> Iterator[str]:
    """Cases of the guard."""
    yield "| cases | number | to be refused | as documented |"
    yield "|---|---|---|---|"
    for row in _rows("guards"):
        yield f"| {row['kind']} | {row['cases']} | {row['to_refuse']} | {row['right']} |"
    figures = figures_of("editor")
    yield ""
    if "guard_cases" in figures:
        yield (
            f"Of {figures['guard_cases']} cases {figures['guard_cases_right']} are refused as "
            f"documented; consent bypassed: {figures['consent_bypass']}, locked directions used: "
            f"{figures['locked_direction_used']}, minors edited: {figures['minors_edited']}. Of "
            f"{figures['guard_allowed']} that may pass, {figures['guard_allowed_right']} do."
        )
    else:
        yield f"The guard is {ABSENT}."


def predictors() -> Iterator[str]:
    """In the form of the paper's table."""
    yield "| ads | predictor | MAE | MAPE | NDCG@10 | NDCG@50 | Spearman | Kendall |"
    yield "|---|---|---|---|---|---|---|---|"
    for part, said in (("predictors", "drawn"), ("upworthy", "Upworthy, no faces")):
        for row in _rows(part):
            cells = [number(row[key]) if key in row else "" for key in FORM]
            yield f"| {said} | {row['system']} | {' | '.join(cells)} |"
    yield ""
    if not any(row["system"] == "image and face latents" for row in _rows("predictors")):
        yield (
            f"With latents of faces it is {ABSENT}: `make bench-faces` trains the generator, and "
            "`make bench-editor` then adds the row."
        )


def _sentence(figures: Mapping[str, Any]) -> str:
    if "kept_share" not in figures:
        return ""
    return (
        f"The rule of the command keeps {figures['kept_share']:.0%} of the genetic search's edits; "
        f"of these {_ends(figures, 'real_share_kept', '.0%')} are truly better, by "
        f"{_ends(figures, 'gain_true_kept', '+.1%')} on average. True gain with penalties less "
        f"that without, on the same ads: "
        f"{_ends(figures, 'gain_true_minus_no_penalties', '+.1%')}; where judges learned from few "
        f"ads: {_ends(figures, 'few_gain_true_minus_no_penalties', '+.1%')}."
    )


def _rows(table: str) -> list[dict[str, Any]]:
    return [row for row in result("editor").get("rows", ()) if row["table"] == table]


def _ends(figures: Mapping[str, Any], key: str, form: str) -> str:
    ends = figures.get(f"{key}_ci")
    return number(figures.get(key), form) + (f" ({number(ends, form)})" if ends else "")


EDITING: Mapping[str, Callable[[], Iterator[str]]] = {
    "editing-rules": rules,
    "editing-gains": gains,
    "editing-several": several,
    "editing-guard": guard,
    "editing-penalties": penalties,
    "editing-predictors": predictors,
}
