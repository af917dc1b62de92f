"""fit() and tune() on a Ray cluster: the same processes and sums, started and restarted by Ray
Train.

Ray gives the workers a gloo process group, in which both divide each batch as they do under
torchrun. A worker that dies takes the group with it; Ray starts a new one, which resumes from
the run's checkpoint, so the result is that of a run without the accident.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import distributed, nn

from adwright.core.environment import environment
from adwright.core.errors import AdwrightError, ConfigError, MissingExtraError
from adwright.data.tasks.task import Task
from adwright.training.loop.loop import require_startable as run_startable
from adwright.training.loop.trainee import Callback
from adwright.training.ranking.fit import FitConfig, FitResult, fit, load_best, run_folder
from adwright.training.tuning.texts import Texts
from adwright.training.tuning.tune import TuneConfig, TuneResult, require_startable, tune
from adwright.tuning.tuned import Tuned

#: Batches are read from files: the object store holds next to nothing.
_OBJECT_STORE_BYTES = 100 * 2**20
#: Nothing is sent anywhere, and a worker's end is noticed at once.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
}
#: On one machine alone: no node is taken away from it, but it may be busy.
_ALONE = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
}


def fit_on_ray(
    make_model: Callable[[Task], nn.Module],
    task_folder: str | Path,
    config: FitConfig,
    run: str | Path,
    *,
    workers: int = 2,
    resume: bool = False,
    retries: int = 0,
    callbacks: Sequence[Callback] = (),
) -> tuple[nn.Module, FitResult]:
    """Train with `workers` processes of Ray Train; returns the trained model and what `fit` does.

    make_model: builds the model; called in each worker and here. Only the first worker's
    weights count. task_folder, run: as for fit(), at paths that all nodes of the cluster see.
    resume: continue the run of that folder. retries: how often a group of workers that died
    is started again, from the last checkpoint. callbacks: travel to the first worker by value.
    Runs on the cluster that this process is connected to or that RAY_ADDRESS names, else on
    one of its own on this machine, which ends with the call; each worker takes one CPU.
    Raises MissingExtraError where Ray is not installed, and what fit() raises.
    """
    require_ray(workers, retries)
    run, task = Path(run).resolve(), Task.open(Path(task_folder).resolve())
    # What fit() would refuse is refused before any worker starts.
    run_startable(run_folder(task, config, run), resume=resume)
    folder = task.folder

    def work(*, resume: bool) -> None:
        there = Task.open(folder)
        fit(make_model(there), there, config, run, resume=resume, callbacks=callbacks)

    _in_workers(work, run, workers, retries, resume=resume)
    model = make_model(task)
    return model, load_best(model, run)


def tune_on_ray(
    make_tuned: Callable[[], Tuned],
    texts: Texts,
    config: TuneConfig,
    run: str | Path,
    *,
    valid: Texts | None = None,
    workers: int = 2,
    resume: bool = False,
    retries: int = 0,
) -> tuple[Tuned, TuneResult]:
    """Tune with `workers` processes of Ray Train; returns the tuned model and what `tune` does, its
    seconds those of the first worker.

    make_tuned: loads the base and attaches the method; called in each worker and twice here. Only
    the first worker's weights count. texts, valid: travel to the workers by value. run: as for
    tune(), at a path that all nodes see. resume, retries, and where it runs: as for fit_on_ray.
    Raises MissingExtraError where Ray is not installed, and what tune() raises.
    """
    require_ray(workers, retries)
    run = Path(run).resolve()
    # What tune() would refuse is refused before any worker starts.
    require_startable(make_tuned(), texts, config, run, valid=valid, resume=resume)

    def work(*, resume: bool) -> None:
        tune(make_tuned(), texts, config, run, valid=valid, resume=resume)

    _in_workers(work, run, workers, retries, resume=resume)
    tuned = make_tuned()
    # The run has ended: resuming it takes no step, and puts the best weights in place.
    return tuned, tune(tuned, texts, config, run, valid=valid, resume=True)


def require_ray(workers: int, retries: int) -> None:
    """Raise ConfigError for counts out of range, MissingExtraError where Ray is not installed."""
    if workers < 1 or retries < 0:
        raise ConfigError(
            "workers must be at least 1 and retries at least 0",
            where=f"workers {workers}, retries {retries}",
        )
    if find_spec("ray") is None:
        raise MissingExtraError("training on Ray", "ray")


def _work(settings: dict[str, Any]) -> None:
    """Train in a worker; all of them resume where there is a run."""
    # The folder was free when the run began: what is in it now is of workers that died.
    begun = bool(settings["resume"]) or (settings["run"] / "config.json").exists()
    distributed.barrier()
    settings["work"](resume=begun)


def _in_workers(
    work: Callable[..., None], run: Path, workers: int, retries: int, *, resume: bool
) -> None:
    """Call `work` in all workers, with a folder for Ray's own files."""
    # Beside the run's own files, since all nodes see this folder; it holds no results.
    scratch, on_interrupt = run / "ray", signal.getsignal(signal.SIGINT)
    try:
        with environment(_ENVIRONMENT), ray_cluster(workers):
            from ray.train import FailureConfig, RunConfig, ScalingConfig
            from ray.train.torch import TorchConfig, TorchTrainer

            trainer = TorchTrainer(
                _work,
                train_loop_config={"work": work, "run": run, "resume": resume},
                torch_config=TorchConfig(backend="gloo"),
                scaling_config=ScalingConfig(num_workers=workers, resources_per_worker={"CPU": 1}),
                run_config=RunConfig(
                    name="run",
                    storage_path=str(scratch),
                    failure_config=FailureConfig(max_failures=retries),
                ),
            )
            trainer.fit()
    except Exception as error:
        if (ours := _cause(error)) is None:
            raise
        raise ours from error
    finally:
        # Ray Train puts a handler of its own in place, in the main thread alone, and leaves it.
        if signal.getsignal(signal.SIGINT) is not on_interrupt:
            signal.signal(signal.SIGINT, on_interrupt)
        shutil.rmtree(scratch, ignore_errors=True)


def _cause(error: BaseException) -> AdwrightError | None:
    """Find the error of adwright behind an error of Ray, that of the first worker if it has one."""
    failures: Mapping[int, BaseException] = getattr(error, "worker_failures", {})
    behind: list[object] = [failures[rank] for rank in sorted(failures)]
    behind += [getattr(error, name, None) for name in ("controller_failure", "cause", "__cause__")]
    for one in behind:
        if isinstance(one, AdwrightError):
            return one
        found = _cause(one) if isinstance(one, BaseException) else None
        if found is not None:
            return found
    return None


@contextmanager
def ray_cluster(workers: int) -> Iterator[None]:
    """Connect to Ray: as it is, to RAY_ADDRESS, or to a cluster of this machine alone."""
    import ray
    import ray.train.torch

    if ray.is_initialized():
        yield
        return
    alone = "RAY_ADDRESS" not in os.environ
    with environment(_ALONE if alone else {}):
        if alone:
            # Without "local" Ray would join whatever cluster runs on this machine.
            ray.init(
                address="local",
                num_cpus=max(workers, os.cpu_count() or 1),
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
            )
        else:
            ray.init()
        try:
            yield
        finally:
            ray.shutdown()
