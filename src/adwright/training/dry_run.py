"""What a training would do, without training: everything that can be checked before the first step
is checked, and the sizes are told.

A few steps are tried on the real data, without an update, so that memory and time are measured and
not guessed; they are rough all the same.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter

from torch import Tensor, nn

from adwright.core.errors import AssetError
from adwright.core.progress import duration
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.sources.log import describe, open_log
from adwright.data.sources.movielens import MovieLens
from adwright.data.tasks.task import Task
from adwright.models.ranking.union import ranker_model
from adwright.training.loop.loop import require_startable
from adwright.training.loop.run_folder import RunFolder
from adwright.training.loop.threads import torch_threads
from adwright.training.ranking.config import DecidedRun, RunConfig, TaskConfig, decide, open_task
from adwright.training.ranking.fit import open_stream, require_both_labels, run_folder
from adwright.training.ranking.run import models_of
from adwright.training.search import begun_runs, require_open, seeded
from adwright.training.sequential.fit import SequenceSamples
from adwright.training.sequential.fit import run_folder as sequence_folder
from adwright.training.sequential.run import by_visits, decided_run, fit_of, model_of
from adwright.training.sequential.runfile import SequenceRun, open_sequences

#: Steps that are tried, of which the first one warms up and is not timed.
_TRIED = 4
#: What a whole step costs of one that is tried, which lacks the optimiser's share but warms up
#: (measured: 0.98 to 1.14 for DIN and its base model on 70,000 and 500,000 rows); and scoring a row
#: of training it (0.31 to 0.59).
_WHOLE_STEP, _SCORING = 1.05, 0.45
#: The same of a sequence model, its validation included: 0.85 to 1.44 for HSTU and SASRec.
_WHOLE_SEQUENCE_STEP = 1.2
#: A time may be so many times shorter or longer: tries of the same model differ by a fifth either
#: way. The memory of a training was up to 1.5 times what was tried.
_ROUGH, _MEMORY = 1.3, 1.6
_JOURNEY = "Complete Journey, which is downloaded first (31 MB)"


def plan_ranking(
    config: RunConfig, *, resume: bool = False, overwrite: bool = False
) -> dict[str, str]:
    """What `run` would do, as facts by name.

    Raises what `run` would raise before its first step. A task that is not built yet is not built:
    its source is opened, and the model is not tried then.
    """
    models = models_of(config)
    folders = {name: config.out / "runs" / name.lower() for name in models}
    check_out(config.out, "ranker", folders.values(), resume=resume, overwrite=overwrite)
    facts = {"trains": ", ".join(models), "writes": f"{config.out / 'ranker'}"}
    if config.task.kind != "folder":
        return facts | _source(config.task)
    task = open_task(config.task)
    require_both_labels(task)
    decided = decide(config, task)
    fit = replace(decided.fit, seed=config.seed)
    for name in begun_runs(folders, resume=resume, stop_now=False):
        require_startable(run_folder(task, fit, folders[name]), resume=True)
    facts |= _task_facts(task) | {"defaults": "; ".join(decided.why)}
    sizes: dict[str, int] = {}
    each = after = 0.0
    with torch_threads(config.threads):
        for name, model_config in models_of(decided).items():
            build = partial(ranker_model, model_config, task.spec, task.item_table)
            model = seeded(config.seed, build)
            sizes[name] = _parameters(model)
            stream = open_stream(task, "train", replace(fit.stream, seed=config.seed))
            batches = (batch for batch, _ in stream.epoch())
            row = _seconds_a_unit((model.loss(batch), len(batch)) for batch in batches)
            epoch, once = _rows_of(task, decided)
            each, after = each + row * epoch, after + row * once
    least = min(fit.patience + 1, fit.epochs)
    return facts | _costs(sizes, each, after, (least, fit.epochs))


def plan_sequence(
    config: SequenceRun, *, resume: bool = False, overwrite: bool = False
) -> dict[str, str]:
    """What `run_sequence` would do, as facts by name; raises what it would raise before its first
    step. Complete Journey is not downloaded: without it, the model is not tried."""
    name, folder = config.model.title, config.out / "run"
    check_out(config.out, "model", [folder], resume=resume, overwrite=overwrite)
    facts = {"trains": name, "writes": f"{config.out / 'model'}"}
    if config.data.kind == "journey" and not _is_there(offline=config.data.offline):
        return facts | {"data": _JOURNEY}
    data = open_sequences(config.data)
    config, why = decided_run(config, data)
    sequences, fit = data.sequences, config.fit
    facts |= {
        "data": sequences.name,
        "people": f"{len(sequences):,}",
        "events": f"{len(sequences.item):,} of {sequences.items:,} items",
        "own items again": "stay candidates" if data.allow_repeats else "are left out",
    }
    if data.why or why:
        facts["defaults"] = "; ".join((*data.why, *why))
    model = model_of(config, data)
    if begun_runs({name: folder}, resume=resume, stop_now=False):
        asked = fit_of(config, data)
        run = sequence_folder(model, sequences, asked, folder, given=by_visits(config, data))
        require_startable(run, resume=True)
    samples = SequenceSamples(
        sequences,
        config.model.max_length,
        train_on_validation=fit.train_on_validation,
        all_windows=fit.all_windows,
        stochastic_length=fit.stochastic_length,
        seed=config.seed,
    )
    batches = samples.epoch(0, fit.batch)
    with torch_threads(config.threads):
        read = (samples.read(chosen, step) for step, chosen in enumerate(batches))
        step = _seconds_a_unit((model.loss(batch), 1) for batch in read)
    each = step * len(batches) * _WHOLE_SEQUENCE_STEP
    least = min(fit.patience * fit.validate_every + 1, fit.epochs)
    if fit.train_on_validation:
        least = fit.epochs
    return facts | _costs({name: _parameters(model)}, each, 0.0, (least, fit.epochs))


def check_out(
    out: Path, saved: str, runs: Iterable[Path], *, resume: bool, overwrite: bool
) -> None:
    """Raise what a run would raise of its folder: ResourceError where it cannot be written or holds
    what may not be replaced, ConfigError where it holds a run. Nothing is written.

    out: of the run. saved: what it will hold, such as "model". runs: the folders of its trainings.
    """
    require_open(out, saved, overwrite=overwrite)
    for folder in runs if not (resume or overwrite) else ():
        RunFolder(folder, {}, "").require_new()


def _source(config: TaskConfig) -> dict[str, str]:
    """What the task will be built from."""
    later = "built first, or taken from the cache; the model is tried when it is there"
    match config.kind:
        case "log" if config.folder is not None:
            found = describe(open_log(config.folder))
            kinds = ", ".join(f"{kind} {n:,}" for kind, n in found.kinds.items())
            said = f"{config.folder}: {found.events:,} events of {found.users:,} people ({kinds})"
        case "movielens":
            MovieLens.open(offline=config.offline)
            said = "MovieLens 100k"
        case _ if _is_there(offline=config.offline):
            said = "Complete Journey, in the cache"
        case _:
            said = _JOURNEY
    return {"data": said, "task": later}


def _is_there(*, offline: bool) -> bool:
    """Whether Complete Journey is in the cache. Raises AssetError where it is not, and a run could
    not have it either."""
    try:
        CompleteJourney.open(offline=True)
    except AssetError:
        if offline or os.environ.get("ADWRIGHT_OFFLINE", "") not in ("", "0"):
            raise
        return False
    return True


def _task_facts(task: Task) -> dict[str, str]:
    counts = task.meta["splits"]
    rows = (
        f"{split} {count['rows']:,} ({count['positives'] / max(count['rows'], 1):.1%} positive)"
        for split, count in counts.items()
    )
    people = (f"{split} {count['users']:,}" for split, count in counts.items())
    return {
        "data": str(task.folder),
        "rows": ", ".join(rows),
        "people": ", ".join(people),
        "items": f"{task.items.height:,}",
        "features": ", ".join(f"{one.name} ({one.kind})" for one in task.spec.features),
    }


def _rows_of(task: Task, config: DecidedRun) -> tuple[float, float]:
    """Training rows that cost as much as what a model trains on and scores: in each epoch, and
    afterwards."""
    counts = task.meta["splits"]
    train, rate = counts["train"], config.fit.stream.negative_rate
    trained = train["positives"] + rate * (train["rows"] - train["positives"])
    validated = counts["valid"]["rows"] * config.fit.validations_per_epoch * _SCORING
    tested = counts["test"]["rows"] * _SCORING
    # The mean of two models is scored, too.
    mean = validated + tested if config.base and config.mix else 0.0
    return float(trained * _WHOLE_STEP + validated), float(tested + mean)


def _seconds_a_unit(losses: Iterator[tuple[Tensor, int]]) -> float:
    """Seconds of a forward and a backward pass, by units that each loss is of."""
    seconds: list[float] = []
    counts: list[int] = []
    start = perf_counter()
    for loss, count in islice(losses, _TRIED):
        loss.backward()  # type: ignore[no-untyped-call]
        seconds.append(perf_counter() - start)
        counts.append(count)
        start = perf_counter()
    first = min(1, len(seconds) - 1)
    return sum(seconds[first:]) / max(sum(counts[first:]), 1)


def _parameters(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def _costs(
    sizes: Mapping[str, int], each: float, after: float, epochs: tuple[int, int]
) -> dict[str, str]:
    """Facts of the cost. each: seconds of an epoch; after: of what follows the last one. epochs:
    the fewest, where validation is never better, and the most."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes but for macOS. Beside what was tried: the best weights, and the optimiser's state.
    measured = peak * (1 if sys.platform == "darwin" else 1024)
    needed = measured + 4 * 3 * max(sizes.values())
    least, most = epochs
    low, high = ((each * n + after) * factor for n, factor in ((least, 1 / _ROUGH), (most, _ROUGH)))
    number = f"{most}" if least == most else f"{least} to {most}"
    return {
        "parameters": ", ".join(f"{name} {size:,}" for name, size in sizes.items()),
        "memory": f"{needed / 1e9:.1f} to {_MEMORY * needed / 1e9:.1f} GB",
        "time": f"{duration(low)} to {duration(high)} for {number} epochs, on this machine as busy "
        "as it is",
    }
