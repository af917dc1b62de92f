"""The cascade beside fine ranking of the whole catalogue (25 minutes to build, 15 to measure)."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.core.progress import progress
from adwright.data.tasks.next_basket import NextBasket
from adwright.delivery.cascade.cascade import Cascade, Meter, StageCost
from adwright.delivery.stages.histories import visit_requests
from adwright.delivery.stages.protocols import best_of
from adwright.metrics.bootstrap import bootstrap_ratio
from adwright.training.retrieval.fit import Scorer
from benchmarks.common.deployment import built
from benchmarks.common.exhaustive import Exhaustive, exhaustive, sampled
from benchmarks.common.next_basket import (
    frequency,
    interval,
    method_difference,
    person_sums,
    popularity,
)
from benchmarks.common.result import Lead, write_result

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
SEED = 0
K = 10
TOGETHER = 16
NEAR = "cascade, approximate index"
STAGES = ("retrieve", "coarse", "fine")
PROTOCOL = (
    "Complete Journey, next basket: {number} baskets of the test weeks 49-53 drawn at random, "
    "each with the household's whole history before it, every one of the 68,509 sold items a "
    "candidate. The cascade has its default settings (two towers find 500 items, the own past at "
    "most 500 more; HCN with counts of the own past lets 50 through; DIN orders them), trained "
    "on weeks 1-44. Exhaustive: the same DIN on every item of the catalogue, in calls of 8,192 "
    "candidates. Both answer one request at a time on one thread. NDCG@10 by the items bought; "
    "recall of ten: the share of the exhaustive ranking's first ten that a stage keeps; recall of "
    "bought: the share of the basket. CPU-milliseconds are of the process; the baskets were met "
    "for the first time. Intervals: 95% by bootstrap over households, paired for shares and "
    "differences. Beside it, on every test basket ({every:,}), what needs no "
    "exhaustive ranking; approximate index: faiss with its defaults. One training: intervals "
    "are of it, and of no method."
)


def main() -> None:
    """Build what is missing, measure, write benchmarks/results/cascade.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=300)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    task, deployment = built()
    visits = sampled(task, asked.requests)
    truth = exhaustive(task, deployment, visits)
    stages = stage_lists(deployment.cascade(), task, visits)
    meter, seconds = serve(deployment.cascade(), task, visits)
    person = task.visit_user[visits]
    lists: dict[str, Sequence[Ints] | Ints] = {
        "exhaustive": truth.best,
        "cascade": stages["fine"],
        "coarse order alone": stages["coarse"],
        "personal frequency": best_by(frequency(task), task, visits),
        "popularity": best_by(popularity(task), task, visits),
    }
    gains = {name: ndcg_of(task, visits, best) for name, best in lists.items()}
    figures, leads = quality(gains, person)
    figures |= speed(truth, seconds)
    rows: list[dict[str, Any]] = [
        {"ranking": name, "ndcg10": interval(gain, person)} for name, gain in gains.items()
    ]
    rows += stage_rows(task, truth, stages, person, meter.report())
    near = replace(deployment, index="faiss").cascade()
    more, counted = every_basket({"cascade": deployment.cascade(), NEAR: near}, task)
    rows, leads = rows + more, leads + counted
    for row in rows:
        if row.get("stage") in STAGES:
            figures[f"recall_of_fine_top10_{row['stage']}"] = row["recall_of_ten"][0]
            figures[f"cpu_ms_{row['stage']}"] = row["cpu_ms"]
    write_result(
        "cascade",
        protocol=PROTOCOL.format(number=len(visits), every=len(task.visits("test"))),
        data=task.data_hash,
        seeds=[SEED],
        rows=rows,
        figures=figures,
        leads=leads,
    )


def stage_lists(cascade: Cascade, task: NextBasket, visits: Ints) -> dict[str, list[Ints]]:
    """What each stage lets through, best first where it has an order."""
    found: dict[str, list[Ints]] = {name: [] for name in STAGES}
    if cascade.fine is None:
        raise SystemExit("the cascade has no fine stage")
    for visit in visits:
        batch = cascade.histories.batch(visit_requests(task, np.array([visit])))
        short = cascade.retrieve(batch)
        found["retrieve"].append(short.codes)
        score = cascade.coarse.score(batch, short)
        coarse, _ = best_of(short, score, np.array([cascade.config.coarse]))
        found["coarse"].append(coarse.codes)
        fine, _ = best_of(coarse, cascade.fine.score(batch, coarse), np.array([K]))
        found["fine"].append(fine.codes)
    return found


def serve(cascade: Cascade, task: NextBasket, visits: Ints) -> tuple[Meter, Floats]:
    """Answer each request by itself; what the stages took, and CPU-seconds of each answer.

    cascade: a fresh one, which keeps no vectors of these people yet.
    """
    cascade.recommend_many(visit_requests(task, task.visits("valid")[:8]))
    meter, seconds = Meter(), []
    for visit in visits:
        requests = visit_requests(task, np.array([visit]), k=K)
        start = time.process_time()
        cascade.recommend_many(requests, meter=meter)
        seconds.append(time.process_time() - start)
    return meter, np.array(seconds)


