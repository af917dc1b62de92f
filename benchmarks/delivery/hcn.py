"""HCN beside ComiRec-SA, MIND, one interest and one list; an hour of CPU time, resumable."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.core.assets import cache_folder
from adwright.core.config import to_jsonable
from adwright.core.hashing import content_hash
from adwright.data.tasks.next_basket import NextBasket
from adwright.delivery.cascade.build import Deployment, distil
from adwright.delivery.stages.histories import visit_requests
from adwright.delivery.stages.protocols import best_of
from adwright.models.retrieval.multi_interest import HCN, HCNConfig, MultiInterest, combine
from adwright.training.retrieval.fit import (
    DistillationTargets,
    RetrievalConfig,
    RetrieverArtifact,
    catalogue_vectors,
    fit_retriever,
)
from benchmarks.common.deployment import built
from benchmarks.common.exhaustive import exhaustive, sampled
from benchmarks.common.next_basket import (
    by_seed,
    interval,
    keep,
    means_by_seed,
    measure,
    method_difference,
    read,
    table,
)
from benchmarks.common.result import Lead, write_result
from benchmarks.delivery._comirec import MIND, ComiRec, ComiRecConfig, MINDConfig

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
PROTOCOL = (
    "Next basket of Complete Journey: every basket of the test weeks 49-53 is a query with the "
    "household's history before it (the latest 500 events; 200 in training), every one of the "
    "68,509 sold items a candidate; weeks 1-44 train, one epoch. Slices as in the two-tower "
    "benchmark: unseen ranks and counts only items that the household never had. All models "
    "share item tower, head, loss, sizes, batches, steps and seeds; only the way from a history "
    "to K vectors differs. Redundancy: mean cosine of the pairs of a household's K vectors, over "
    "the test baskets. Fine ten: share of the first ten of DIN's ranking of the whole catalogue "
    "that the coarse order keeps among its 50 of what the cascade's sources find, on {number} "
    "baskets drawn at random; taught models also learned from DIN's scores of 6,000 training "
    "baskets with 100 items each; blended adds counts of the own past. Intervals: 95%, "
    "over seeds and households; differences on the same households. Scoring: 10,000 "
    "candidates for one household with K=4, one thread, vectors at hand, median of 200."
)
CONFIGS: dict[str, HCNConfig | ComiRecConfig | MINDConfig] = {
    "hcn": HCNConfig(),
    "k1": HCNConfig(interests=1),
    "merged": HCNConfig(split=False),
    "comirec": ComiRecConfig(),
    "mind": MINDConfig(),
    "taught": HCNConfig(),
}
NAMES = {
    "hcn": "HCN, K=4",
    "k1": "HCN, K=1",
    "merged": "HCN, one list for all events",
    "comirec": "ComiRec-SA, K=4",
    "mind": "MIND, K=4",
    "taught": "HCN, K=4, taught by DIN",
}
FIT = RetrievalConfig(epochs=1, validation_visits=0)
REQUESTS = 300
SCRATCH = cache_folder() / "bench" / "hcn"


def main() -> None:
    """Run what is missing, write benchmarks/results/hcn.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    task, deployment = built()
    bench = _Bench(task, deployment)
    runs: dict[str, list[Any]] = {name: [] for name in CONFIGS}
    for seed in range(asked.seeds):
        for name in CONFIGS:
            runs[name] += read([bench.run(name, seed)])
    values = {name: by_seed(found) for name, found in runs.items()}
    seconds = {name: float(found.pop("seconds").mean()) for name, found in values.items()}
    alone = {
        n: {k: found.pop(k) for k in list(found) if "/" not in k} for n, found in values.items()
    }
    person = task.visit_user[task.visits("test")]
    few = task.visit_user[bench.sample]
    rows = table(values, person)
    for row in rows:
        name = row["model"]
        row |= {"model": NAMES[name], "train_cpu_seconds": seconds[name], "seeds": asked.seeds}
        row["by_seed"] |= means_by_seed(alone[name]).get("by_seed", {})
        for key, one in alone[name].items():
            row[key] = interval(one, few if key.startswith("fine") else person)
    write_result(
        "hcn",
        protocol=PROTOCOL.format(number=REQUESTS),
        data=task.data_hash,
        seeds=list(range(asked.seeds)),
        rows=rows,
        figures=_figures(alone, person, few) | scoring(),
        leads=_leads(values, alone, person, few),
    )


