"""The cascade of Complete Journey with its default settings, which several benchmarks measure.

python -m benchmarks.common.deployment     build it (25 CPU-minutes, resumable), say where it lies
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from adwright.core.assets import cache_folder
from adwright.core.config import to_jsonable
from adwright.core.hashing import content_hash
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.tasks.next_basket_sources import build_next_basket
from adwright.delivery.cascade.build import BuildConfig, Deployment, build_deployment
from adwright.training.loop.stage_timer import Stages


def run_folder(task: NextBasket, config: BuildConfig) -> Path:
    """Where the build of this config on this task lies."""
    key = content_hash({"config": to_jsonable(config), "data": task.data_hash})
    return cache_folder() / "bench" / "deployment" / key[:12]


def built(config: BuildConfig | None = None) -> tuple[NextBasket, Deployment]:
    """The task and its cascade, trained on weeks 1-44 on the first call."""
    torch.set_num_threads(1)
    config = config or BuildConfig()
    task = build_next_basket(CompleteJourney.open())
    run = run_folder(task, config)
    if (run / "deployment").exists():
        return task, Deployment.load(run / "deployment")
    stages = Stages()
    resume = (run / "build.json").exists()
    deployment = build_deployment(task, run, config, resume=resume, stages=stages)
    (run / "seconds.json").write_text(json.dumps(stages.seconds, indent=1) + "\n", "utf-8")
    return task, deployment


if __name__ == "__main__":
    where, made = built()
    print(run_folder(where, BuildConfig()) / "deployment", made.artifact_id)
