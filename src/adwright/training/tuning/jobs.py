"""tune_jobs(): several LoRA tunings over one base, all in each step.

What `tune` does for one job this does for J of them (`tuning.packing.joint_lora`; BatchLoRA, Ye et
al., 2023, arXiv 2312.02515): step k holds the texts of step k of every job, end to end; each loss
is divided by the answers of its own job, and each job has its own AdamW, learning rate, clipping,
validation and end. Nothing that a job asks for depends on the others, so its numbers are those of
`tune` with the same seed, up to the rounding of larger products. A job that has had its steps, or
has run out of patience, is saved and leaves the batch.

    RUN/
      config.json, checkpoint-*/, metrics.jsonl     of all jobs: one position, taken up exactly
      NAME/tuned/                                   what `load_tuned` and `adwright lm serve` read
      NAME/metrics.jsonl                            the validations of one job

One checkpoint holds all jobs at one step: the rounding of a step depends on who is in it, so jobs
that were taken up at different steps would not end with the same bits. A job whose loss is no
longer a finite number is left out of the step in which that is seen, and of all that follow; the
others never saw its rows.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from adwright.core.atomic import atomic_write_text
from adwright.core.config import to_jsonable
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.core.hashing import content_hash
from adwright.core.progress import progress
from adwright.training.loop.distributed import world_size
from adwright.training.loop.run_folder import RunFolder
from adwright.training.loop.state import pack, unpack
from adwright.training.tuning.config import TuneConfig, TuneResult
from adwright.training.tuning.position import Position
from adwright.training.tuning.texts import Texts
from adwright.training.tuning.tune import answer_nll
from adwright.tuning.methods import Method
from adwright.tuning.packing.joint_lora import JointJobs
from adwright.tuning.packing.preemption import PreemptionHook, between_layers
from adwright.tuning.packing.texts import Packed
from adwright.tuning.tuned import Tuned

__all__ = ["Job", "tune_jobs"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, eq=False)
class Job:
    """One tuning. name: of its folder, letters, digits, `_`, `-` and `.`. method: of a kind that
    shares a step (LoRA, LoRAFA), drawn from config.seed. valid: texts whose answers' loss decides
    which numbers are kept."""

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
) -> dict[str, TuneResult]:
    """Tune all jobs over `model`, a plain causal LM, which is frozen and otherwise left as it is.

    run: folder, see the module; None keeps nothing, and then only the figures come back. resume:
    continue from the folder's checkpoint. on_step: called after each joint step with the number
    of steps done. on_done: called when a job has left and is saved, with its name and figures;
    on a resumed run again for those that had. border: called where a step can be interrupted, see
    `between_layers`, and after each optimiser's step; `coserve.Beside.border` answers there.
    Returns, by name, what `tune` returns; `seconds` is the job's share, by tokens, borders and all.

    Raises ConfigError (no jobs, a name twice or no name, a method that shares no step, products
    in different types, shards or layers computed again, an existing run without resume, several
    processes, and, once the other jobs are done and saved, a job whose loss was not finite),
    ResumeError (no run, or one of something else), ValueInvalidError (a job without texts),
    ResourceError (disk full).
    """
    _check(jobs)
    trainer = _Joint(model, jobs, None if run is None else Path(run), on_done)
    trainer.begin(resume=resume)
    trainer.train(on_step or (lambda _: None), border)
    return trainer.end()


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


class _Worker:
    """One job: its numbers, its optimiser, and where it stands."""

    def __init__(self, job: Job, tuned: Tuned) -> None:
        self.job, self.tuned = job, tuned
        config = job.config
        self.parameters = list(tuned.parameters())
        groups = tuned.groups(config.learning_rate)
        self.rates = [group["lr"] for group in groups]
        self.optimiser = AdamW(
            groups, betas=config.betas, weight_decay=config.weight_decay, fused=True
        )
        self.steps = config.steps_in_all(len(job.texts))
        self.at, self.best = Position(), dict[str, Tensor]()

    @property
    def live(self) -> bool:
        """Whether it takes part in the next step."""
        at = self.at
        return at.step < self.steps and at.worse < self.job.config.patience and not at.failed

    def parts(self) -> list[Packed]:
        """The texts of the next step, `micro` at a time, as `tune` divides them."""
        config, texts = self.job.config, self.job.texts
        rows = config.rows(self.at.step, len(texts))
        return [texts.packed(part) for part in np.array_split(rows, -(-len(rows) // config.micro))]

    def random(self) -> torch.Generator:
        """Of the dropout of the next step, as `tune` seeds it."""
        key = np.random.SeedSequence([self.job.config.seed, self.at.step, 0])
        return torch.Generator().manual_seed(int(key.generate_state(1)[0]))

    def descend(self, loss: float, answers: int, tokens: int) -> None:
        """Take the optimiser's step. loss: summed over the answers."""
        config = self.job.config
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * config.share_of_rate(self.at.step, self.steps)
        if config.clip_norm:
            nn.utils.clip_grad_norm_(self.parameters, config.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.at = self.at.stepped(loss, answers, tokens)

    def due(self) -> bool:
        """Record a validation where one is due; whether a checkpoint is to follow."""
        step, config = self.at.step, self.job.config
        if self.at.failed:
            return False
        if validates := config.validates(step, len(self.job.texts)):
            self._record()
        return validates or config.saves(step)

    def _record(self) -> None:
        valid, goal = self.job.valid, None
        if valid is not None:
            goal = answer_nll(self.tuned, valid, bfloat16=self.job.config.bfloat16)
        self.at, better = self.at.recorded(goal)
        if better and goal is not None:
            self.best = {k: v.detach().clone() for k, v in self.tuned.state().items()}

    def finish(self) -> None:
        """Put the best numbers in place."""
        if self.best:
            self.tuned.load_state(self.best)
        self.tuned.eval()

    # What a checkpoint keeps: all but the base, and of a job that is done no optimiser.

    def state_dict(self) -> dict[str, Tensor]:
        """The tuned part."""
        return {name: value.detach() for name, value in self.tuned.state().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> None:
        """The tuned part again."""
        self.tuned.load_state(dict(state_dict))

    def tensors(self) -> dict[str, Tensor]:
        """Of a checkpoint."""
        return pack(self, self.best, {"adam": self.optimiser} if self.live else {})

    def take(self, at: Mapping[str, Any], tensors: Mapping[str, Tensor], run: RunFolder) -> None:
        """Stand where a checkpoint stood."""
        self.at = Position.kept(at, run)
        optimisers = {"adam": self.optimiser} if self.live else {}
        best = unpack(tensors, self, optimisers, run=run.path)
        self.best = best if self.at.best is not None else {}


class _Joint:
    """The state of one run; `tune_jobs` is its only user."""

    def __init__(
        self,
        model: nn.Module,
        jobs: Sequence[Job],
        run: Path | None,
        on_done: Callable[[str, TuneResult], None] | None,
    ) -> None:
        self.on_done = on_done
        methods = {job.name: (job.method, job.config.seed) for job in jobs}
        self.joint = JointJobs(model, methods)
        self.workers = {job.name: _Worker(job, self.joint.tuned[job.name]) for job in jobs}
        self.bfloat16 = jobs[0].config.bfloat16
        asked: dict[str, Any] = {
            "jobs": {job.name: _asked(job) for job in jobs},
            "base": self.joint.tuned[jobs[0].name].base_fingerprint,
        }
        asked["data_hash"] = content_hash(asked["jobs"])
        self.run = None if run is None else RunFolder(run, asked, "tuning-jobs-checkpoint")
        self.step, self.replacing = 0, False
        self.border: PreemptionHook = _nothing
        self.within: PreemptionHook | None = None

    def begin(self, *, resume: bool) -> None:
        """Start a run, or take up the one in the folder."""
        run, self.replacing = self.run, resume
        if run is None:
            return
        if resume:
            run.require_same("other jobs, or another base model")
            self._load(run)
            return
        run.require_new()
        for name in self.workers:
            if (run.path / name).exists():
                raise ConfigError(
                    "a job's folder is there already",
                    where=str(run.path / name),
                    hint="name another folder for the run",
                )
        self._save(run)
        run.begin()

    def train(self, on_step: Callable[[int], None], border: PreemptionHook | None) -> None:
        """All steps that are left."""
        total = sum(
            int(worker.job.texts.lengths.mean() * worker.job.config.batch)
            * (worker.steps - worker.at.step)
            for worker in self._live()
        )
        for worker in self.workers.values():
            if not worker.live:
                self._done(worker)
        with progress(total, "tune", "tokens") as bar, self._interrupted(border):
            while live := self._live():
                bar.advance(self._step(live))
                self.step += 1
                # Each of them: a validation is recorded by the way.
                due = [worker.due() for worker in live]
                for worker in live:
                    if not worker.live:
                        self._done(worker)
                if self.run is not None and (any(due) or not self._live()):
                    self._save(self.run)
                on_step(self.step)

    @contextmanager
    def _interrupted(self, border: PreemptionHook | None) -> Iterator[None]:
        """Call `border` between the layers of all trees of modules, and between optimisers."""
        with ExitStack() as stack:
            if border is not None:
                self.border = self.within = border
                alone = [tuned.causal for tuned in self.joint.tuned.values()]
                for causal in (self.joint.causal, *alone):
                    stack.enter_context(between_layers(causal, border))
            yield

    def end(self) -> dict[str, TuneResult]:
        """The figures; ConfigError where a job failed."""
        failed = {n: w.at.failed for n, w in self.workers.items() if w.at.failed}
        if failed:
            raise ConfigError(
                f"the loss is no longer a finite number in {', '.join(failed)}",
                where="; ".join(f"{name}: {why}" for name, why in failed.items()),
                hint="lower its learning rate, or set clip_norm; the other jobs are done",
            )
        return {name: worker.at.result() for name, worker in self.workers.items()}

    def _live(self) -> list[_Worker]:
        return [worker for worker in self.workers.values() if worker.live]

    def _step(self, live: Sequence[_Worker]) -> int:
        """One joint step; returns its tokens."""
        start = time.process_time()
        texts = {worker.job.name: worker.parts() for worker in live}
        losses = self._gradients(texts)
        while losses is None:
            texts = {name: parts for name, parts in texts.items() if self.workers[name].live}
            losses = self._gradients(texts) if texts else {}
        tokens = {name: sum(len(part.ids) for part in parts) for name, parts in texts.items()}
        for name, loss in losses.items():
            answers = sum(part.answers for part in texts[name])
            self.workers[name].descend(loss, answers, tokens[name])
            self.border("optimiser")
        seconds, whole = time.process_time() - start, sum(tokens.values())
        for name, count in tokens.items():
            worker = self.workers[name]
            worker.at = replace(worker.at, seconds=worker.at.seconds + seconds * count / whole)
        return whole

    def _gradients(self, texts: Mapping[str, Sequence[Packed]]) -> dict[str, float] | None:
        """Leave the gradients of every job behind; the summed losses. None where a job failed:
        it is marked, and no gradient is left."""
        answers = {name: sum(part.answers for part in parts) for name, parts in texts.items()}
        random = {name: self.workers[name].random() for name in texts}
        found = dict.fromkeys(texts, 0.0)
        for number in range(max(len(parts) for parts in texts.values())):
            part = {name: parts[number] for name, parts in texts.items() if number < len(parts)}
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
                losses = self.joint.losses(part, random=random, border=self.within)
            values = {name: float(loss.detach()) for name, loss in losses.items()}
            bad = [name for name, value in values.items() if not math.isfinite(value)]
            for name in bad:
                worker = self.workers[name]
                where = f"step {worker.at.step + 1} of {worker.steps}"
                worker.at = replace(worker.at, failed=where)
            if bad:
                for name in texts:
                    self.workers[name].optimiser.zero_grad()
                return None
            shares = [loss / max(answers[name], 1) for name, loss in losses.items()]
            torch.stack(shares).sum().backward()  # type: ignore[no-untyped-call]
            found = {name: value + values.get(name, 0.0) for name, value in found.items()}
        return found

    def _done(self, worker: _Worker) -> None:
        """A job leaves: its best numbers are put in place and saved."""
        worker.finish()
        if worker.at.failed:
            return
        if self.run is not None:
            folder = self.run.path / worker.job.name
            worker.tuned.save(folder / "tuned", overwrite=self.replacing)
            lines = "".join(f"{json.dumps(line)}\n" for line in worker.at.records)
            atomic_write_text(folder / "metrics.jsonl", lines)
        if self.on_done is not None:
            self.on_done(worker.job.name, worker.at.result())

    def _save(self, run: RunFolder) -> None:
        state = {name: asdict(worker.at) for name, worker in self.workers.items()}
        tensors = {
            f"{name}/{key}": value
            for name, worker in self.workers.items()
            for key, value in worker.tensors().items()
        }
        records = [{"job": name, **line} for name, at in state.items() for line in at["records"]]
        records.sort(key=lambda line: line["step"])
        content = {"step": self.step, "jobs": state}
        run.save(content, tensors, steps=self.step, epoch=0, records=records)

    def _load(self, run: RunFolder) -> None:
        state, tensors = run.load()
        each: dict[str, dict[str, Tensor]] = {name: {} for name in self.workers}
        try:
            for key, value in tensors.items():
                name, rest = key.split("/", 1)
                each[name][rest] = value
            self.step = int(state["step"])
            positions = {name: state["jobs"][name] for name in self.workers}
        except (KeyError, TypeError, ValueError) as error:
            raise run.unreadable(error) from error
        for name, worker in self.workers.items():
            worker.take(positions[name], each[name], run)


def _nothing(_: str) -> None:
    """Where nobody asked to be called."""


def _asked(job: Job) -> dict[str, Any]:
    return {
        "tune": to_jsonable(job.config),
        "method": {"class": type(job.method).__name__, **to_jsonable(job.method)},
        "data_hash": job.texts.data_hash,
        "valid_hash": "" if job.valid is None else job.valid.data_hash,
    }
