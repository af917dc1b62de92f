"""Two towers with and without self-supervision, by share of the labels; resumable, by cell.

    python -m benchmarks.delivery.two_tower                        what is missing, then the result
    python -m benchmarks.delivery.two_tower --plan                 what is missing, and its cost
    python -m benchmarks.delivery.two_tower --set beauty --share 10 [--seed 0]   one cell alone
    python -m benchmarks.delivery.two_tower --only-summarise       the result of what is finished

A cell's weight and temperature are chosen on validation (`_two_tower_sweep`), then its seeds are
trained and the test is measured once for each.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt
import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from adwright.core.atomic import atomic_write_text
from adwright.core.hashing import content_hash
from adwright.data.tasks.next_basket import NextBasket
from adwright.metrics.reports.charts import to_svg
from benchmarks.common.next_basket import (
    by_seed,
    ends,
    frequency,
    interval,
    keep,
    means_by_seed,
    method_difference,
    popularity,
    read,
)
from benchmarks.common.result import PICTURES, Lead, write_result
from benchmarks.delivery._two_tower_cells import (
    DATA,
    FIRST,
    SCRATCH,
    SHARES,
    Cell,
    NotRun,
    by_slice,
    on_test,
    open_task,
    trained,
    with_share,
)
from benchmarks.delivery._two_tower_sweep import Choice, choose

PROTOCOL = (
    "Next item of Beauty and lastfm (the last item of a person tests, the one before validates), "
    "next basket of Complete Journey (weeks 49-53 test, 45-48 validate); every item of the "
    "catalogue is a candidate. Labels: that share of the training visits, drawn once, the smaller "
    "ones parts of the larger; the others train nothing and are not counted, but what users did "
    "before a visit stays known. All models share features, sizes, batches, steps and seeds, keep "
    "the epoch of the best recall@50 of validation, and differ in the second task alone. Its "
    "weight and temperature were chosen on validation for each data set and share, by successive "
    "choices: weights .03, .1, .3, 1, 3 and 10 climbed by one seed each, temperatures .07, .1 and "
    ".2 at 10% of the labels, the best two by three seeds (on Complete Journey the best one); "
    "random masking had the choice of the same two. Five seeds on Beauty with 10% and 100% of the "
    "labels, three elsewhere. Slices by training labels of an item in that share: head, 20 or "
    "more; tail, fewer; cold, none; unseen, only items that the person never had are ranked and "
    "count. Values are means over visits that have a target in the slice. Intervals: 95%, over "
    "seeds and people; differences are on the same people. Ties: by a hash of visit and item."
)
MODELS = {
    "none": "no second task",
    "cfm": "correlated masking (CFM)",
    "rfm": "random masking (RFM)",
}
VIEWS = {"cfm": "correlated", "rfm": "random"}
RULES = {"popularity": popularity, "frequency": frequency}
RULE_NAMES = {"popularity": "popularity", "frequency": "personal frequency"}
#: Data and share of the cells where a claim is decided, and their seeds.
DECISIVE = {("beauty", 10): 5, ("beauty", 100): 5}
SEEDS = 3
#: Slices of which models are compared.
COMPARED = ("all", "head", "tail", "cold", "unseen")
Floats = NDArray[np.float32]
Runs = Mapping[str, Sequence[Mapping[str, Floats]]]


@dataclass(frozen=True)
class Row:
    """A cell of the table: the measures by seed of each model, what validation chose, and the
    processor time of all its trainings."""

    data: str
    share: int
    task: NextBasket
    choice: Choice
    runs: Runs
    seconds: float


def main() -> None:
    """Run what is missing, write benchmarks/results/two_tower.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", choices=DATA, help="this data set alone, and no result")
    parser.add_argument("--share", type=int, choices=SHARES, help="this share alone, no result")
    parser.add_argument("--seed", type=int, help="this seed of the chosen alone, no result")
    parser.add_argument("--plan", action="store_true", help="say what is missing, and stop")
    parser.add_argument("--only-summarise", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: list[Row] = []
    for name in DATA:
        if asked.set not in (None, name):
            continue
        task = open_task(name)
        if task is None:
            raise SystemExit(f"set ADWRIGHT_DATA: {name} lies there")
        for share in sorted(SHARES, key=lambda share: abs(np.log(share / FIRST))):
            if asked.share in (None, share):
                only = asked.only_summarise or asked.plan
                found += _cell(name, task, share, asked.seed, run=not only)
    whole = (asked.set, asked.share, asked.seed) == (None, None, None)
    if whole and not asked.plan and found:
        _write(found)


def _cell(name: str, task: NextBasket, share: int, seed: int | None, *, run: bool) -> list[Row]:
    """The row of a cell; none where it is not to run and something of it is missing."""
    seeds = range(DECISIVE.get((name, share), SEEDS)) if seed is None else [seed]
    of, runs = with_share(task, share), dict[str, Any]()
    try:
        choice = choose(name, task, share, run=run)
        base = Cell(name, share, "none")
        cells = {
            "none": base,
            "cfm": replace(base, views="correlated", **vars(choice.cfm)),
            "rfm": replace(base, views="random", **vars(choice.rfm)),
        }
        print(f"{name} {share}%: CFM {choice.cfm}, RFM {choice.rfm}", flush=True)
        for model, cell in cells.items():
            runs[model] = [on_test(replace(cell, seed=s), of, run=run) for s in seeds]
    except NotRun as missing:
        print(f"{name} {share}%: not there is {missing}")
        return []
    tried = set(choice.tried) | {replace(c, seed=s) for c in cells.values() for s in seeds}
    seconds = sum(trained(one, of)["seconds"] for one in tried)
    print(f"{name} {share}%: {len(tried)} trainings of {seconds:.0f} CPU-s", flush=True)
    if share == 100:
        runs |= {rule: [_rule(name, rule, of)] for rule in RULES}
    return [Row(name, share, of, choice, runs, seconds)]


def _rule(name: str, rule: str, task: NextBasket) -> Mapping[str, Floats]:
    """The measures of a simple rule, kept beside the trainings."""
    path = SCRATCH / name / f"{rule}-{task.data_hash[:12]}.npz"
    if not path.exists():
        keep(path, by_slice(RULES[rule](task), task), 0.0)
    return {key: value for key, value in read([path])[0].items() if key != "seconds"}


def _write(found: Sequence[Row]) -> None:
    """The rows, the figures and the picture."""
    rows: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    leads: list[Lead] = []
    for row in found:
        person = row.task.visit_user[row.task.visits("test")]
        made, more, some = _summary(row, person)
        rows += made
        figures |= more
        leads += some
    figures["cpu_seconds"] = sum(row.seconds for row in found)
    write_result(
        "two_tower",
        protocol=PROTOCOL,
        data=content_hash({f"{row.data}-{row.share}": row.task.data_hash for row in found}),
        seeds=list(range(max(len(row.runs["none"]) for row in found))),
        rows=rows,
        figures=figures,
        leads=leads,
    )
    draw(rows)


def _summary(
    row: Row, person: NDArray[np.int64]
) -> tuple[list[dict[str, Any]], dict[str, Any], list[Lead]]:
    """The rows of a cell, one a model, its figures, and who is ahead of whom."""
    leads: list[Lead] = []
    values = {model: by_seed(runs) for model, runs in row.runs.items()}
    about = f"{row.data}, {row.share}% of the labels"
    rows: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    labels = int(row.task.count.sum())
    prefix = _prefix(row.data, row.share)
    # A slice that no target is in has no measures.
    keys = [key for key, found in row.runs["none"][0].items() if not np.isnan(found).all()]
    for model, runs in row.runs.items():
        line: dict[str, Any] = {
            "data": row.data,
            "share": row.share,
            "labels": labels,
            "labels_an_item": round(labels / (len(row.task.items) - 1), 2),
            "model": MODELS.get(model, RULE_NAMES.get(model, model)),
            "seeds": 0 if model in RULES else len(runs),
        }
        if model in ("cfm", "rfm"):
            line |= vars(getattr(row.choice, model))
            # What was tried on validation to choose these: weight, temperature, seed, recall@50.
            line["tried"] = [
                [cell.alpha, cell.temperature, cell.seed, round(valid, 5)]
                for cell, valid in row.choice.tried.items()
                if cell.views == VIEWS[model]
            ]
        line["visits"] = {
            slice_: int(np.isfinite(runs[0][f"{slice_}/recall50"]).sum())
            for slice_ in COMPARED
            if f"{slice_}/recall50" in keys
        }
        mine = {k: v if model not in RULES else v[0] for k, v in values[model].items() if k in keys}
        line |= {key: _rounded(interval(found, person)) for key, found in mine.items()}
        line |= means_by_seed(mine)
        for other in ("none", "rfm") if model == "cfm" else ("none",) if model == "rfm" else ():
            for key in (k for k in keys if k.split("/")[0] in COMPARED):
                lead = method_difference(mine[key], values[other][key], person)
                line[f"minus_{other}/{key}"] = _rounded(ends(lead))
                slice_, measure = key.split("/")
                title = measure if slice_ == "all" else f"{slice_}_{measure}"
                name = f"{prefix}{title}_{model}_minus_{other}"
                leads.append(Lead(name, MODELS[model], MODELS[other], key, about, lead))
        figures[f"{prefix}recall50_{model}"] = line["all/recall50"][0]
        if "tail/recall50" in line:
            figures[f"{prefix}tail_recall50_{model}"] = line["tail/recall50"][0]
        rows.append(line)
    return rows, figures, leads


def _prefix(data: str, share: int) -> str:
    """What keys of a cell begin with. The cell where the paper's claim is on test, and all labels
    of Complete Journey, have names of their own."""
    if (data, share) == ("beauty", 10):
        return "label10_"
    part = "" if share == 100 else f"label{share}_"
    return part if (data, share) == ("journey", 100) else f"{data}_{part}"


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(float(value), 5) for value in values]


