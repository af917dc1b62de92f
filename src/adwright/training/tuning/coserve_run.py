"""TuningThread: tune the jobs of a file in a thread that answers requests between its layers.

    base, tokens, note = load_causal(TorchConfig(asked.model))
    models = ServedBeside(share_base(base), tokens, name="base")
    tuning = TuningThread(LoadedJobs(asked, base, tokens.tokenizer, note), models, Bounds())
    tuning.start()
    ...                            # models["base"].generate(...), from any thread
    tuning.close()                 # a run that is not done can be resumed

When a job is done its adapter is registered under the job's name. When all are, or the tuning
fails, the thread goes on answering until it is closed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection

import numpy as np

from adwright.core.errors import AdwrightError, ConfigError, ResourceError
from adwright.training.tuning.coserve import Beside, Bounds, ServedBeside
from adwright.training.tuning.run import JobsRun, LoadedJobs, TuningReport

__all__ = ["TuningThread", "check_coserving"]

#: Seconds after which a thread that has nothing to answer looks whether it is closed.
_IDLE_SECONDS = 0.05


def check_coserving(asked: JobsRun, served: Collection[str], *, resume: bool = False) -> None:
    """Raise ConfigError, naming the key, for what would fail after the model has been loaded:
    no jobs, a job without a file of texts, a name that is served already, a run that is there
    without `resume`, or that is not there with it. served: names of models.
    """
    if not asked.jobs:
        raise ConfigError("there are no jobs", where="jobs", hint="add a table [[jobs]]")
    for number, job in enumerate(asked.jobs):
        if job.name in served:
            raise ConfigError(
                f"a model named {job.name!r} is served already",
                where=f"jobs[{number}].name",
                hint="give the job another name",
            )
        if not job.data.path.is_file():
            raise ConfigError(
                f"there is no file {job.data.path}",
                where=f"jobs[{number}].data.path",
                hint="a path that does not begin with / is taken from the working folder",
            )
    if (asked.out / "config.json").exists() != resume:
        there = "there is no run to resume" if resume else "there is a run already"
        hint = "leave --resume out" if resume else "pass --resume, or name another folder by --out"
        raise ConfigError(there, where=f"out = {asked.out}", hint=hint)


class TuningThread:
    """Tunes `jobs` and answers for `models`, in one thread. tell: called with lines on how far it
    is. every: seconds between those, 0 for none but when a job is done. bounds: None for the
    defaults."""

    def __init__(
        self,
        jobs: LoadedJobs,
        models: ServedBeside,
        bounds: Bounds | None = None,
        *,
        resume: bool = False,
        tell: Callable[[str], None] = lambda _: None,
        every: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.beside = Beside(models, bounds or Bounds(), clock=clock)
        self.error: AdwrightError | None = None
        self._jobs, self._models, self._resume = jobs, models, resume
        self._tell, self._every, self._clock, self._told_at = tell, every, clock, clock()
        self._stopping, self._tuned = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="adwright-coserving", daemon=True)

    def start(self) -> None:
        """Begin to tune and to answer."""
        self._thread.start()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the tuning has ended; whether it has."""
        return self._tuned.wait(seconds)

    def close(self) -> None:
        """End the tuning after its current step, with a checkpoint, and then the thread.

        Raises the error that the tuning ended with.
        """
        self._stopping.set()
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            reports = self._jobs.run(
                resume=self._resume,
                on_step=self._step,
                on_done=self._done,
                border=self.beside.border,
                stop=self._stopping.is_set,
            )
            left = len(self._jobs.jobs) - len(reports)
            self._tell(f"{left} jobs are not done; --resume goes on" if left else "all jobs done")
        except AdwrightError as error:
            self.error = error
            self._tell(f"the tuning failed: {error}")
        except Exception as error:  # whatever it is, the answers go on
            self.error = ResourceError(f"the tuning failed: {error!r}", hint="resume the run")
            self._tell(f"the tuning failed: {error!r}")
        self._tuned.set()
        while not self._stopping.is_set():
            self.beside.drain()
            if not self._models.step():
                self._models.wait(_IDLE_SECONDS)

    def _done(self, name: str, report: TuningReport) -> None:
        self._models.add(name, self._jobs.asked.out / name / "tuned")
        nats = "" if report.valid_nll is None else f", {report.valid_nll:.4f} nats on held texts"
        self._tell(f"{name}: tuned in {report.steps} steps{nats}; served from now on")

    def _step(self, steps: int) -> None:
        now = self._clock()
        if self._every and now - self._told_at >= self._every:
            self._told_at = now
            self._tell(f"step {steps}: {self._progress()}")

    def _progress(self) -> str:
        found = [f"tuning had {self.beside.times.share:.0%} of the time"]
        latencies = self._models.latencies
        for name, seconds in (("first token", latencies.firsts), ("token", latencies.gaps)):
            if seconds:
                found.append(f"{name} p99 {1000 * np.quantile(list(seconds), 0.99):.0f} ms")
        return ", ".join(found)
