"""Tuning and inference over one base, in one process and one thread of computation.

The aim is that of FlexLLM (Miao et al., 2024, arXiv 2402.18789): inference keeps a bound on its
latency, and tuning has what is left. There, tokens of both are fused into one pass over the
weights. Here tuning is interrupted at the borders of its decoder layers
(`tuning.packing.preemption`), and what runs there is a pass of the serving engine: one token of
every answer that is being written, and a slice of the prompts that wait. On a processor this is the
simpler of the two: a forward pass of tuning comes once in a step, answers want a token many times
in that time. What fusing would gain was not tried.

Two rules decide at a border at time t whether a pass runs.

    due       t + slice + pass > last pass + token_bound, where answers are being written, or
              t + slice + passes left * pass > arrival + first_bound, where a prompt waits
    in credit inference has used less than its share

slice is what tuning took to the next border when it was at this one before (a part of the head
takes longer than a layer), pass what a pass takes, both as observed; a seventh of each bound is
kept in hand. A pass that is due runs whatever it costs: where the load is too high for both
promises, the bounds are kept and the share is not. Only a slice that is longer than the bound
itself goes on after one pass: no second one would help. One that is not due runs if there is
credit, one a border: of each second of tuning, inference earns (1 - share) / share seconds, and
never holds more than `burst`. So a light load is answered at once, and a heavy one in batches, as
late as its bound allows: a pass over eight rows costs little more than over one.

    models = ServedBeside(share_base(model), tokens, name="base", config=...)
    beside = Beside(models, Bounds())
    tune_jobs(model, jobs, run, border=beside.border)         # answers meanwhile

TuningThread: tune the jobs of a file in a thread that answers requests between its layers.

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

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Protocol

import numpy as np

from adwright.core.config import Count, Gt, Lt, Positive, settings
from adwright.core.errors import AdwrightError, ConfigError, ResourceError
from adwright.lm.serving.config import ServingConfig
from adwright.lm.serving.engine import AdapterModels
from adwright.lm.serving.scheduler import AnswerRow, Row
from adwright.training.tuning.run import JobsRun, LoadedJobs, TuningReport

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from adwright.lm.engine.hf_tokens import HuggingFaceTokens


#: What an estimate keeps of itself when a smaller value is seen: bounds are about the worst.
_FADES = 0.95
#: Of a bound, what is planned with.
_PLANNED = 0.85
_OUTSIDE = ServingConfig(drive="outside")
#: Latencies that are remembered.
_REMEMBERED = 100_000


@settings
class Bounds:
    """What is promised to inference and to tuning.

    token_bound, first_bound: seconds from one token of an answer to the next, and from a request
    to its first token. share: of the time that is tuning's where the load allows it. prompt_tokens:
    the most tokens of prompts in a pass, which bounds what a pass takes. burst: seconds of credit.

    Raises ConfigError for bounds that are not above 0, or a share that is not between 0 and 1.
    """

    token_bound: Positive = 0.2
    first_bound: Positive = 0.6
    share: Annotated[float, Gt(0), Lt(1)] = 0.7
    prompt_tokens: Count = 64
    burst: Positive = 0.5


@dataclass(frozen=True)
class Pending:
    """Work that waits. writing: answers that have begun. since: when the first of the requests
    came that have no token yet, None without one. prompt_tokens: of these, not read yet."""

    writing: int
    since: float | None
    prompt_tokens: int


class InferenceWork(Protocol):
    """What answers between the slices of tuning."""

    def pending(self) -> Pending | None:
        """What waits, None where nothing does; asked at each border."""

    def serve(self, prompt_tokens: int) -> None:
        """One bounded piece of it: a token of each answer, and so many of prompts at most, 0 for
        none of a request that has no token yet."""


@dataclass
class Times:
    """Seconds of tuning and of inference since the first border, and how often each was chosen.

    due: passes that had to run; in_credit: those that were run ahead of that. longest: of the
    slices of tuning.
    """

    tuning: float = 0.0
    inference: float = 0.0
    due: int = 0
    in_credit: int = 0
    longest: float = 0.0

    @property
    def share(self) -> float:
        """Of the time, what was tuning's; 1 where nothing ran."""
        whole = self.tuning + self.inference
        return self.tuning / whole if whole else 1.0


@dataclass
class _Estimate:
    """An estimate of seconds that rises at once and falls slowly."""

    value: float = 0.0

    def see(self, seconds: float) -> None:
        """Take in one observation."""
        self.value = max(seconds, _FADES * self.value)


