"""HSTU trained on the visits of a next-basket task: as a retriever, and as a ranker of choices.

Both read the same sequences (`sequences_of_task`, split as the task is). Each is a resumable run
in a folder of its own; a run that is complete is taken as it stands.
"""

from __future__ import annotations

import json
from pathlib import Path

from adwright.data.sequences.datasets import sequences_of_task
from adwright.data.sequences.item_sequences import ItemSequences
from adwright.data.tasks.negatives import Draws
from adwright.data.tasks.next_basket import NextBasket
from adwright.models.sequential.choice_ranker import ChoiceRanker
from adwright.models.sequential.hstu import HSTU, HSTUConfig
from adwright.models.sequential.hstu_ranker import HSTURankerConfig
from adwright.training.run_settings import seeded
from adwright.training.sequential.artifact import SequenceArtifact
from adwright.training.sequential.choice_validation import choice_validation, some_visits
from adwright.training.sequential.config import SequentialConfig
from adwright.training.sequential.fit import Validate, fit_sequential
from adwright.training.sequential.visit_ranks import visit_validation

__all__ = ["VISITS_FILE", "fit_choice_ranker", "fit_task_retriever"]

#: File in the artifact of a ranker of choices: how many visits it was trained on.
VISITS_FILE = "visits.json"
#: k of the retriever's recall.
_DEPTH = 50


def fit_task_retriever(
    task: NextBasket, model: HSTUConfig, fit: SequentialConfig, run: str | Path
) -> SequenceArtifact:
    """Train HSTU to predict what users take next, in the folder `run`, resumed where there is one.

    Unless `fit.train_on_validation`, the epoch of the best recall among 50 items stays, on the
    validation visits of `fit.validation_people`. Raises as `fit_sequential`.
    """
    sequences = sequences_of_task(task, split="task")
    made = seeded(fit.seed, lambda: HSTU(model, sequences.items, count=sequences.count))
    validate = None
    if not fit.train_on_validation:
        visits = some_visits(task, fit.validation_people, fit.seed)
        depth = min(_DEPTH, sequences.items)
        validate = visit_validation(made, task, visits, depth=depth, k=min(fit.k, depth))
    _fitted(made, sequences, fit, Path(run), validate)
    return SequenceArtifact.of(made, sequences, seed=fit.seed)


def fit_choice_ranker(
    task: NextBasket,
    model: HSTURankerConfig,
    fit: SequentialConfig,
    run: str | Path,
    *,
    draws: Draws | None = None,
) -> SequenceArtifact:
    """Train an HSTU ranker to tell what users take from drawn negatives (by default `Draws()`),
    in the folder `run`, resumed where there is one.

    Unless `fit.train_on_validation`, the epoch of the lowest log loss on the validation visits
    stays. The artifact is of an `HSTURanker` and has the number of training visits in visits.json.
    Raises as `fit_sequential`.
    """
    sequences, drawn = sequences_of_task(task, split="task"), draws or Draws()
    made = seeded(
        fit.seed,
        lambda: ChoiceRanker(model, sequences.items, draws=drawn, count=sequences.count),
    )
    validate = None
    if not fit.train_on_validation:
        visits = some_visits(task, fit.validation_people, fit.seed)
        validate = choice_validation(made, task, visits, seed=fit.seed)
    _fitted(made, sequences, fit, Path(run), validate)
    about = json.dumps({"visits": len(task.visits("train"))})
    return SequenceArtifact.of(
        made, sequences, seed=fit.seed, files={VISITS_FILE: about.encode("utf-8")}
    )


def _fitted(
    model: HSTU | ChoiceRanker,
    sequences: ItemSequences,
    fit: SequentialConfig,
    run: Path,
    validate: Validate | None,
) -> None:
    resume = (run / "config.json").exists()
    fit_sequential(model, sequences, fit, run, validate=validate, resume=resume)
