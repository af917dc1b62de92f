"""Measures of scikit-survival. Runs inside its environment.

    python run_survival_measures.py FOLDER

FOLDER has lives.npz: train_time, train_event, of which censoring is estimated; time, event, risk
[N], survival [N, H] at weeks [H], until. It gets theirs.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from sksurv.metrics import (
    concordance_index_censored,
    concordance_index_ipcw,
    cumulative_dynamic_auc,
    integrated_brier_score,
)
from sksurv.util import Surv


def main() -> None:
    """See above."""
    folder = Path(sys.argv[1])
    lives = dict(np.load(folder / "lives.npz"))
    train = Surv.from_arrays(lives["train_event"], lives["train_time"])
    test = Surv.from_arrays(lives["event"], lives["time"])
    risk, weeks, until = lives["risk"], lives["weeks"], float(lives["until"])
    _, auc = cumulative_dynamic_auc(train, test, risk, weeks)
    theirs = {
        "harrell_c": concordance_index_censored(lives["event"], lives["time"], risk)[0],
        "uno_c": concordance_index_ipcw(train, test, risk, tau=until)[0],
        "auc_mean": auc,
        "integrated_brier": integrated_brier_score(train, test, lives["survival"], weeks),
    }
    text = json.dumps({name: float(value) for name, value in theirs.items()}, indent=1)
    (folder / "theirs.json").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
