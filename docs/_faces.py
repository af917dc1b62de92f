"""The tables of the generator of drawn portraits: faces of the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from _results import ABSENT, figures_of, number, result, source

_STATIC = Path(__file__).resolve().parent / "_static"
_PICTURES = {
    "faces_stages.png": "Samples at six stages of the training, the first on top",
    "faces_inverted.png": "Held-out portraits, what came back, and after refinement",
}


def measures() -> Iterator[str]:
    """What the generator, its encoder and its directions are worth."""
    figures = figures_of("faces")
    yield "| what | value | beside it |"
    yield "|---|---|---|"
    for said, key, form, beside, other in (
        ("KID on EfficientNet-Lite0 features", "kid_lite0", ".4f", "real portraits: {}",
         "kid_lite0_real"),
        ("L2 through the encoder, of -1 to 1", "inversion_l2", ".4f", "the mean portrait: {}",
         "inversion_l2_mean_picture"),
        ("the same after 30 steps of refinement", "inversion_l2_refined", ".4f",
         "these before: {}", "inversion_l2_before_refining"),
        ("identity distance through the encoder", "identity_distance", ".3f",
         "of two portraits: {}", "identity_distance_others"),
        ("SeFa's first ten that move one attribute", "attribute_hit_rate", ".0%",
         "random: {}", "attribute_hit_rate_random"),
        ("the same less that of random directions", "attribute_hit_rate_minus_random", "+.0%",
         "fitted to labels: {}", "attribute_hit_rate_fitted"),
        ("what else they move, a share of it", "attribute_leak", ".2f", "random: {}",
         "attribute_leak_random"),
        ("files, MB", "checkpoint_mb", ".1f", "pictures a CPU-second: {}",
         "images_per_cpu_second"),
    ):  # fmt: skip
        form_of = {"images_per_cpu_second": ".0f", "attribute_hit_rate_fitted": ".0%"}
        told = beside.format(_ends(figures, other, form_of.get(other, form)))
        yield f"| {said} | {_ends(figures, key, form)} | {told} |"
    yield ""
    found = result("faces")
    yield str(found.get("protocol", f"Drawn faces are {ABSENT}."))
    for name, words in _PICTURES.items():
        if found and (_STATIC / name).is_file():
            yield ""
            yield f"![{words}](_static/{name})"
    yield from source("faces")


def training() -> Iterator[str]:
    """KID along the training."""
    rows = [row for row in _rows("training") if "kid_lite0" in row]
    yield "| thousand pictures | KID, lite0 |"
    yield "|---:|---:|"
    for at in np.unique(np.linspace(0, len(rows) - 1, min(8, len(rows))).round().astype(int)):
        yield f"| {rows[at]['kimg']:,.0f} | {rows[at]['kid_lite0']:.4f} |"
    if not rows:
        yield f"| all | {ABSENT} |"


def directions() -> Iterator[str]:
    """SeFa's directions one by one, by the first seed's reader."""
    rows = [row for row in _rows("directions") if row["kind"] == "sefa" and row["seed"] == 0]
    yield "| direction of SeFa | moves most | by, in sd | one alone | what else, a share |"
    yield "|---:|---|---:|---|---:|"
    for row in rows:
        hit = "yes" if row["hit"] else "no"
        name = row["named"].replace("_", " ")
        cells = [row["direction"], name, f"{row['change']:+.2f}", hit, f"{row['leak']:.2f}"]
        yield f"| {' | '.join(map(str, cells))} |"
    if not rows:
        yield f"| all | {ABSENT} | | | |"


def _rows(table: str) -> list[dict[str, Any]]:
    return [row for row in result("faces").get("rows", ()) if row["table"] == table]


def _ends(figures: Mapping[str, Any], key: str, form: str) -> str:
    ends = figures.get(f"{key}_ci")
    return number(figures.get(key), form) + (f" ({number(ends, form)})" if ends else "")


FACES: Mapping[str, Callable[[], Iterator[str]]] = {
    "faces-measures": measures,
    "faces-training": training,
    "faces-directions": directions,
}