class _Bench:
    """Trains and measures; every run is kept."""

    def __init__(self, task: NextBasket, deployment: Deployment) -> None:
        self.task, self.deployment = task, deployment
        self.sample = sampled(task, REQUESTS)
        self._targets: DistillationTargets | None = None

    def run(self, name: str, seed: int) -> Path:
        """The file of a run, which is made where it is missing."""
        config, fit = CONFIGS[name], replace(FIT, seed=seed)
        about = {"m": to_jsonable(config), "f": to_jsonable(fit), "d": self.task.data_hash}
        key = content_hash({**about, "deployment": self.deployment.artifact_id, "name": name})
        path = SCRATCH / f"{name}-{seed}-{key[:12]}.npz"
        if path.exists():
            return path
        torch.manual_seed(seed)
        model = _built(config, self.task)
        targets = self.targets() if name == "taught" else None
        start = time.process_time()
        fit_retriever(model, self.task, fit, distillation=targets)
        seconds = time.process_time() - start
        visits = self.task.visits("test")
        values = measure(catalogue_vectors(model, self.task), self.task, visits).values
        if model.config.interests > 1:
            values["redundancy"] = redundancies(model, self.task, visits)
        if isinstance(model, HCN):
            values |= self.fine_ten(model)
        keep(path, values, seconds)
        means = {k: round(float(np.nanmean(v)), 4) for k, v in values.items()}
        print(name, seed, f"{seconds:.0f} CPU-s", means, flush=True)
        return path

    def targets(self) -> DistillationTargets:
        """What the fine ranker says of some candidates, which HCN learns from."""
        if self._targets is None:
            self._targets = distil(self.deployment.cascade(), self.task, visits=6_000, items=100)
        return self._targets

    def fine_ten(self, model: HCN) -> dict[str, Floats]:
        """Share of the fine ranker's ten in the coarse 50, of each sampled visit."""
        truth = exhaustive(self.task, self.deployment, self.sample)
        plain = replace(self.deployment, coarse=RetrieverArtifact.of(model, self.task), blend=None)
        requests = visit_requests(self.task, _teaching_visits(self.task))
        found = {}
        for key, deployment in (("fine10", plain), ("fine10_blended", plain.blended(requests))):
            cascade, shares = deployment.cascade(), []
            for visit, best in zip(truth.visits, truth.best, strict=True):
                batch = cascade.histories.batch(visit_requests(self.task, np.array([visit])))
                short = cascade.retrieve(batch)
                kept, _ = best_of(short, cascade.coarse.score(batch, short), np.array([50]))
                shares.append(np.isin(best[:10], kept.codes).mean())
            found[key] = np.array(shares)
        return found


def _teaching_visits(task: NextBasket) -> Ints:
    """The latest training baskets of 200 people, as the build of a cascade takes them."""
    visits = task.visits("train")
    last = np.flatnonzero(np.diff(task.visit_user[visits], append=-1))
    found: Ints = visits[np.sort(np.random.default_rng(0).permutation(last)[:200])]
    return found


def _built(config: HCNConfig | ComiRecConfig | MINDConfig, task: NextBasket) -> MultiInterest:
    parts = task.spec, task.items, task.count
    match config:
        case HCNConfig():
            return HCN(config, *parts)
        case ComiRecConfig():
            return ComiRec(config, *parts)
        case MINDConfig():
            return MIND(config, *parts)


def redundancies(model: MultiInterest, task: NextBasket, visits: Ints) -> Floats:
    """Mean cosine of the pairs of vectors, of each visit with a history: [V], else NaN."""
    found = []
    for start in range(0, len(visits), 256):
        batch = task.batch(visits[start : start + 256])
        with torch.no_grad():
            vectors = model.directions(batch)
        cosines = vectors @ vectors.transpose(1, 2)
        k = vectors.shape[1]
        each = (cosines.sum((1, 2)) - cosines.diagonal(dim1=1, dim2=2).sum(1)) / (k * (k - 1))
        found.append(torch.where(batch.history.lengths > 0, each, torch.nan).double().numpy())
    return np.concatenate(found)


def _figures(alone: Mapping[str, Mapping[str, Floats]], person: Ints, few: Ints) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name, values in alone.items():
        if "redundancy" in values:
            figures[f"redundancy_{name}"] = interval(values["redundancy"], person)[0]
        for key in ("fine10", "fine10_blended"):
            if key in values:
                figures[f"{key}_{name}"] = interval(values[key], few)[0]
    figures["recall_of_fine_top10_in_50"] = figures["fine10_blended_hcn"]
    return figures


def _leads(
    values: Mapping[str, Mapping[str, Floats]],
    alone: Mapping[str, Mapping[str, Floats]],
    person: Ints,
    few: Ints,
) -> list[Lead]:
    """HCN beside the others."""
    found = []

    def lead(a: str, b: str, key: str, of: Mapping[str, Mapping[str, Floats]], who: Ints) -> None:
        name = f"{key.replace('/', '_')}_{a}_minus_{b}"
        gap = method_difference(of[a][key], of[b][key], who)
        lower = key == "redundancy"
        found.append(Lead(name, NAMES[a], NAMES[b], key, "next basket", gap, lower))

    lead("hcn", "comirec", "redundancy", alone, person)
    lead("hcn", "mind", "redundancy", alone, person)
    for key in ("fine10", "fine10_blended"):
        lead("taught", "hcn", key, alone, few)
    for other in ("k1", "merged", "comirec", "mind", "taught"):
        for key in ("all/recall50", "tail/recall50", "unseen/recall50", "all/ndcg10"):
            lead("hcn", other, key, values, person)
    return found


def scoring() -> dict[str, float]:
    """CPU-milliseconds of 10,000 candidates, the median of 200 runs."""
    rng = np.random.default_rng(0)
    queries = torch.from_numpy(rng.standard_normal((4, 65)).astype(np.float32))
    vectors = torch.from_numpy(rng.standard_normal((10_000, 65)).astype(np.float32))
    spent = []
    for _ in range(200):
        start = time.process_time()
        combine(queries @ vectors.T, "max", 1.0, dim=0)
        spent.append(time.process_time() - start)
    return {"score_10k_cpu_ms": float(np.median(spent) * 1e3)}


if __name__ == "__main__":
    main()
