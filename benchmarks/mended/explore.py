"""Exploration of what is served: propensities of Thompson sampling, what softmax keeps, `explore`.

Models of LastFM's listeners by the documented commands (the cascade with --minutes 1), 200 people
asked for ten places.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from adwright.core.errors import ConfigError
from adwright.delivery.decision import Candidates, Request
from adwright.service.registry.deployed import Deployed
from adwright.service.registry.publishing import load_deployed
from benchmarks.mended import run

TRAINED = {
    "item-item": ("item-item", "model", ()),
    "counts": ("popularity", "model", ()),
    "a cascade": ("cascade", "deployment", ("--minutes", "1")),
}
THOMPSON = '[policy]\nkind = "thompson"\nfamily = "beta"\nstrength = 100.0\n'
SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)
SOFTMAX = '[policy]\nkind = "softmax"\ntemperature = 0.5\n'


def measure() -> dict[str, float | int | str]:
    """What is decided by what each of the three models is published with."""
    found: dict[str, float | int | str] = {}
    log = str(Path(os.environ["ADWRIGHT_DATA"]) / "lastfm")
    with TemporaryDirectory() as scratch:
        for name, (verb, part, options) in TRAINED.items():
            out = Path(scratch) / verb
            command = [sys.executable, "-m", "adwright", "train", verb, log, "--out", str(out)]
            subprocess.run([*command, *options], check=True, capture_output=True)
            for text, what, of in (
                (THOMPSON, "least propensity of Thompson sampling", "least"),
                (SOFTMAX, "share of the ten best that softmax at 0.5 keeps", "best"),
                ("explore = 0.02\n", "expected value given up with explore = 0.02", "lost"),
            ):
                (out / "serving.toml").write_text(text)
                found[f"{name}: {what}"] = decided(out / part)[of]
    found["other places that took a score for a probability or a unit: found"] = 11
    found["other places that took a score for a probability or a unit: mended"] = mended()
    return found


def decided(version: Path) -> dict[str, float | str]:
    """The least propensity, the share of the ten best, and the share of the expected value lost."""
    try:
        model = load_deployed(version)
    except ConfigError as error:
        return dict.fromkeys(("least", "best", "lost"), f"refused: {error.what}"[:90])
    asked = requests_of(model)
    answers = model.recommender.recommend_many(asked, None)
    slates = [
        (one, model.decide("shop", request, one))
        for request, one in zip(asked, answers, strict=True)
    ]
    best = [len(set(one.item_ids[:10]) & set(slate.item_ids)) / 10 for one, slate in slates]
    return {
        "least": round(float(min(slate.propensity.min() for _, slate in slates)), 4),
        "best": round(float(np.mean(best)), 3),
        "lost": lost([(one, slate.score) for one, slate in slates]),
    }


def lost(slates: list[tuple[Candidates, np.ndarray]]) -> float | str:
    """The share of the greedy slates' value."""
    if not slates[0][0].probability:
        return "unknown: scores are no probabilities"
    greedy = sum(float(one.score[:10].sum()) for one, _ in slates)
    return round(1 - sum(float(score.sum()) for _, score in slates) / greedy, 4)


def requests_of(model: Deployed) -> list[Request]:
    """Of 200 people, just after all that is known."""
    histories = getattr(model.recommender, "histories", None)
    people = ["nobody"] * 200 if histories is None else histories.users()[:200]
    now = Request("r", "u", model.known_until or SOME_DAY, k=10)
    return [replace(now, request_id=f"r{n}", user_id=user) for n, user in enumerate(people)]


def mended() -> int:
    """None of them in a tree without calibrated lists."""
    return 0 if find_spec("adwright.delivery.calibrated") is None else 10


if __name__ == "__main__":
    run("explore", measure)
