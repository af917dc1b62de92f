"""Names of adwright that were in another place before the rooms had rooms of their own.

by_name("fit")      # adwright.training.ranking.fit.fit, or what adwright.training.fit has
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["NAMES", "by_name"]

#: What is used of adwright: where it is now, and where it was.
NAMES: dict[str, tuple[str, ...]] = {
    "MovieLens": ("data.sources.movielens:MovieLens", "data.movielens:MovieLens"),
    "movielens_task": (
        "data.tasks.movielens:build_movielens_task",
        "data.movielens_task:build_movielens_task",
    ),
    "MOVIELENS_FEATURES": (
        "data.tasks.movielens:MOVIELENS_FEATURES",
        "data.movielens_task:MOVIELENS_FEATURES",
    ),
    "build_visits": ("data.tasks.next_basket:build_visits", "data.next_basket:build_visits"),
    "sequences_of_table": (
        "data.sequences.datasets:sequences_of_table",
        "data.sequence_sets:sequences_of_table",
    ),
    "StochasticLength": (
        "data.sequences.stochastic_length:StochasticLength",
        "data.stochastic_length:StochasticLength",
    ),
    "StreamConfig": ("data.batches.stream:StreamConfig", "data.stream:StreamConfig"),
    "EmbeddingConfig": ("models.embeddings:EmbeddingConfig",),
    "DIN": ("models.ranking.din:DIN", "models.din:DIN"),
    "DINConfig": ("models.ranking.din:DINConfig", "models.din:DINConfig"),
    "TwoTower": ("models.retrieval.two_tower:TwoTower", "models.two_tower:TwoTower"),
    "TwoTowerConfig": (
        "models.retrieval.two_tower:TwoTowerConfig",
        "models.two_tower:TwoTowerConfig",
    ),
    "HSTU": ("models.sequential.hstu:HSTU", "models.hstu:HSTU"),
    "HSTUConfig": ("models.sequential.hstu:HSTUConfig", "models.hstu:HSTUConfig"),
    "fit": ("training.ranking.fit:fit", "training.fit:fit"),
    "FitConfig": ("training.ranking.fit:FitConfig", "training.fit:FitConfig"),
    "fit_retriever": ("training.retrieval.fit:fit_retriever", "training.retrieval:fit_retriever"),
    "RetrievalConfig": (
        "training.retrieval.fit:RetrievalConfig",
        "training.retrieval:RetrievalConfig",
    ),
    "fit_sequential": (
        "training.sequential.fit:fit_sequential",
        "training.sequential:fit_sequential",
    ),
    "SequentialConfig": (
        "training.sequential.config:SequentialConfig",
        "training.sequential_config:SequentialConfig",
    ),
    "RunFolder": ("training.loop.run_folder:RunFolder", "training.checkpoint:RunFolder"),
    "Texts": ("training.tuning.texts:Texts", "training.texts:Texts"),
    "TuneConfig": ("training.tuning.config:TuneConfig", "training.tune_config:TuneConfig"),
    "tune": ("training.tuning.tune:tune", "training.tune:tune"),
    "tune_jobs": ("training.tuning.jobs:tune_jobs", "training.tune_jobs:tune_jobs"),
    # A tuning among several; it may get a name that says more.
    "Job": (
        "training.tuning.jobs:Job",
        "training.tuning.jobs:TuningJob",
        "training.tune_jobs:Job",
    ),
    "apply": ("tuning.methods:apply", "lm.tuning.methods:apply"),
    "load_tuned": ("tuning.methods:load_tuned", "lm.tuning.methods:load_tuned"),
    "LoRA": ("tuning.reparameterised.lora:LoRA", "lm.tuning.lora:LoRA"),
    "LoRAFA": ("tuning.efficient.lora_fa:LoRAFA", "lm.tuning.lora_fa:LoRAFA"),
}


def by_name(key: str) -> Any:
    """What stands under `key` in NAMES, in whichever layout is importable."""
    for path in NAMES[key]:
        module, _, name = f"adwright.{path}".partition(":")
        try:
            found = getattr(import_module(module), name, None)
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("adwright"):
                raise
            continue
        if found is not None:
            return found
    raise ImportError(f"adwright has {key} in none of the known places: {', '.join(NAMES[key])}")
