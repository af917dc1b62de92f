"""train(): the loop behind everything that is trained.

The loop seeds the random numbers of each step by its position, refuses a loss that is not finite,
validates, keeps the best weights, stops when patience runs out, tells how it goes, and keeps the
run folder, from which a run that was killed goes on and ends with the same bits. Ctrl-C leaves a
checkpoint of the last step behind. Under torchrun or Ray Train the processes stay together: all
begin with the weights of the first one, which alone writes.
What differs between models is in their `Trainee`.

What a run says of itself: to the person who waits for it, and to the callbacks.

The first process alone speaks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Generic, Literal, TypedDict, TypeVar

import numpy as np
import torch
from torch import Tensor

from adwright.core.clock import Clock, SystemClock
from adwright.core.errors import ConfigError, ResumeError
from adwright.core.hashing import content_hash
from adwright.core.progress import Progress, Rhythm, duration, progress, say
from adwright.training.loop.distributed import (
    gather,
    on_first,
    process_group,
    rank,
    told_by_first,
    world_size,
)
from adwright.training.loop.run_folder import Interrupts, RunFolder, RunPosition
from adwright.training.loop.trainee import (
    Callback,
    Outcome,
    RunBegins,
    RunEnds,
    StepDone,
    StepLoss,
    Trainee,
    ValidationDone,
)


class Telling:
    """Speaks for a run of `trainee`. clock: measures what is left of it."""

    def __init__(self, trainee: Trainee[Any], callbacks: Sequence[Callback], clock: Clock) -> None:
        self._trainee, self._callbacks, self._clock = trainee, tuple(callbacks), clock
        self._rhythm, self._last = Rhythm(clock), ""
        self._began, self._first_epoch = clock.monotonic(), 0
        #: Those that were told of the beginning.
        self._told: list[Callback] = []

    @property
    def pauses(self) -> bool:
        """Whether a callback asks the run to end here for now."""
        return any(getattr(callback, "pauses", False) for callback in self._callbacks)

    def begin(self, at: RunPosition, run: RunFolder | None) -> None:
        """The run begins, or goes on, at `at`."""
        self._began, self._first_epoch = self._clock.monotonic(), at.epoch
        if rank():
            return
        if run is not None and run.grown:
            said = "; ".join(f"{name} is now {to} and was {was}" for name, was, to in run.grown)
            say(f"the run goes on for longer: {said}{self._trainee.when_longer}")
        trainee = self._trainee
        told = RunBegins(
            name="" if run is None else run.path.name,
            folder=None if run is None else run.path,
            settings=trainee.asked,
            epochs=trainee.loop.epochs,
            step=at.steps,
        )
        for callback in self._callbacks:
            callback.on_begin(told)
            self._told.append(callback)

    def bar(self, at: RunPosition, now: Callable[[], RunPosition]) -> AbstractContextManager[Any]:
        """Show what is left of the epoch. now: how far the run is."""
        trainee = self._trainee
        left = trainee.left(at)
        if rank() or left == 0:
            return nullcontext(Progress())

        def note() -> str:
            here = now()
            loss = f"loss {here.mean_loss:.4g}" if here.loss_count else ""
            return ", ".join(filter(None, (loss, self._last)))

        return progress(
            left,
            trainee.label(at),
            trainee.unit,
            note=note,
            rhythm=self._rhythm,
            clock=self._clock,
        )

    def step(self, at: RunPosition, found: StepLoss) -> None:
        """A step was taken, after which the run is at `at`."""
        if not self._callbacks or rank():
            return
        rate = next(
            (
                float(group["lr"])
                for optimiser in self._trainee.optimisers.values()
                for group in optimiser.param_groups
            ),
            0.0,
        )
        told = StepDone(at.epoch + 1, at.steps, found.loss / max(found.count, 1), rate)
        for callback in self._callbacks:
            callback.on_step(told)

    def validation(
        self,
        at: RunPosition,
        goal: float | None,
        measures: Mapping[str, Any],
        *,
        is_best: bool,
        is_end: bool,
    ) -> None:
        """Something was measured, after which the run is at `at`.

        is_best: no validation was better. is_end: it ended an epoch.
        """
        if rank():
            return
        trainee = self._trainee
        told = ValidationDone(
            epoch=at.epoch + 1,
            step=at.steps,
            goal=trainee.goal if trainee.goal in measures else "goal",
            value=goal,
            best=at.best,
            measures=measures,
            is_best=is_best,
            stops=trainee.is_finished(at),
        )
        if goal is not None:
            self._last = f"{told.goal} {measures.get(trainee.goal, goal):.4f}"
            compared = self._compared(at, told, is_end)
            say(f"{trainee.label(at)}, step {at.steps:,}: {self._last}{compared}")
        for callback in self._callbacks:
            callback.on_validation(told)

    def end(self, at: RunPosition, outcome: Outcome | None = None) -> None:
        """The run ends at `at`. outcome: None where it came to its own end."""
        if rank():
            return
        if outcome is None:
            outcome = "early stop" if self._trainee.is_finished(at) else "paused"
            if at.epoch >= self._trainee.loop.epochs:
                outcome = "all epochs"
        if outcome == "closed":
            kept = f"of epoch {at.best_epoch}" if at.best_epoch else "as they are"
            say(f"closed after step {at.steps:,}: the weights {kept} are kept")
        told = RunEnds(at.epoch, at.steps, at.best, at.best_epoch, outcome)
        told_of_begin, self._told = self._told, []
        for callback in told_of_begin:
            callback.on_end(told)

    def _compared(self, at: RunPosition, told: ValidationDone, is_end: bool) -> str:
        """How it compares with the best, and whether and how long the run goes on."""
        patience = self._trainee.loop.patience
        said = ", the best so far"
        if not told.is_best:
            said = f", best {at.best:.4f} in epoch {at.best_epoch}"
        if told.stops:
            times = "one validation" if at.worse == 1 else f"{at.worse} validations"
            return f"{said}; stops after {times} without a better one"
        if not told.is_best:
            said += f" ({at.worse} of {patience} without a better one)"
        epochs = self._trainee.loop.epochs - at.epoch - 1
        if not is_end or epochs < 1:
            return said
        spent = self._clock.monotonic() - self._began
        left = epochs * spent / (at.epoch + 1 - self._first_epoch)
        return f"{said}; at most {duration(left)} left"


B = TypeVar("B")
#: Seconds between two pictures of a run that goes on.
_PICTURE_SECONDS = 60.0


class LoopOptions(TypedDict, total=False):
    """What every training takes beside model, data, config and run folder, and hands to `train`.

    resume: continue from the folder's checkpoint; more epochs than at its start may be asked for.
    stop_now: close the run that is resumed, with the best weights so far. callbacks: told how it
    goes, see `Callback`. on_step: called after each step with the number of steps done. clock: of
    times that are told or written, the machine's own by default.
    """

    resume: bool
    stop_now: bool
    callbacks: Sequence[Callback]
    on_step: Callable[[int], None] | None
    clock: Clock | None


def train(
    trainee: Trainee[B],
    run: RunFolder | None = None,
    *,
    resume: bool = False,
    stop_now: bool = False,
    callbacks: Sequence[Callback] = (),
    on_step: Callable[[int], None] | None = None,
    clock: Clock | None = None,
) -> RunPosition:
    """Train to the end; afterwards the model holds the best validation's weights, or the last ones
    where nothing was measured. Returns how far the run came.

    run: its folder; None keeps nothing. resume: continue from the folder's checkpoint; without it
    an existing run is refused. stop_now: take no further step of the run that is resumed, and
    measure it where that was not done yet. callbacks: see `Callback`.
    on_step: called after each step with the number of steps done.
    Under torchrun called alike in all processes, which see the same folders.
    Raises ConfigError (an existing run without resume, a loss or goal that is not finite, processes
    that were asked for different runs, nothing to close), ResumeError (no run, or one of something
    else), ResourceError (disk full; in the other processes whatever the first one failed of).
    """
    if stop_now and (run is None or not resume):
        raise ConfigError(
            "only a run that is resumed can be closed", where="stop_now", hint="set resume, too"
        )
    clock = clock or SystemClock()
    telling = Telling(trainee, callbacks, clock)
    loop = _Loop(trainee, run, on_step or (lambda _: None), clock, telling)
    try:
        with process_group():
            loop.begin(resume=resume)
            # The random numbers of a step must not disturb those of the caller.
            with trainee.during():
                with torch.random.fork_rng(devices=[]):
                    if stop_now:
                        loop.close()
                    else:
                        loop.all_epochs()
                loop.end()
    except BaseException as error:
        telling.end(loop.at, "interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        raise
    telling.end(loop.at, "closed" if stop_now else None)
    return loop.at


def require_startable(run: RunFolder, *, resume: bool) -> None:
    """Raise what `train` would refuse before its first step; nothing is written."""
    if resume:
        run.require_same()
    else:
        run.require_new()


class _Loop(Generic[B]):
    """The state of one run; `train` is its only user."""

    def __init__(
        self,
        trainee: Trainee[B],
        run: RunFolder | None,
        on_step: Callable[[int], None],
        clock: Clock,
        telling: Telling,
    ) -> None:
        self.trainee, self.run, self.on_step, self.clock = trainee, run, on_step, clock
        self.telling, self.interrupts = telling, Interrupts()
        self.at, self.saved_at = RunPosition(), -1
        self.best: dict[str, Tensor] = {}
        self.drawn = clock.monotonic()
        #: The state of the last checkpoint, where the run may go back to it.
        self.kept: tuple[RunPosition, dict[str, Any], dict[str, Tensor]] | None = None

    def begin(self, *, resume: bool) -> None:
        """Start a run, or take up the one in the folder."""
        self._require_one_run(resume)
        run = self.run
        if run is not None and resume:
            # The first one removes what a kill left before the others look.
            on_first(lambda: self._load(run))
            if rank():
                self._load(run)
        else:
            self.trainee.same_in_all()
            if run is not None:
                on_first(lambda: run.begin(self.at, self.trainee.state(), self._tensors()))
            self._keep()
        self.telling.begin(self.at, run)

    def all_epochs(self) -> None:
        """All epochs that are left; Ctrl-C leaves a checkpoint of the last step behind."""
        trainee = self.trainee
        with self.interrupts.watched(alone=world_size() == 1):
            try:
                while self.at.epoch < trainee.loop.epochs and not trainee.is_finished(self.at):
                    if self.telling.pauses:
                        break
                    if self._epoch():
                        self._end_of_epoch()
            except KeyboardInterrupt:
                if self.run is not None and self.interrupts.whole:
                    self._write(self.run)
                    say(f"checkpoint of step {self.at.steps:,} in {self.run.path}")
                raise

    def close(self) -> None:
        """Take no further step; measure once where that was to be done and was not yet."""
        trainee = self.trainee
        last = replace(self.at, epoch=trainee.loop.epochs - 1)
        if not self.at.records and trainee.is_due_after_epoch(last):
            self._take(*self._validated(), is_end=False)
            self._save()

    def end(self) -> None:
        """Put the best weights in place."""
        if self.best:
            self.trainee.saved.load_state_dict(self.best)
        self.trainee.finish(self.at)
        if not self.telling.pauses:  # what pauses goes on, and is drawn then
            self._draw(seconds=0.0)

    def _epoch(self) -> bool:
        """Train on the rest of an epoch; whether it was read to its end."""
        trainee = self.trainee
        batches = iter(trainee.epoch(self.at))
        while True:
            trainee.train_mode()
            with self.telling.bar(self.at, lambda: self.at) as bar:
                why = self._steps(batches, bar)
            if why == "due":
                self._validate_within()
            elif why == "pause":
                # Measured in the midst of an epoch, where that was not just done, and all of it is
                # kept. Patience counts what an epoch brings, so a part that is no better uses none.
                if self.at.loss_count and trainee.is_due_after_epoch(self.at):
                    self._validate_within(counts=False)
                else:
                    self._save()
            if why != "due" or trainee.is_finished(self.at):
                return why == "end"

    def _steps(self, batches: Iterator[B], bar: Progress) -> Literal["end", "due", "pause", "stop"]:
        """Train to the end of the batches, until a validation with a bar of its own is due, until a
        callback asks for a pause, or until the run stops here: it is finished, or went back."""
        trainee = self.trainee
        for batch in batches:
            with self.interrupts.step():
                taken = self._step(batch, bar)
            if not taken:
                return "stop"
            if trainee.is_due(self.at):
                if trainee.shows_validation:
                    return "due"
                self._validate_within()
                trainee.train_mode()
            else:
                if trainee.is_checkpoint_due(self.at):
                    self._save()
                self.on_step(self.at.steps)
            if trainee.is_finished(self.at):
                return "stop"
            if self.telling.pauses and trainee.left(self.at) != 0:
                return "pause"
        return "end"

    def _validate_within(self, *, counts: bool = True) -> None:
        try:
            found = self._validated()
        except KeyboardInterrupt:
            # A run that goes on from this step would leave the validation out.
            self.interrupts.whole = False
            raise
        with self.interrupts.step():
            self._take(*found, is_end=False, counts=counts)
        self._save()
        self.on_step(self.at.steps)

    def _end_of_epoch(self) -> None:
        due = self.trainee.is_due_after_epoch(self.at)
        found = self._validated() if due else (None, {})
        # As one step: a run that was interrupted between would validate again.
        with self.interrupts.step():
            if due:
                self._take(*found, is_end=True)
            self.at = self.at.next_epoch()
        # Where nothing was measured, the checkpoint of the last step says the same.
        if due or self.at.steps != self.saved_at:
            self._save()

    def _step(self, batch: B, bar: Progress) -> bool:
        """One update; False where the run went back instead."""
        trainee, at = self.trainee, self.at
        # Of the position alone, so that a resumed run draws the same numbers.
        again = [at.rollbacks] if at.rollbacks else []
        key = np.random.SeedSequence([trainee.loop.seed, at.steps, rank(), *again])
        seed = int(key.generate_state(1)[0])
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_available():
            torch.cuda.manual_seed(seed)
        for optimiser in trainee.optimisers.values():
            optimiser.zero_grad()
        found = trainee.gradients(batch, at)
        if not math.isfinite(found.loss):
            self._go_back()
            return False
        trainee.update(at)
        trainee.counted(found)
        self.at = at.after(found.loss, found.count)
        bar.advance(found.shown)
        self.telling.step(self.at, found)
        return True

    def _go_back(self) -> None:
        """To the last checkpoint, where that is asked for. Raises ConfigError where it is not."""
        trainee, at = self.trainee, self.at
        if self.kept is None or at.rollbacks >= trainee.loop.rollbacks:
            raise ConfigError(
                "the loss is no longer a finite number",
                where=f"epoch {at.epoch + 1}, step {at.steps + 1} of the run",
                hint=trainee.hint,
            )
        kept, state, tensors = self.kept
        self.best = trainee.load_tensors({k: v.clone() for k, v in tensors.items()})
        self.best = self.best if kept.best is not None else {}
        trainee.load_state(state)
        self.at = replace(kept, rollbacks=at.rollbacks + 1)
        trainee.rolled_back(self.at.rollbacks)
        self._save()

    def _validated(self) -> tuple[float | None, dict[str, Any]]:
        """Goal and measures of the present weights, the same in all processes."""
        together = self.trainee.validates_together or world_size() == 1
        goal, measures = self._measured() if together else told_by_first(self._measured)
        return goal, measures

    def _take(
        self, goal: float | None, measures: dict[str, Any], *, is_end: bool, counts: bool = True
    ) -> None:
        """Note a validation, which ends the epoch or does not, and keep the best weights. counts:
        against patience, where it is no better."""
        trainee, at = self.trainee, self.at
        better = goal is None or at.best is None
        if goal is not None and at.best is not None:
            better = goal > at.best if trainee.higher_is_better else goal < at.best
        if better and goal is not None:
            now = trainee.saved.state_dict()
            self.best = {name: value.detach().clone() for name, value in now.items()}
        self.at = at.validated(goal, {**trainee.line(at), **measures}, better=better)
        if not (better or counts):
            self.at = replace(self.at, worse=at.worse)
        trainee.validated()
        self.telling.validation(self.at, goal, measures, is_best=better, is_end=is_end)

    def _measured(self) -> tuple[float | None, dict[str, Any]]:
        goal, measures = self.trainee.validate(self.at)
        if goal is not None and not math.isfinite(goal):
            raise ConfigError(
                "the goal of the validation is not a finite number",
                where=f"{goal} after epoch {self.at.epoch + 1}, step {self.at.steps}",
                hint="validate on people and items that can be measured",
            )
        return goal, measures

    def _save(self) -> None:
        if (run := self.run) is not None:
            on_first(lambda: self._write(run))
            self._draw(seconds=_PICTURE_SECONDS)
        self.saved_at = self.at.steps
        self._keep()

    def _write(self, run: RunFolder) -> None:
        trainee, at = self.trainee, self.at
        run.save(at, trainee.state(), self._tensors(), trainee.records(at))

    def _load(self, run: RunFolder) -> None:
        trainee = self.trainee
        run.require_same()
        self.at, state, tensors = run.load(trainee.renamed)
        try:
            best = trainee.load_tensors(tensors)
        except ValueError as error:
            hint = "build the model as at the start of the run"
            raise ResumeError(str(error), where=str(run.path), hint=hint) from error
        try:
            trainee.load_state(state)
        except (KeyError, TypeError, ValueError) as error:
            raise run.unreadable(error) from error
        self.best = best if self.at.best is not None else {}
        self.saved_at = self.at.steps
        if self.at.rollbacks:
            trainee.rolled_back(self.at.rollbacks)
        if rank() == 0:
            run.tidy(trainee.records(self.at))
        self._keep()

    def _tensors(self) -> dict[str, Tensor]:
        return self.trainee.tensors(self.best)

    def _keep(self) -> None:
        if self.trainee.loop.rollbacks:
            tensors = {name: value.detach().clone() for name, value in self._tensors().items()}
            self.kept = (self.at, self.trainee.state(), tensors)

    def _draw(self, *, seconds: float) -> None:
        """Draw the curves, unless that was done less than so many seconds ago."""
        now, run = self.clock.monotonic(), self.run
        if run is None or rank() or now - self.drawn < seconds:
            return
        run.draw(self.trainee.records(self.at), self.trainee.goal)
        self.drawn = now

    def _require_one_run(self, resume: bool) -> None:
        """Raise ConfigError in all processes where they were asked for different runs."""
        trainee = self.trainee
        if world_size() > 1 and not trainee.divides_batches:
            raise ConfigError(
                "this training does not divide its batches over processes",
                where=f"{world_size()} processes",
                hint="start it once",
            )
        path = None if self.run is None else str(self.run.path.resolve())
        digest = content_hash({**trainee.asked, "resume": resume, "run": path})
        if len(set(gather(torch.tensor([int(digest[:15], 16)])).tolist())) > 1:
            raise ConfigError(
                "the processes were asked for different runs",
                where=f"process {rank()} of {world_size()}",
                hint="call it with the same model, config, data and folder in all of them",
            )
