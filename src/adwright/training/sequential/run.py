"""From a run file to a saved sequence model: read the sequences, train, measure, save.

    OUT/
      config.json      what was asked for
      run              the training run, resumable
      report.json      the model beside popularity and personal frequency, on the test
      model            the artifact, with its own report.json

Training events fit the weights, validation stops the training, the test is measured once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock
from adwright.core.config import to_jsonable
from adwright.metrics.ranks import Ranks
from adwright.metrics.reports.comparison import RankingComparison, compare_rankings
from adwright.metrics.reports.report import EvaluationProtocol
from adwright.models.sequential.union import (
    RetrieverConfig,
    SequenceRetriever,
    sequence_retriever,
)
from adwright.training.defaults import Defaults
from adwright.training.loop.stage_timer import Stages
from adwright.training.loop.threads import torch_threads
from adwright.training.retrieval.ranks import retrieved_ranks
from adwright.training.run_settings import require_free, seeded
from adwright.training.search import SearchResult
from adwright.training.sequential.artifact import SequenceArtifact
from adwright.training.sequential.baselines import Rule, rank_by_rule, visit_rule
from adwright.training.sequential.choice_validation import some_visits
from adwright.training.sequential.defaults import sequence_search
from adwright.training.sequential.fit import SequentialResult, fit_sequential
from adwright.training.sequential.ranks import rank_next
from adwright.training.sequential.runfile import SequenceData, SequenceRun, open_sequences
from adwright.training.sequential.visit_ranks import visit_scorer, visit_validation

__all__ = ["SequenceResult", "run_sequence"]

#: Length of a visit's ranked list that is measured.
DEPTH = 50
_RULES: Mapping[str, Rule] = {"Popularity": "popularity", "Personal frequency": "frequency"}


@dataclass(frozen=True, eq=False)
class SequenceResult:
    """What `run_sequence` trained and measured.

    artifact: the saved one. comparison: on the test, the model first. fitted: how training went.
    stages: name -> seconds. folder: of the run. id: of the artifact. search: its trials, if any.
    """

    artifact: SequenceArtifact
    comparison: RankingComparison
    fitted: SequentialResult
    stages: Mapping[str, float]
    folder: Path
    id: str
    search: SearchResult | None = None


def run_sequence(
    config: SequenceRun,
    *,
    data: SequenceData | None = None,
    resume: bool = False,
    overwrite: bool = False,
    clock: Clock | None = None,
    search: int = 0,
) -> SequenceResult:
    """Train, measure and save the model of `config` in `config.out`/model.

    data: used instead of reading `config.data`. resume: continue an interrupted run with the same
    config. overwrite: replace a model and its training run that are there. search: 0, or trials of
    a search for better settings by the validation (`sequence_search`).
    The model reads no times where the data has none, and scores no repeats where items do not.
    Raises ResourceError where the model exists (without `overwrite`), ResumeError where a run
    cannot be taken up, and as `open_sequences` and `fit_sequential` do.
    """
    done, out = Stages(clock), config.out
    if not overwrite:
        require_free(out / "model", "a model")
    if data is None:
        with done.stage("read the sequences"):
            data = open_sequences(config.data)
    atomic_write_text(out / "config.json", json.dumps(to_jsonable(config), indent=1) + "\n")
    name, searched = config.model.title, None
    if search:
        with done.stage("search"), torch_threads(config.threads):
            config, searched = _searched(config, data, search)
    if overwrite and not resume and (out / "run").exists():
        shutil.rmtree(out / "run")
    with done.stage(f"train {name}"), torch_threads(config.threads):
        model = _model(config, data)
        fitted = _fit(model, config, data, resume=resume)
    with done.stage("measure"), torch_threads(config.threads):
        comparison = _compared(name, model, config, data)
    with done.stage("save"):
        artifact = SequenceArtifact.of(
            model,
            data.sequences,
            seed=config.seed,
            report=comparison.reports[name],
            files={"comparison.json": comparison.to_json().encode("utf-8")},
        )
        identity = artifact.save(out / "model", overwrite=overwrite, clock=clock)
        atomic_write_text(out / "report.json", comparison.to_json())
    return SequenceResult(artifact, comparison, fitted, dict(done.seconds), out, identity, searched)


def _searched(
    config: SequenceRun, data: SequenceData, trials: int
) -> tuple[SequenceRun, SearchResult]:
    """The run with the best settings of so many trials, which are kept in its folder."""
    unseen, task = not data.allow_repeats, data.task
    before = Defaults(_readable(config, data), replace(config.fit, exclude_seen=unseen), ())
    validate = None
    if task is not None:
        asked = some_visits(task, config.fit.validation_people, config.seed)
        validate = partial(visit_validation, task=task, visits=asked, depth=DEPTH, k=config.fit.k)
    found, result = sequence_search(
        data.sequences,
        before,
        trials=trials,
        folder=config.out / "search",
        seed=config.seed,
        validate=validate,
    )
    return replace(config, model=found.model, fit=replace(found.fit, exclude_seen=True)), result


def _model(config: SequenceRun, data: SequenceData) -> SequenceRetriever:
    """A model with first weights, which reads nothing that the data lacks."""
    sequences, asked = data.sequences, _readable(config, data)
    items, count, context = sequences.items, sequences.count, sequences.context_sizes
    return seeded(
        config.seed, lambda: sequence_retriever(asked, items, count=count, context_sizes=context)
    )


def _readable(config: SequenceRun, data: SequenceData) -> RetrieverConfig:
    """The model's config without what the data lacks."""
    asked = config.model if data.allow_repeats else replace(config.model, repeats=False)
    return asked if data.sequences.time is not None else asked.without_time()


def _fit(
    model: SequenceRetriever, config: SequenceRun, data: SequenceData, *, resume: bool
) -> SequentialResult:
    fit = replace(config.fit, seed=config.seed, exclude_seen=not data.allow_repeats)
    validate = None
    if data.task is not None and not fit.train_on_validation:
        asked = some_visits(data.task, fit.validation_people, config.seed)
        validate = visit_validation(model, data.task, asked, depth=DEPTH, k=fit.k)
    folder = config.out / "run"
    return fit_sequential(
        model,
        data.sequences,
        fit,
        folder,
        validate=validate,
        resume=resume and folder.exists(),
    )


def _compared(
    name: str, model: SequenceRetriever, config: SequenceRun, data: SequenceData
) -> RankingComparison:
    """The model and the rules on the test."""
    sequences, task, unseen = data.sequences, data.task, not data.allow_repeats
    ranks: dict[str, Ranks] = {}
    if task is not None:
        asked = task.visits("test")
        person = task.visit_user[asked]
        scorers = {name: visit_scorer(model, task)}
        scorers |= {about: visit_rule(rule, task) for about, rule in _RULES.items()}
        for about, score in scorers.items():
            ranks[about] = retrieved_ranks(score, task, asked, depth=DEPTH, unseen=unseen).ranks()
    else:
        found = rank_next(model, sequences, "test", unseen=unseen)
        ranks[name], person = found.ranks, found.people
        for about, rule in _RULES.items():
            ranks[about] = rank_by_rule(rule, sequences, "test", person, unseen=unseen)
    return compare_rankings(
        ranks,
        person,
        subject=name,
        protocol=EvaluationProtocol(
            split=sequences.protocol,
            candidates=f"all {sequences.items:,} items",
            ties="by a hash" if task is None else "as a partial sort leaves them",
            seen_items="not removed" if data.allow_repeats else "removed",
            k=(10, DEPTH),
        ),
        data_hash=sequences.data_hash,
        seed=config.seed,
        draws=config.draws,
    )
