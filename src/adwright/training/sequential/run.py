"""From a run file to a saved sequence model: read the sequences, train, measure, save.

    OUT/
      config.json      what was asked for
      defaults.txt     what followed from the data, and why
      run              the training run, resumable
      report.json      the model beside the simple rules, on the test
      model            the artifact, with its own report.json

Training events fit the weights, validation stops the training, the test is measured once.

The simple rules that a sequence model has to beat, on the questions that it was asked.

Which rules there are, see `models.retrieval.rules`; their settings are chosen on validation, as the
model's are.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import to_jsonable
from adwright.data.sequences.datasets import NextLog, log_of_sequences, log_of_task
from adwright.metrics.ranking import Ranks
from adwright.metrics.reports.report import EvaluationProtocol, RankingComparison, compare_rankings
from adwright.models.sequential.union import RetrieverConfig, SequenceRetriever, sequence_retriever
from adwright.training.loop.loop import LoopOptions
from adwright.training.loop.stage_timer import Stages
from adwright.training.loop.threads import torch_threads
from adwright.training.loop.trainee import Callback, WritesDown
from adwright.training.retrieval.fit import retrieved_ranks
from adwright.training.retrieval.rules import fit_rules, rules_ranks
from adwright.training.search import (
    Defaults,
    SearchResult,
    TrainedRun,
    begun_runs,
    require_open,
    saved_run,
    seeded,
)
from adwright.training.sequential.artifact import SequenceArtifact
from adwright.training.sequential.fit import SequentialConfig, fit_sequential
from adwright.training.sequential.ranks import (
    rank_next,
    some_visits,
    visit_scorer,
    visit_validation,
)
from adwright.training.sequential.runfile import (
    FROM_DATA,
    SequenceData,
    SequenceRun,
    default_run,
    open_sequences,
    sequence_defaults,
    sequence_search,
)


def next_log(data: SequenceData) -> NextLog:
    """The data of a run as rules read it."""
    if data.task is not None:
        return log_of_task(data.task)
    return log_of_sequences(data.sequences, data.categories)


def baseline_ranks(
    data: SequenceData, asked: NDArray[np.int64], *, depth: int, seed: int = 0
) -> Mapping[str, Ranks]:
    """Ranks of the test's targets by each rule, by the rule's name in a table.

    asked: int64 [Q], rising, the users whose held event is asked; for a task, all of its test's
    visits are, and this is passed over. depth: of the lists; what is not in them has the rank
    `depth` + 1. seed: of the questions that settings are chosen on.
    """
    log = next_log(data)
    rules = fit_rules(log, repeats=data.allow_repeats, seed=seed)
    test = log.test
    if data.task is None:
        test = test.some(np.searchsorted(test.user, asked))
    return rules_ranks(rules, log, test, unseen=not data.allow_repeats, depth=depth)


#: Length of a visit's ranked list that is measured.
DEPTH = 50


def run_sequence(
    config: SequenceRun,
    *,
    data: SequenceData | None = None,
    resume: bool = False,
    stop_now: bool = False,
    overwrite: bool = False,
    callbacks: Sequence[Callback] = (),
    search: int = 0,
    tell: Callable[[str], None] | None = None,
) -> TrainedRun[SequenceArtifact]:
    """Train, measure and save the model of `config` in `config.out`/model.

    data: used instead of reading `config.data`. resume: continue an interrupted run with the same
    config, or with more epochs; where there is none, a new one begins with a warning. stop_now:
    close the run that was begun: take no further step, measure and save what is best so far.
    overwrite: replace a model and its training run that are there. callbacks: told how it goes.
    search: 0, or trials of a search for better settings by the validation (`sequence_search`).
    tell: takes each sentence about a setting that followed from the data, before the training.
    The model reads no times where the data has none, and scores no repeats where items do not.
    Raises ResourceError where the model exists (without `overwrite`) or the folder cannot be
    written, ResumeError where a run cannot be taken up, and as `open_sequences` and
    `fit_sequential` do.
    """
    done, out, resume = Stages(), config.out, resume or stop_now
    require_open(out, "model", overwrite=overwrite)
    name = config.model.title
    begun = name in begun_runs({name: out / "run"}, resume=resume, stop_now=stop_now)
    if data is None:
        with done.stage("read the sequences"):
            data = open_sequences(config.data)
    asked, searched = config, None
    config, why = decided_run(config, data)
    why = (*data.why, *why)
    if search:
        with done.stage("search"), torch_threads(config.threads):
            config, searched = _searched(config, data, search)
        why = (*why, searched.sentence())
    if tell is not None:
        for sentence in why:
            tell(sentence)
    model = model_of(config, data)
    text = json.dumps(to_jsonable(asked), indent=1) + "\n"
    callbacks = (WritesDown(out / "config.json", text), *callbacks)
    if why:
        told = "\n".join(why) + "\n"
        callbacks = (WritesDown(out / "defaults.txt", told), *callbacks)
    if overwrite and not resume and (out / "run").exists():
        shutil.rmtree(out / "run")
    fit, validate = fit_of(config, data), None
    if by_visits(config, data) and data.task is not None:
        visits = some_visits(data.task, fit.validation_people, config.seed)
        validate = visit_validation(model, data.task, visits, depth=DEPTH, k=fit.k)
    how: LoopOptions = {"resume": begun, "stop_now": stop_now, "callbacks": callbacks}
    with done.stage(f"train {name}"), torch_threads(config.threads):
        fit_sequential(model, data.sequences, fit, out / "run", validate=validate, **how)
    with done.stage("measure"), torch_threads(config.threads):
        comparison = _compared(name, model, config, data)
    artifact = SequenceArtifact.of(
        model,
        data.sequences,
        seed=config.seed,
        report=comparison.reports[name],
        files={"comparison.json": comparison.to_json().encode("utf-8")},
        final=config.fit.train_on_validation,
    )
    return saved_run(artifact, comparison, out, done, overwrite=overwrite, why=why, search=searched)


def decided_run(config: SequenceRun, data: SequenceData) -> tuple[SequenceRun, tuple[str, ...]]:
    """The run on `data` with nothing left to it, and why its settings are as they are.

    Of the names in `from_data`, those whose setting is no longer that of `default_run` were said
    in Python, and stay.
    """
    if not config.from_data:
        return config, ()
    plain = default_run(config.model.kind, own=True)
    setting = attrgetter(*FROM_DATA)
    same = {n for n, a, b in zip(FROM_DATA, setting(config), setting(plain), strict=True) if a == b}
    left = [name for name in config.from_data if name in same]
    found = sequence_defaults(
        data.sequences,
        config.model.kind,
        repeats=data.allow_repeats,
        model=config.model,
        fit=config.fit,
        chosen=left,
    )
    fit = replace(found.fit, exclude_seen=True)
    return replace(config, model=found.model, fit=fit, from_data=()), found.why


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


def model_of(config: SequenceRun, data: SequenceData) -> SequenceRetriever:
    """The model of a run with first weights, which reads nothing that the data lacks."""
    sequences, asked = data.sequences, _readable(config, data)
    items, count, context = sequences.items, sequences.count, sequences.context_sizes
    return seeded(
        config.seed, lambda: sequence_retriever(asked, items, count=count, context_sizes=context)
    )


def _readable(config: SequenceRun, data: SequenceData) -> RetrieverConfig:
    """The model's config without what the data lacks."""
    asked = config.model if data.allow_repeats else replace(config.model, repeats=False)
    return asked if data.sequences.time is not None else asked.without_time()


