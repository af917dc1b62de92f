"""tune_jobs(): several LoRA tunings over one base, all in each step.

What `tune` does for one job this does for J of them (`tuning.packing.joint_lora`; BatchLoRA, Ye et
al., 2023, arXiv 2312.02515): step k holds the texts of step k of every job, end to end; each loss
is divided by the answers of its own job, and each job has its own AdamW, learning rate, clipping,
validation and end. No job depends on the others, so its weights are those of `tune` with the same
seed, up to the rounding of larger products. A job that has had its steps, or has run out of
patience, is saved and leaves the batch.

    RUN/
      config.json, checkpoint-*/, metrics.jsonl     of all jobs: one position, resumed exactly
      NAME/tuned/                                   what `load_tuned` and `adwright lm serve` read
      NAME/metrics.jsonl                            the validations of one job

One checkpoint holds all jobs at one step: the rounding of a step depends on who is in it, so jobs
that were resumed at different steps would not end with the same bits. A job whose loss is no longer
a finite number is left out of that step and all that follow; the others never saw its rows.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from adwright.core.atomic import atomic_write_text
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.core.hashing import content_hash
from adwright.training.loop.distributed import world_size
from adwright.training.loop.loop import train
from adwright.training.loop.run_folder import RunPosition, pack, unpack
from adwright.training.loop.trainee import LoopConfig, StepLoss, Trainee
from adwright.training.tuning.texts import Texts
from adwright.training.tuning.tune import TuneConfig, TuneResult, TuningTrainee
from adwright.tuning.methods import Method
from adwright.tuning.packing.joint_lora import JointJobs
from adwright.tuning.packing.texts import Packed, PreemptionHook, between_layers
from adwright.tuning.tuned import Tuned

#: What a resumed run has to share with the first start, of each job.
_ASKED = ("tune", "method", "data_hash", "valid_hash")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, eq=False)
class Job:
    """One tuning of several. name: of its folder, letters, digits, `_`, `-` and `.`. method: of a
    kind that shares a step (LoRA, LoRAFA), drawn from config.seed. valid: texts whose answers'
    loss decides which weights are kept."""

    name: str
    method: Method
    texts: Texts
    config: TuneConfig = field(default_factory=TuneConfig)
    valid: Texts | None = None


def tune_jobs(
    model: nn.Module,
    jobs: Sequence[Job],
    run: str | Path | None = None,
    *,
    resume: bool = False,
    on_step: Callable[[int], None] | None = None,
    on_done: Callable[[str, TuneResult], None] | None = None,
    border: PreemptionHook | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, TuneResult]:
    """Tune all jobs over `model`, a plain causal LM, which is frozen and otherwise left as it is.

    run: folder, see the module; None keeps nothing. resume:
    continue from the folder's checkpoint. on_step: called after each joint step with the number
    of steps done. on_done: called when a job has left and is saved, with its name and figures;
    on a resumed run again for those that had. border: called where a step can be interrupted, see
    `between_layers`, and after each optimiser's step; `coserve.Beside.border` answers there. stop:
    asked after each joint step; once it says True, a checkpoint is written and the run ends.
    Returns, by name, what `tune` returns, of jobs that are done; `seconds` is the job's share, by
    tokens, borders and all.

    Raises ConfigError (no jobs, a name twice or no name, a method that shares no step, products
    in different types, shards or layers computed again, an existing run without resume, several
    processes, and, once the other jobs are done and saved, a job whose loss was not finite),
    ResumeError (no run, or one of something else), ValueInvalidError (a job without texts),
    ResourceError (disk full).
    """
    _check(jobs)
    trainee = _Joint(model, jobs, run, on_done, border, stop, resume=resume)
    folder = trainee.folder(run)
    if folder is not None and not resume:
        folder.require_new()
        _require_no_job(folder.path, jobs)
    train(trainee, folder, resume=resume, on_step=on_step)
    return trainee.results()


def _require_no_job(run: Path, jobs: Sequence[Job]) -> None:
    for job in jobs:
        if (run / job.name).exists():
            raise ConfigError(
                "a job's folder is there already",
                where=str(run / job.name),
                hint="name another folder for the run",
            )


def _check(jobs: Sequence[Job]) -> None:
    for name, count in Counter(job.name for job in jobs).items():
        if count > 1 or not _NAME.fullmatch(name):
            raise ConfigError(
                "two jobs have one name" if count > 1 else "a job's name is no name of a folder",
                where=repr(name),
                hint="letters, digits, _, - and ., each name once",
            )
    for job in jobs:
        if not len(job.texts):
            raise ValueInvalidError("there are no texts to tune on", value=job.name)
        if job.config.shard or job.config.checkpoint_layers:
            raise ConfigError(
                "jobs that share a step have neither shards nor layers that are computed again",
                where=job.name,
                hint="lower batch or micro where memory is short, or tune it alone",
            )
    if len({job.config.bfloat16 for job in jobs}) > 1:
        raise ConfigError(
            "jobs that share a step compute in one type",
            where=", ".join(f"{job.name}: bfloat16 = {job.config.bfloat16}" for job in jobs),
            hint="set bfloat16 alike for all",
        )
    if world_size() > 1:
        raise ConfigError("jobs share the steps of one process", where=f"{world_size()} processes")


class _Worker(TuningTrainee):
    """One job: its adapter, its optimiser, and its position."""

    def __init__(self, job: Job, tuned: Tuned) -> None:
        super().__init__(tuned, job.texts, job.config, job.valid, fused=True)
        self.job, self.at, self.best = job, RunPosition(), dict[str, Tensor]()

    @property
    def live(self) -> bool:
        """Whether it takes part in the next step."""
        return self.at.steps < self.steps and not self.is_finished(self.at) and not self.failed

    def parts(self) -> list[Packed]:
        """Lay out the texts of the next step, `micro` at a time, as `tune` divides them."""
        config, texts = self.config, self.texts
        rows = config.rows(self.at.steps, len(texts))
        parts = np.array_split(rows, -(-len(rows) // config.micro))
        return [texts.packed(part).to(self.device) for part in parts]

    def random(self) -> torch.Generator:
        """Seed the dropout of the next step as the loop does."""
        key = np.random.SeedSequence([self.config.seed, self.at.steps, 0])
        return torch.Generator(self.device).manual_seed(int(key.generate_state(1)[0]))

    def descend(self, loss: float, answers: int, tokens: int) -> None:
        """Take the optimiser's step. loss: summed over the answers."""
        self.update(self.at)
        self.at, self.tokens = self.at.after(loss, answers), self.tokens + tokens

    def due(self) -> bool:
        """Record a validation where one is due; returns whether a checkpoint follows."""
        if self.failed:
            return False
        if due := self.is_due(self.at):
            goal, measures = self.validate(self.at)
            best = self.at.best
            better = goal is None or best is None or goal < best
            if better and goal is not None:
                self.best = {k: v.clone() for k, v in self.saved.state_dict().items()}
            line = {**self.line(self.at), **measures}
            self.at = self.at.validated(goal, line, better=better)
        return due or self.is_checkpoint_due(self.at)

    def take_best(self) -> None:
        """Put the best weights in place."""
        if self.best:
            self.tuned.load_state(self.best)
        self.finish(self.at)

    def position(self) -> dict[str, Any]:
        """Plain values of a checkpoint."""
        return {"at": asdict(self.at), "own": self.state()}

    def resume(self, saved: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Restore a checkpoint. Raises KeyError, TypeError or ValueError where it cannot."""
        if "at" in saved:
            self.at, own = RunPosition.from_plain(saved["at"]), saved["own"]
        else:
            self.at, own = RunPosition.from_last_release(saved, self.renamed)
        self.load_state(own)
        # Of a job that is done, no optimiser is kept.
        best = unpack(tensors, self.saved, self.optimisers if self.live else {})
        self.best = best if self.at.best is not None else {}


class _Joint(Trainee[list[_Worker]]):
    """All jobs in training together; `tune_jobs` is its only user."""

    kind = "tuning-jobs-checkpoint"
    goal = "valid_nll"
    higher_is_better = False
    unit = "tokens"
    renamed: ClassVar = {"step": "steps"}

    def __init__(
        self,
        model: nn.Module,
        jobs: Sequence[Job],
        run: str | Path | None,
        on_done: Callable[[str, TuneResult], None] | None,
        border: PreemptionHook | None,
        stop: Callable[[], bool],
        *,
        resume: bool,
    ) -> None:
        self.run, self.on_done, self.replacing = None if run is None else Path(run), on_done, resume
        methods = {job.name: (job.method, job.config.seed) for job in jobs}
        self.joint = JointJobs(model, methods)
        self.device: torch.device = self.joint.causal.lm_head.weight.device
        self.workers = {job.name: _Worker(job, self.joint.tuned[job.name]) for job in jobs}
        self.border, self.due = border, False
        self.stop, self.stopped = stop, False
        asked: dict[str, Any] = {
            "jobs": {
                name: {key: worker.asked[key] for key in _ASKED}
                for name, worker in self.workers.items()
            },
            "base": self.joint.tuned[jobs[0].name].base_fingerprint,
        }
        asked["data_hash"] = content_hash(asked["jobs"])
        loop = LoopConfig(epochs=1, patience=1, bfloat16=jobs[0].config.bfloat16)
        super().__init__(self.joint.causal, {}, loop, asked)

    @contextmanager
    def during(self) -> Iterator[None]:
        """Call `border` between the layers of all jobs; jobs that are done leave."""
        for worker in self.workers.values():
            if not worker.live:
                self._done(worker)
        with ExitStack() as stack:
            if self.border is not None:
                alone = [tuned.causal for tuned in self.joint.tuned.values()]
                for causal in (self.joint.causal, *alone):
                    stack.enter_context(between_layers(causal, self.border))
            yield

    def epoch(self, at: RunPosition) -> Iterator[list[_Worker]]:
        """The jobs of each remaining step."""
        while live := self._live():
            yield live

    def left(self, at: RunPosition) -> int:
        """Estimate the tokens that are left."""
        return sum(worker.left(worker.at) for worker in self._live())

    def label(self, at: RunPosition) -> str:
        """All jobs at once."""
        return "tune"

    def train_mode(self) -> None:
        """Each job's adapter is in its own mode."""

    def gradients(self, batch: list[_Worker], at: RunPosition) -> StepLoss:
        """Take one joint step with the update of each job, and do what is due after it."""
        start = time.process_time()
        texts = {worker.job.name: worker.parts() for worker in batch}
        losses = self._losses(texts)
        while losses is None:
            texts = {name: parts for name, parts in texts.items() if self.workers[name].live}
            losses = self._losses(texts) if texts else {}
        tokens = {name: sum(len(part.ids) for part in parts) for name, parts in texts.items()}
        for name, loss in losses.items():
            answers = sum(part.answers for part in texts[name])
            self.workers[name].descend(loss, answers, tokens[name])
            if self.border is not None:
                self.border("optimiser")
        seconds, whole = time.process_time() - start, sum(tokens.values())
        for name, count in tokens.items():
            self.workers[name].seconds += seconds * count / whole
        # Each of them: a validation is recorded by the way.
        due = [worker.due() for worker in batch]
        for worker in batch:
            if not worker.live:
                self._done(worker)
        self.stopped = self.stop()
        self.due = any(due) or not self._live() or self.stopped
        return StepLoss(sum(losses.values()), 1, shown=whole)

    def update(self, at: RunPosition) -> None:
        """Done by `gradients`, for each job apart."""

    def _losses(self, texts: Mapping[str, Sequence[Packed]]) -> dict[str, float] | None:
        """Leave the gradients of every job behind; returns the summed losses, or None where a job
        failed: it is marked, and no gradient is left."""
        answers = {name: sum(part.answers for part in parts) for name, parts in texts.items()}
        random = {name: self.workers[name].random() for name in texts}
        found = dict.fromkeys(texts, 0.0)
        for number in range(max(len(parts) for parts in texts.values())):
            part = {name: parts[number] for name, parts in texts.items() if number < len(parts)}
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.loop.bfloat16):
                losses = self.joint.losses(part, random=random, border=self.border)
            values = {name: float(loss.detach()) for name, loss in losses.items()}
            bad = [name for name, value in values.items() if not math.isfinite(value)]
            for name in bad:
                worker = self.workers[name]
                worker.failed = f"step {worker.at.steps + 1} of {worker.steps}"
            if bad:
                for name in texts:
                    self.workers[name].optimisers["adam"].zero_grad()
                return None
            shares = [loss / max(answers[name], 1) for name, loss in losses.items()]
            torch.stack(shares).sum().backward()  # type: ignore[no-untyped-call]
            found = {name: value + values.get(name, 0.0) for name, value in found.items()}
        return found

    def is_checkpoint_due(self, at: RunPosition) -> bool:
        """When any job asks for one, and at the end."""
        return self.due

    def is_finished(self, at: RunPosition) -> bool:
        """Once `stop` said so, after the checkpoint of that step."""
        return self.stopped

    def is_due_after_epoch(self, at: RunPosition) -> bool:
        """Each job validates by itself."""
        return False

    def validate(self, at: RunPosition) -> tuple[None, dict[str, Any]]:
        """Each job validates by itself."""
        return None, {}

    def records(self, at: RunPosition) -> list[dict[str, Any]]:
        """The lines of all jobs, in the order of their steps."""
        workers = self.workers.items()
        lines = [{"job": name, **line} for name, each in workers for line in each.at.records]
        return sorted(lines, key=lambda line: int(line["step"]))

    def state(self) -> dict[str, Any]:
        """How far each job is."""
        return {"jobs": {name: worker.position() for name, worker in self.workers.items()}}

    def tensors(self, best: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those of all jobs, by their names."""
        return {
            f"{name}/{key}": value
            for name, worker in self.workers.items()
            for key, value in pack(
                worker.saved, worker.best, worker.optimisers if worker.live else {}
            ).items()
        }

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Kept for `load_state`, which knows what of them a job needs."""
        self.loaded: dict[str, dict[str, Tensor]] = {name: {} for name in self.workers}
        for key, value in tensors.items():
            name, rest = key.split("/", 1)
            self.loaded.setdefault(name, {})[rest] = value
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore each job."""
        for name, worker in self.workers.items():
            worker.resume(state["jobs"][name], self.loaded[name])

    def finish(self, at: RunPosition) -> None:
        """Each job was finished when it left."""

    def results(self) -> dict[str, TuneResult]:
        """The figures of jobs that are done; ConfigError where a job failed."""
        failed = {n: w.failed for n, w in self.workers.items() if w.failed}
        if failed:
            raise ConfigError(
                f"the loss is no longer a finite number in {', '.join(failed)}",
                where="; ".join(f"{name}: {why}" for name, why in failed.items()),
                hint="lower its learning rate, or set clip_norm; the other jobs are done",
            )
        done = ((name, worker) for name, worker in self.workers.items() if not worker.live)
        return {name: worker.result(worker.at) for name, worker in done}

    def _live(self) -> list[_Worker]:
        return [worker for worker in self.workers.values() if worker.live]

    def _done(self, worker: _Worker) -> None:
        """Let a job leave: put its best weights in place and save them."""
        worker.take_best()
        if worker.failed:
            return
        if self.run is not None:
            folder = self.run / worker.job.name
            worker.tuned.save(folder / "tuned", overwrite=self.replacing)
            lines = "".join(f"{json.dumps(line)}\n" for line in worker.at.records)
            atomic_write_text(folder / "metrics.jsonl", lines)
        if self.on_done is not None:
            self.on_done(worker.job.name, worker.result(worker.at))