class Beside:
    """Runs inference at the borders of tuning. work: what there is to do. clock: seconds, the
    same that `Pending.since` is told in."""

    def __init__(
        self,
        work: InferenceWork,
        bounds: Bounds = Bounds(),  # noqa: B008  # frozen
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.work, self.bounds, self.times, self._clock = work, bounds, Times(), clock
        self._reading, self._writing = _Estimate(), _Estimate()
        self._slices: dict[str, _Estimate] = {}
        self._place = ""
        self._credit = bounds.burst
        self._left: float | None = None
        self._last_pass = -math.inf

    def border(self, place: str = "") -> None:
        """For `between_layers` and `tune_jobs`: runs the passes that are due or in credit.

        place: where tuning is, by which the time to the next border is foretold.
        """
        now = self._clock()
        if self._left is not None:
            spent = now - self._left
            self._slices.setdefault(self._place, _Estimate()).see(spent)
            self.times.tuning += spent
            self.times.longest = max(self.times.longest, spent)
            earned = spent * (1 - self.bounds.share) / self.bounds.share
            self._credit = min(self.bounds.burst, self._credit + earned)
        self._place, ahead = place, True
        while (pending := self.work.pending()) is not None:
            due = self.due(now, pending)
            if not due and not (ahead and self._credit > 0):
                break
            ahead = False
            self.times.due += due
            self.times.in_credit += not due
            now = self._pass(now, pending, due=due)
        self._left = self._clock()

    def drain(self) -> None:
        """Answer all that waits, when tuning is over."""
        while self.work.pending() is not None:
            self.work.serve(self.bounds.prompt_tokens)
        self._left = None

    def due(self, now: float, pending: Pending) -> bool:
        """Whether the slice of tuning that comes next would break a bound."""
        slice_ = self._slices.get(self._place)
        later = now + (0.0 if slice_ is None else slice_.value)
        # A pass reads what waits of prompts too.
        takes = self._writing if pending.since is None else self._reading
        written = (
            pending.writing
            # Two in a row help no request.
            and self._last_pass < now
            and later + takes.value > self._written_by(_PLANNED)
        )
        return bool(written) or self._first_due(later, pending)

    def _written_by(self, planned: float = 1.0) -> float:
        return self._last_pass + planned * self.bounds.token_bound

    def _first_due(self, later: float, pending: Pending) -> bool:
        if pending.since is None:
            return False
        bounds = self.bounds
        passes = max(1, -(-pending.prompt_tokens // bounds.prompt_tokens))
        return later + passes * self._reading.value > pending.since + _PLANNED * bounds.first_bound

    def _pass(self, now: float, pending: Pending, *, due: bool) -> float:
        reads = pending.since is not None
        # A prompt that came during the slice was not planned with: it has time, answers have not.
        if reads and pending.writing and now + self._reading.value > self._written_by():
            reads = self._first_due(now, pending)
        self.work.serve(self.bounds.prompt_tokens if reads else 0)
        end = self._clock()
        (self._reading if reads else self._writing).see(end - now)
        self.times.inference += end - now
        self._credit -= end - now
        if due:
            # What had to be is not held against what comes later, but for a while.
            self._credit = max(self._credit, -self.bounds.burst)
        self._last_pass = end
        return end


@dataclass
class _Watched:
    """A request with the times of its arrival and its last token."""

    job: Row
    since: float
    tokens: int
    last: float | None = None


@dataclass
class Latencies:
    """Seconds from a request to its first token (firsts), and from a token to the next (gaps)."""

    firsts: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    gaps: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))


class ServedBeside(AdapterModels):
    """`AdapterModels` that are driven from the borders of tuning, and keep their latencies.

    model: over the weights that are tuned on, a tree of its own (`share_base`). clock: seconds,
    that of `Beside`. Everything else, errors too, as `AdapterModels`; its `drive` must be
    "outside", or ConfigError is raised.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokens: HuggingFaceTokens,
        *,
        name: str,
        note: str = "",
        config: ServingConfig = _OUTSIDE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if config.drive != "outside":
            raise ConfigError(
                "models that are served beside tuning are driven by it",
                where=f"drive = {config.drive}",
                hint='ServingConfig(drive="outside")',
            )
        super().__init__(model, tokens, name=name, note=note, config=config)
        self.latencies, self._clock = Latencies(), clock
        self._watched: list[_Watched] = []
        self._watching = threading.Lock()

    def submit(self, jobs: Sequence[Row]) -> None:
        """As `AdapterModels.submit`; the requests have come now."""
        self.submit_since(jobs, self._clock())

    def submit_since(self, jobs: Sequence[Row], since: float) -> None:
        """The requests came at that time, by the clock."""
        super().submit(jobs)
        with self._watching:
            self._watched += [_Watched(job, since, len(job.tokens)) for job in jobs]

    def pending(self) -> Pending | None:
        """As `InferenceWork`."""
        with self._watching:
            self._watched = [one for one in self._watched if not one.job.over]
            if not self._watched:
                return None
            # An answer whose pages were taken reads all of its tokens again, as a prompt.
            waiting = [one for one in self._watched if one.last is None or one.job.left > 1]
            came = (one.since if one.last is None else one.last for one in waiting)
            return Pending(
                writing=len(self._watched) - len(waiting),
                since=min(came, default=None),
                prompt_tokens=sum(one.job.left for one in waiting),
            )

    def serve(self, prompt_tokens: int) -> None:
        """As `InferenceWork`: one pass, whose new tokens are noted."""
        with self._watching:
            live = list(self._watched)
        self.step(prompt_tokens)
        now = self._clock()
        for one in live:
            if isinstance(one.job, AnswerRow) and len(one.job.tokens) > one.tokens:
                if one.last is None:
                    self.latencies.firsts.append(now - one.since)
                else:
                    self.latencies.gaps.append(now - one.last)
                one.tokens, one.last = len(one.job.tokens), now


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
    ) -> None:
        self.beside = Beside(models, bounds or Bounds())
        self.error: AdwrightError | None = None
        self._jobs, self._models, self._resume = jobs, models, resume
        self._tell, self._every, self._told_at = tell, every, time.monotonic()
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
        now = time.monotonic()
        if not self._every or now - self._told_at < self._every:
            return
        self._told_at = now
        found = [f"tuning had {self.beside.times.share:.0%} of the time"]
        latencies = self._models.latencies
        for name, seconds in (("first token", latencies.firsts), ("token", latencies.gaps)):
            if seconds:
                found.append(f"{name} p99 {1000 * np.quantile(list(seconds), 0.99):.0f} ms")
        self._tell(f"step {steps}: {', '.join(found)}")