def every_basket(
    cascades: Mapping[str, Cascade], task: NextBasket
) -> tuple[list[dict[str, Any]], list[Lead]]:
    """What needs no exhaustive ranking, on every test basket: the order of each cascade, the
    coarse order of the first one, and the simple rules."""
    visits = task.visits("test")
    lists: dict[str, list[Ints]] = {}
    for name, cascade in cascades.items():
        fine, coarse = orders_of(cascade, task, visits)
        lists[name] = fine
        lists.setdefault("coarse order alone", coarse)
    for name, rule in (("personal frequency", frequency(task)), ("popularity", popularity(task))):
        steps = range(0, len(visits), 256)
        lists[name] = [one for at in steps for one in best_by(rule, task, visits[at : at + 256])]
    person = task.visit_user[visits]
    gains = {name: ndcg_of(task, visits, best) for name, best in lists.items()}
    rows = [{"every": name, "ndcg10": interval(gain, person)} for name, gain in gains.items()]
    others = ("personal frequency", "coarse order alone", NEAR)
    about = "next basket, every test basket"
    return rows, [_lead("every_ndcg10", about, gains, other, person) for other in others]


def _lead(prefix: str, data: str, gains: Mapping[str, Floats], other: str, person: Ints) -> Lead:
    """Of the one cascade that was trained."""
    mine = gains["cascade"][None]
    theirs = gains[other] if other in ("personal frequency", "popularity") else gains[other][None]
    key = f"{prefix}_cascade_minus_{other.replace(', ', '_').replace(' ', '_')}"
    found = method_difference(mine, theirs, person)
    return Lead(key, "cascade", other, "NDCG@10", data, found)


def orders_of(cascade: Cascade, task: NextBasket, visits: Ints) -> tuple[list[Ints], list[Ints]]:
    """The first ten of the fine and of the coarse order, of each visit."""
    if cascade.fine is None:
        raise SystemExit("the cascade has no fine stage")
    found: tuple[list[Ints], list[Ints]] = ([], [])
    with progress(len(visits), "every basket", "visits") as bar:
        for start in range(0, len(visits), TOGETHER):
            some = visits[start : start + TOGETHER]
            batch = cascade.histories.batch(visit_requests(task, some))
            short = cascade.retrieve(batch)
            places = np.full(len(some), cascade.config.coarse)
            coarse, _ = best_of(short, cascade.coarse.score(batch, short), places)
            best, _ = best_of(coarse, cascade.fine.score(batch, coarse), np.full(len(some), K))
            found[0].extend(best.lists())
            found[1].extend(codes[:K] for codes in coarse.lists())
            bar.advance(len(some))
    return found


def best_by(score: Scorer, task: NextBasket, visits: Ints) -> list[Ints]:
    """The first ten of a simple rule."""
    scores = score(visits)
    scores[:, 0] = -torch.inf
    return list(torch.topk(scores, K, dim=1).indices.numpy())


def ndcg_of(task: NextBasket, visits: Ints, best: Sequence[Ints] | Ints) -> Floats:
    """NDCG@10 of each visit's list, by the items that were bought: [V]."""
    discount = 1 / np.log2(np.arange(K) + 2)
    gains = []
    for visit, codes in zip(visits, best, strict=True):
        bought = task.targets[task.target_offsets[visit] : task.target_offsets[visit + 1]]
        hit = np.isin(codes[:K], bought)
        gains.append((hit * discount[: len(hit)]).sum() / discount[: min(K, len(bought))].sum())
    return np.array(gains)


def quality(gains: dict[str, Floats], person: Ints) -> tuple[dict[str, Any], list[Lead]]:
    """NDCG of each ranking, and the cascade's share of the exhaustive one's."""
    figures: dict[str, Any] = {
        f"ndcg10_{name.replace(' ', '_')}": float(gain.mean()) for name, gain in gains.items()
    }
    mine, _ = person_sums(gains["cascade"], person)
    theirs, _ = person_sums(gains["exhaustive"], person)
    found = bootstrap_ratio(mine, theirs, np.random.default_rng(0), 2000)
    figures["ndcg_share_of_exhaustive"] = found.value
    figures["ndcg_share_of_exhaustive_ci"] = [found.low, found.high]
    others = ("personal frequency", "coarse order alone")
    about = "next basket, the sample"
    return figures, [_lead("ndcg10", about, gains, other, person) for other in others]


def speed(truth: Exhaustive, seconds: Floats) -> dict[str, Any]:
    """CPU time of a request."""
    return {
        "cpu_ms_exhaustive": float(truth.cpu_seconds.mean() * 1e3),
        "cpu_ms_cascade": float(seconds.mean() * 1e3),
        "cpu_ms_cascade_p99": float(np.quantile(seconds, 0.99) * 1e3),
        "cpu_ratio_exhaustive": float(truth.cpu_seconds.sum() / seconds.sum()),
    }


def stage_rows(
    task: NextBasket,
    truth: Exhaustive,
    stages: dict[str, list[Ints]],
    person: Ints,
    costs: list[StageCost],
) -> list[dict[str, Any]]:
    """Recall and cost of each stage."""
    cost = {line.stage: line for line in costs}
    rows = []
    for name in STAGES:
        ten, bought = [], []
        for visit, codes, best in zip(truth.visits, stages[name], truth.best, strict=True):
            basket = task.targets[task.target_offsets[visit] : task.target_offsets[visit + 1]]
            ten.append(np.isin(best[:K], codes).mean())
            bought.append(np.isin(basket, codes).mean())
        line = cost[name]
        rows.append(
            {
                "stage": name,
                "items": float(np.mean([len(codes) for codes in stages[name]])),
                "recall_of_ten": interval(np.array(ten), person),
                "recall_of_bought": interval(np.array(bought), person),
                "cpu_ms": line.cpu_ms,
            }
        )
    return rows


if __name__ == "__main__":
    main()