def draw(rows: Sequence[Mapping[str, Any]]) -> None:
    """What the second task adds to recall@50 by share of the labels, a panel per data set."""
    points = [
        {
            "data": row["data"],
            "labels an item": row["labels_an_item"],
            "model": row["model"],
            "slice": slice_,
            "lead": row[key][0],
            "low": row[key][1],
            "high": row[key][2],
        }
        for row in rows
        for slice_ in ("all", "tail")
        if (key := f"minus_none/{slice_}/recall50") in row
    ]
    if not points:
        return
    frame = pl.DataFrame(points)
    panels = []
    for name in frame["data"].unique(maintain_order=True):
        base = alt.Chart(frame.filter(pl.col("data") == name)).encode(
            x=alt.X("labels an item:Q", scale=alt.Scale(type="log"), title="labels per item"),
            color=alt.Color("model:N", title=None),
        )
        line = base.mark_line(point=True).encode(
            y=alt.Y("lead:Q", title="recall@50 above no second task"),
            strokeDash=alt.StrokeDash("slice:N", title="targets"),
        )
        bar = base.mark_rule(opacity=0.4).encode(y="low:Q", y2="high:Q")
        zero = alt.Chart().mark_rule(color="grey").encode(y=alt.datum(0))
        panels.append((zero + bar + line).properties(title=name, width=230, height=220))
    PICTURES.mkdir(parents=True, exist_ok=True)
    atomic_write_text(PICTURES / "self_supervision.svg", to_svg(alt.hconcat(*panels)))


if __name__ == "__main__":
    main()
