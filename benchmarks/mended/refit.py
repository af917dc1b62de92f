"""What serves knows the newest events; and what becomes of the minutes.

PYTHONPATH=.../src python -m benchmarks.mended.refit --state before
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from adwright.core.errors import ResumeError
from adwright.data.tasks.own.next_item import NextItem, open_next_item
from adwright.delivery.funnel.build import FunnelConfig, build_funnel
from adwright.delivery.funnel.funnel import Funnel
from adwright.delivery.stages.histories import visit_requests
from benchmarks.delivery.funnel_parts.logs import write_log
from benchmarks.mended import run

_QUICK = FunnelConfig(minutes=0.25, models=(), linear=False, valid=300, test=300, draws=20)


def measure() -> dict[str, float | int | str]:
    """MovieLens 100k, of which every tenth event of the last tenth of time is of a new film."""
    found: dict[str, float | int | str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        log = _launched(folder)
        build_funnel(log.task, folder / "run", _QUICK, repeats=log.choices.repeats)
        saved = Funnel.load(folder / "run" / "deployment")
        task = log.task
        share = int(saved.parts.count.sum()) / len(task.item)
        found["share of a log's events that a saved cascade was counted from"] = round(share, 3)
        last = {int(task.visit_user[visit]): visit for visit in range(len(task))}
        shown = saved.cascade().recommend_many(visit_requests(task, np.array(list(last.values()))))
        seen = sum("launched" in one.item_ids[:10] for one in shown)
        found[f"of {len(last)} users, those shown a film launched in the last tenth"] = seen
        found["a build of 15 s that is resumed with 30"] = _resumed(log, folder / "run", 0.5, 0)
        found["a build that is resumed with another seed"] = _resumed(log, folder / "run", 0.25, 1)
        racing = replace(_QUICK, models=("sequence", "two-tower", "hcn"), threads=1)
        began = time.process_time()
        told: list[str] = []
        asked = {"repeats": log.choices.repeats, "tell": told.append}
        build_funnel(log.task, folder / "race", racing, **asked)  # type: ignore[arg-type]
        used = round(time.process_time() - began)
        what = "minutes 0.25 on a busy machine"
        found[f"{what}: seconds of the processor that it used (15 asked for)"] = used
        left_out = sum("left out" in line for line in told if not line.startswith("source"))
        found[f"{what}: networks of three that were left out"] = left_out
    found["artifacts saved after measuring on a split, beside the cascade"] = (
        "9 kinds looked at: item-item, popularity, recall and retire fit to everything; two "
        "towers, HCN, HSTU and SASRec, rankers and clicks are networks, stopped by what is held out"
    )
    return found


def _launched(folder: Path) -> NextItem:
    files = write_log("movielens", Path(os.environ["ADWRIGHT_DATA"]), folder)
    events = pl.read_csv(files.events).sort("timestamp").with_row_index("row")
    late = (pl.col("row") >= 0.9 * events.height) & (pl.col("row") % 10 == 0)
    item = pl.when(late).then(pl.lit("launched")).otherwise(pl.col("item_id").cast(pl.String))
    events.select("user_id", "timestamp", item_id=item).write_csv(folder / "launched.csv")
    return open_next_item(folder / "launched.csv")


def _resumed(log: NextItem, run: Path, minutes: float, seed: int) -> str:
    asked = replace(_QUICK, minutes=minutes, seed=seed)
    try:
        build_funnel(log.task, run, asked, repeats=log.choices.repeats, resume=True)
    except ResumeError as error:
        return f"refused: {error.what}"
    return "trains on"


if __name__ == "__main__":
    run("refit", measure)
