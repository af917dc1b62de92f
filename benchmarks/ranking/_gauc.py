"""Cost of group AUC on ten million rows, one figure of the loader benchmark."""

from __future__ import annotations

import time

import numpy as np

from adwright.metrics.classification import group_auc


def gauc_10m_cpu_seconds(*, rows: int = 10_000_000, groups: int = 100_000, seed: int = 0) -> float:
    """Processor seconds of group AUC over `rows` rows in `groups` groups, in random order.

    Labels are 5% ones, scores float32 as a network emits them. Making the data is not timed.
    """
    rng = np.random.default_rng(seed)
    group = rng.integers(0, groups, rows)
    labels = rng.random(rows) < 0.05
    scores = (rng.random(rows) + 0.1 * labels).astype(np.float32)
    start = time.process_time()
    group_auc(labels, scores, group)
    return time.process_time() - start


if __name__ == "__main__":
    print(f"group AUC of 10,000,000 rows: {gauc_10m_cpu_seconds():.2f} CPU-seconds")
