"""The fine ranker over the whole catalogue: what a cascade and a coarse order are measured by."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adwright.core.assets import cache_folder
from adwright.core.hashing import content_hash
from adwright.core.progress import progress
from adwright.data.tasks.next_basket import NextBasket
from adwright.delivery.cascade.build import Deployment
from adwright.delivery.stages.histories import visit_requests
from adwright.delivery.stages.protocols import Shortlist, best_of

Ints = NDArray[np.int64]
DEPTH = 50
#: Candidates of one call: of 2,048, 8,192, 16,384 and all at once, the fastest here.
CHUNK = 8192


@dataclass(frozen=True)
class Exhaustive:
    """visits: int64 [V]. best: int64 [V, DEPTH], codes of the best items, best first.
    cpu_seconds: float64 [V], of each."""

    visits: Ints
    best: Ints
    cpu_seconds: NDArray[np.float64]


def sampled(task: NextBasket, number: int, seed: int = 0) -> Ints:
    """Test visits drawn at random, ascending."""
    return np.sort(np.random.default_rng(seed).permutation(task.visits("test"))[:number])


def exhaustive(task: NextBasket, deployment: Deployment, visits: Ints) -> Exhaustive:
    """The best items of each visit; every visit is kept as soon as it is done."""
    fine = deployment.cascade().fine
    if fine is None or deployment.histories is None:
        raise SystemExit("the deployment has no fine stage, or no histories")
    key = content_hash({"deployment": deployment.artifact_id, "depth": DEPTH})
    folder = cache_folder() / "bench" / "exhaustive" / key[:12]
    folder.mkdir(parents=True, exist_ok=True)
    codes = np.arange(1, len(task.items))
    with progress(len(visits), "exhaustive", "visits") as bar:
        for visit in visits.tolist():
            path = folder / f"{visit}.npz"
            if not path.exists():
                batch = deployment.histories.batch(visit_requests(task, np.array([visit])))
                start = time.process_time()
                score = np.concatenate(
                    [
                        fine.score(batch, Shortlist.of([codes[at : at + CHUNK]]))
                        for at in range(0, len(codes), CHUNK)
                    ]
                )
                best, _ = best_of(Shortlist.of([codes]), score, np.array([DEPTH]))
                _keep(path, best.codes, time.process_time() - start)
            bar.advance()
    items, seconds = [], []
    for visit in visits.tolist():
        with np.load(folder / f"{visit}.npz", allow_pickle=False) as stored:
            items.append(stored["best"])
            seconds.append(float(stored["seconds"]))
    return Exhaustive(visits, np.stack(items), np.array(seconds))


def _keep(path: Path, best: Ints, seconds: float) -> None:
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez_compressed(file, best=best, seconds=np.array(seconds))
    part.replace(path)