def fit_of(config: SequenceRun, data: SequenceData) -> SequentialConfig:
    """How the model of a run is trained on its data."""
    return replace(config.fit, seed=config.seed, exclude_seen=not data.allow_repeats)


def by_visits(config: SequenceRun, data: SequenceData) -> bool:
    """Whether visits validate, and not the event before each user's last."""
    return data.task is not None and not config.fit.train_on_validation


def _compared(
    name: str, model: SequenceRetriever, config: SequenceRun, data: SequenceData
) -> RankingComparison:
    """The model and the rules on the test."""
    sequences, task, unseen = data.sequences, data.task, not data.allow_repeats
    ranks: dict[str, Ranks] = {}
    if task is not None:
        asked = task.visits("test")
        person = task.visit_user[asked]
        score = visit_scorer(model, task)
        ranks[name] = retrieved_ranks(score, task, asked, depth=DEPTH, unseen=unseen).ranks()
    else:
        found = rank_next(model, sequences, "test", unseen=unseen)
        ranks[name], person = found.ranks, found.people
    ranks |= baseline_ranks(data, person, depth=DEPTH, seed=config.seed)
    return compare_rankings(
        ranks,
        person,
        subject=name,
        protocol=EvaluationProtocol(
            split=sequences.protocol,
            candidates=f"all {sequences.items:,} items",
            ties="by a hash" if task is None else "by a hash of visit and item",
            seen_items="not removed" if data.allow_repeats else "removed",
            k=(10, DEPTH),
        ),
        data_hash=sequences.data_hash,
        seed=config.seed,
        draws=config.draws,
    )
