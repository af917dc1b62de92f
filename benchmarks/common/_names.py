"""Names of adwright that were in another place before the rooms had rooms of their own.

by_name("fit")      # adwright.training.ranking.fit.fit, or what adwright.training.fit has
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

#: What the trainees use of adwright: where it is now, and where it was.
NAMES: dict[str, tuple[str, ...]] = {
    "MovieLens": ("data.sources.movielens:MovieLens", "data.movielens:MovieLens"),
    "movielens_task": (
        "data.tasks.response:build_movielens_task",
        "data.tasks.movielens:build_movielens_task",
        "data.movielens_task:build_movielens_task",
    ),
    "MOVIELENS_FEATURES": (
        "data.tasks.response:MOVIELENS_FEATURES",
        "data.tasks.movielens:MOVIELENS_FEATURES",
        "data.movielens_task:MOVIELENS_FEATURES",
    ),
    "build_visits": ("data.tasks.next_basket:build_visits", "data.next_basket:build_visits"),
    "sequences_of_table": (
        "benchmarks.sequential.sequence_files:sequences_of_table",
        "data.sequences.datasets:sequences_of_table",
        "data.sequence_sets:sequences_of_table",
    ),
    "StochasticLength": (
        "data.sequences.stochastic_length:StochasticLength",
        "data.stochastic_length:StochasticLength",
    ),
    "StreamConfig": ("data.batches.stream:StreamConfig", "data.stream:StreamConfig"),
    "EmbeddingConfig": (
        "models.calibration:EmbeddingConfig",
        "models.embeddings:EmbeddingConfig",
    ),
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
        "training.sequential.fit:SequentialConfig",
        "training.sequential.config:SequentialConfig",
        "training.sequential_config:SequentialConfig",
    ),
    "RunFolder": ("training.loop.run_folder:RunFolder", "training.checkpoint:RunFolder"),
    "Texts": ("training.tuning.texts:Texts", "training.texts:Texts"),
    "TuneConfig": (
        "training.tuning.tune:TuneConfig",
        "training.tuning.config:TuneConfig",
        "training.tune_config:TuneConfig",
    ),
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
    "LoRAFA": (
        "tuning.efficient:LoRAFA",
        "tuning.efficient.memory:LoRAFA",
        "tuning.efficient.lora_fa:LoRAFA",
        "lm.tuning.lora_fa:LoRAFA",
    ),
}
#: What `_speeds` uses beside it.
MORE_NAMES: dict[str, tuple[str, ...]] = {
    "CompleteJourney": (
        "data.sources.complete_journey:CompleteJourney",
        "data.complete_journey:CompleteJourney",
    ),
    "ResponseConfig": ("data.tasks.response:ResponseConfig", "data.response:ResponseConfig"),
    "build_response_task": (
        "data.tasks.response:build_response_task",
        "data.response:build_response_task",
    ),
    "build_next_basket": (
        "data.tasks.next_basket_sources:build_next_basket",
        "data.retrieval_tasks:build_next_basket",
    ),
    "choice_catalogue": (
        "data.tasks.choice:choice_catalogue",
        "data.choice_task:choice_catalogue",
    ),
    "choice_features": ("data.tasks.choice:choice_features", "data.choice_task:choice_features"),
    "Draws": ("data.tasks.negatives:Draws", "data.draws:Draws"),
    "fit_spec": ("data.features:fit_spec",),
    "Jagged": ("data.batches.jagged:Jagged", "data.jagged:Jagged"),
    "SequenceBatch": (
        "data.sequences.item_sequences:SequenceBatch",
        "data.item_sequences:SequenceBatch",
    ),
    "HCN": ("models.retrieval.multi_interest:HCN", "models.retrieval.hcn:HCN", "models.hcn:HCN"),
    "HCNConfig": (
        "models.retrieval.multi_interest:HCNConfig",
        "models.retrieval.hcn:HCNConfig",
        "models.hcn:HCNConfig",
    ),
    "HSTUStack": ("models.sequential.hstu:HSTUStack", "models.hstu:HSTUStack"),
    "SequenceTokens": (
        "models.sequential.sequence_model:SequenceTokens",
        "models.sequence_model:Tokens",
    ),
    "HSTURanker": ("models.sequential.hstu_ranker:HSTURanker", "models.hstu_ranking:HSTURanker"),
    "HSTURankerConfig": (
        "models.sequential.hstu_ranker:HSTURankerConfig",
        "models.hstu_ranking:HSTURankerConfig",
    ),
    "Falcon": ("models.sequential.mfalcon:Falcon", "models.falcon:Falcon"),
    "predict": (
        "training.ranking.fit:predict",
        "training.ranking.predict:predict",
        "training.predict:predict",
    ),
    "Ranker": ("training.ranking.ranker:Ranker", "training.ranker:Ranker"),
    "RetrieverArtifact": (
        "training.retrieval.fit:RetrieverArtifact",
        "training.retrieval.artifact:RetrieverArtifact",
        "delivery.retrieval:RetrieverArtifact",
    ),
    "Deployment": (
        "delivery.cascade.build:Deployment",
        "delivery.cascade.deployment:Deployment",
        "delivery.deployment:Deployment",
    ),
    "Histories": ("delivery.stages.histories:Histories", "delivery.histories:Histories"),
    "visit_requests": (
        "delivery.stages.histories:visit_requests",
        "delivery.histories:visit_requests",
    ),
    "GenerationConfig": ("lm.engine.generation:GenerationConfig",),
    "HuggingFaceTokens": ("lm.engine.hf_tokens:HuggingFaceTokens",),
    "ServingConfig": ("lm.serving.config:ServingConfig", "lm.serving.engine:ServingConfig"),
    "AdapterModels": ("lm.serving.engine:AdapterModels",),
}


def by_name(key: str) -> Any:
    """What stands under `key` in the tables, in whichever layout is importable."""
    places = (NAMES | MORE_NAMES)[key]
    for path in places:
        whole = path if path.startswith("benchmarks.") else f"adwright.{path}"
        module, _, name = whole.partition(":")
        try:
            found = getattr(import_module(module), name, None)
        except ImportError as error:
            if not (error.name or "").startswith(("adwright", "benchmarks")):
                raise
            continue
        if found is not None:
            return found
    raise ImportError(f"adwright has {key} in none of the known places: {', '.join(places)}")
