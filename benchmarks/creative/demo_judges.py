"""Train the two judges that ship with the demonstration, and measure them (about 20 minutes).

    python -m benchmarks.creative.demo_judges [clicks | recall]     # of the other what is kept

Clicks: Upworthy's creatives (CC BY 4.0), judged on those of the latest fifth of the weeks, whose
stories it has not seen. Recall: 600 of the sentences whose memorability was measured (MIT), judged
on the others. Both are made small: fewer training ads are kept for "unlike", and no text of any of
them. They go to
weights/demo_judges/, which the package ships, with a card beside them.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from adwright.core.assets import cache_folder
from adwright.core.atomic import atomic_write_text
from adwright.core.hashing import content_hash
from adwright.creative.judging import Novelty, PastAds
from adwright.creative.memory.fitted import fit_memory
from adwright.creative.memory.outcomes import read_recall
from adwright.creative.records.encoders import VectorStore
from adwright.creative.response.fit import ClickRateConfig, FittedClickRate, fit_click_rate
from adwright.creative.response.inputs import encoded_texts
from adwright.creative.response.models import APART
from adwright.creative.response.outcomes import read_outcomes, stories_of
from adwright.demos.ads import JUDGES
from adwright.metrics.bootstrap import pair_accuracy
from adwright.metrics.ranking import spearman
from benchmarks.common.result import RESULTS, Figure, write_result
from benchmarks.creative._upworthy import UPWORTHY

SEED = 0
#: Training ads that are kept of each, to tell what is unlike them.
KEPT, SENTENCES = 256, 600
VECTORS = cache_folder() / "vectors"

_CARD = """# The demonstration's judges

Two judges of ads, small enough to ship; `python -m benchmarks.creative.demo_judges` made them.

| judge | trained on | measured on what it had not seen |
|---|---|---|
| `clicks` | {creatives:,} headlines of the Upworthy Research Archive (Matias et al., CC BY 4.0) | \
{held:,} creatives of later weeks and other stories: Spearman's rho of click rates {rho:.2f}, \
{pairs:.0%} of pairs of a test in the right order, 90% intervals cover {cover:.0%} |
| `recall` | {sentences:,} sentences of a recognition test (MIT) | {others:,} other sentences: \
Spearman's rho {recall_rho:.2f}, 90% intervals cover {recall_cover:.0%} |

Licence of both: Apache-2.0, as adwright. They hold weights with the words that these are of, and
vectors of a few hundred training texts, but no text. They read texts by all-MiniLM-L6-v2 and
SmolLM2-135M-Instruct, which the program fetches. Neither has seen an ad of a shop: read their
numbers as examples of the form. For your own ads: `adwright creative train`.
"""


def main() -> None:
    """Train, measure, and put them into the package."""
    home = Path(os.environ["ADWRIGHT_DATA"])
    made = {"clicks": _clicks, "recall": _recall}
    figures: dict[str, Figure] = {}
    if set(sys.argv[1:]) < set(made) and sys.argv[1:]:
        figures |= json.loads((RESULTS / "demo_judges.json").read_text("utf-8"))["figures"]
    for name in sys.argv[1:] or made:
        figures |= made[name](home)
    figures.pop("megabytes", None)
    JUDGES.mkdir(parents=True, exist_ok=True)
    atomic_write_text(JUDGES / "README.md", _CARD.format(**figures))
    size = sum(path.stat().st_size for path in JUDGES.rglob("*") if path.is_file())
    write_result(
        "demo_judges",
        protocol=__doc__.partition("\n\n")[2].strip() if __doc__ else "",
        data=content_hash([sorted(figures)]),
        seeds=[SEED],
        rows=[],
        figures={**figures, "megabytes": size / 1e6},
    )


def _clicks(home: Path) -> dict[str, Figure]:
    outcomes = read_outcomes(home / "upworthy" / "creatives.parquet", UPWORTHY)
    stories, times = stories_of(outcomes), np.asarray(outcomes.times, np.float64)
    late = times >= np.quantile(times, 0.8)
    before = ~np.isin(stories, stories[late])
    train, held = (outcomes.take(np.flatnonzero(part)) for part in (before, late))
    texts = encoded_texts(folder=VECTORS, offline=True)
    # Without boosting, whose components of texts would be larger than all the rest.
    model = fit_click_rate(train, ClickRateConfig(most=1, seed=SEED), texts=texts)
    found = model.judge(held.records)
    covered = (found.low <= held.rate) & (held.rate <= found.high)
    some = np.flatnonzero(held.varied)
    pairs = pair_accuracy(found.value[some], held.rate[some], held.tests[some], apart=APART)
    _small(model).save(JUDGES / "clicks", overwrite=True)
    return {
        "creatives": len(train),
        "held": len(held),
        "rho": spearman(found.value, held.rate),
        "pairs": pairs.value,
        "cover": float(covered.mean()),
    }


def _small(model: FittedClickRate) -> FittedClickRate:
    """With fewer training ads kept, and none of their words."""
    old = model.reference
    kept = old.novelty.kept[:KEPT]
    rows = np.arange(len(kept), dtype=np.int64)
    novelty = Novelty.fit(kept.astype(np.float32), k=old.novelty.k, most=KEPT)
    reference = PastAds(
        replace(novelty, rows=rows),
        tuple(str(row) for row in rows),
        ("",) * len(rows),
        old.values[: len(rows)],
        old.weights[: len(rows)],
    )
    return replace(model, reference=reference)


def _recall(home: Path) -> dict[str, Figure]:
    table = read_recall(home / "sentences" / "sentences.csv")
    order = np.random.default_rng(SEED).permutation(len(table))
    train, held = table.some(order[:SENTENCES]), table.some(order[SENTENCES:])
    model = fit_memory(train, store=VectorStore(VECTORS), seed=SEED)
    found = model.judge(held.records)
    covered = (found.low <= held.scores) & (held.scores <= found.high)
    model.save(JUDGES / "recall", overwrite=True)
    return {
        "sentences": len(train),
        "others": len(held),
        "recall_rho": spearman(found.value, held.scores),
        "recall_cover": float(covered.mean()),
    }


if __name__ == "__main__":
    main()
