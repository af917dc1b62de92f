"""Train the two judges that ship with the demonstration, and measure them (about 20 minutes).

    python -m benchmarks.creative.demo_judges

Clicks: Upworthy's creatives (CC BY 4.0), four folds of stories, judged on the fifth. Recall: 600 of
the sentences whose memorability was measured (MIT), judged on the others. Both are made small:
fewer training ads are kept for "unlike", and no text of any of them. They go to
weights/demo_judges/, which the package ships, with a card beside them.
"""

from __future__ import annotations

import os
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
from adwright.creative.response.models import order_measures
from adwright.creative.response.outcomes import read_outcomes, stories_of, story_folds
from adwright.demos.ads import JUDGES
from adwright.metrics.ranking import spearman
from benchmarks.common.result import Figure, write_result
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
{held:,} creatives of other stories: Spearman's rho of click rates {rho:.2f}, {pairs:.0%} of pairs \
of a test in the right order, 90% intervals cover {cover:.0%} |
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
    figures = _clicks(home) | _recall(home)
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
    folds = story_folds(stories_of(outcomes), 5, seed=SEED)
    train, held = (outcomes.take(np.flatnonzero(part)) for part in (folds != 0, folds == 0))
    texts = encoded_texts(folder=VECTORS, offline=True)
    # Without boosting, whose components of texts would be larger than all the rest.
    model = fit_click_rate(train, ClickRateConfig(most=1, seed=SEED), texts=texts)
    found = model.judge(held.records)
    covered = (found.low <= held.rate) & (held.rate <= found.high)
    measures = order_measures(np.log(found.value), held)
    _small(model).save(JUDGES / "clicks", overwrite=True)
    return {
        "creatives": len(train),
        "held": len(held),
        "rho": measures["rho"],
        "pairs": measures["pairs"],
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
