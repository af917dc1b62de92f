"""Creatives of made-up tests whose click rates follow from their words."""

from __future__ import annotations

import numpy as np

from adwright.creative.records.ad_record import AdRecord, Scene
from adwright.creative.response.outcomes import CreativeOutcomes

WORDS = ("bread", "milk", "cheese", "apples", "soap", "paper", "coffee", "tea")
#: Of their effects on a log click rate.
GOOD, BAD = ("free", "today", "you"), ("quarterly", "report", "notice")


def small_creatives(tests: int = 60, *, seed: int = 0, films: bool = False) -> CreativeOutcomes:
    """Tests of three creatives each: a title with a good word, a bad one, or neither; every third
    test is about another audience. films: the creatives are videos of two scenes."""
    rng = np.random.default_rng(seed)
    records, groups, rates = [], [], []
    for test in range(tests):
        about = " ".join(rng.choice(WORDS, 2, replace=False))
        audience = rng.normal(0, 0.5)
        for effect in rng.permutation([-0.6, 0.0, 0.6]):
            word = "" if effect == 0 else f" {rng.choice(GOOD if effect > 0 else BAD)}"
            title = f"{about}{word} no {test}"
            scenes = (Scene(caption=about, faces=1, tags=("shop",)), Scene(tags=("street",)))
            records.append(
                AdRecord(
                    kind="video" if films else "text",
                    title=title,
                    words=f"<p>{about} &amp; more, test {test} of them all.</p>",
                    seconds=float(rng.integers(5, 30)) if films else None,
                    pace=str(rng.choice(["low", "high"])) if films else "",
                    scenes=scenes if films else (),
                )
            )
            groups.append(test)
            rates.append(0.02 * np.exp(audience + effect))
    impressions = rng.integers(2000, 5000, len(rates))
    return CreativeOutcomes(
        records=tuple(records),
        ids=tuple(f"c{row}" for row in range(len(records))),
        impressions=impressions,
        clicks=rng.binomial(impressions, rates),
        tests=np.array(groups, np.int64),
    )
