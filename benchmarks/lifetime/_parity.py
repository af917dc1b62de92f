"""Our measures of survival against scikit-survival's, of the same answers.

It takes G, the curve of censoring, at an age where we take it just before. Ends are of whole weeks
and censorings between them, so that both mean the same.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

import numpy as np

from adwright.core.hashing import content_hash
from adwright.creative.lifetime.survival_curves import LifeCurves
from adwright.metrics.survival import harrell_c
from benchmarks.common.result import ROOT
from benchmarks.lifetime import _runs as runs
from benchmarks.lifetime._calibration import brier_scores, censoring_curve, cumulative_auc, uno_c
from benchmarks.peers import environments

#: Theirs compares each pair.
_UNITS = 8000
_MEASURES = "harrell_c", "uno_c", "auc_mean", "integrated_brier"


def parity(spells: runs.Spells, curves: LifeCurves, *, run: bool) -> dict[str, Any]:
    """Both libraries' figures and their greatest difference. run: ask theirs where its answer is
    not kept; without it nothing is said."""
    rows = np.random.default_rng(0).choice(len(spells.test), _UNITS, replace=False)
    test, few = spells.test.take(rows), curves.take(rows)
    train = spells.train
    risk = few.risk()
    weeks = np.arange(1, min(few.edges[-1], test.time.max()), dtype=np.float32)
    survival = few.at(weeks)
    censoring = censoring_curve(train.time, train.ended)
    lives = test.time, test.ended
    until = float(weeks[-1]) + 0.5
    brier = brier_scores(*lives, survival, weeks, censoring=censoring)
    auc = cumulative_auc(*lives, risk, weeks, censoring=censoring)
    ours = {
        "harrell_c": harrell_c(*lives, risk).value,
        "uno_c": uno_c(*lives, risk, until=until, censoring=censoring).value,
        "auc_mean": auc.mean,
        "integrated_brier": brier.integrated,
    }
    folder = runs.SCRATCH / f"parity-{content_hash({'ours': ours, 'code': 2})[:12]}"
    if not (folder / "theirs.json").is_file():
        if not run:
            return {}
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(
            folder / "lives.npz",
            train_time=train.time,
            train_event=train.ended,
            time=test.time,
            event=test.ended,
            risk=risk.astype(np.float64),
            survival=survival.astype(np.float64),
            weeks=weeks,
            until=until,
        )
        script = ROOT / "benchmarks" / "peers" / "run_survival_measures.py"
        python = environments.build("survival")
        subprocess.run([str(python), str(script), str(folder)], check=True)
    theirs: dict[str, float] = json.loads((folder / "theirs.json").read_text("utf-8"))
    found = {f"parity_{name}": value for name, value in ours.items()}
    found |= {f"parity_{name}_scikit_survival": theirs[name] for name in _MEASURES}
    gaps = [abs(ours[name] - theirs[name]) for name in _MEASURES]
    return found | {"parity_greatest_difference": max(gaps), "parity_units": _UNITS}
