"""tune(): train what a method of parameter-efficient tuning attached to a language model.

`fit` trains rankers on rows, `tune` trains language models on texts; both keep a run folder and
end with the same bits when they were cut off and taken up. A step takes `batch` texts, laid end
to end so that nothing is padded (`lm.packing`), in parts of `micro` texts where memory is short;
the loss is the cross-entropy of the answers' tokens alone, divided by their number in the whole
batch. Texts are shuffled anew in each epoch.

    rate(step) = learning_rate * min(1, step / warm-up) * (1 + cos(pi * progress)) / 2

Under torchrun the processes divide each batch, gradients are summed, and the first one
validates and writes. All of them begin with the first one's numbers, so the losses are those of
one process up to the order of sums; what a method draws by torch's generator (dropout) is drawn
anew in each process. `tune_memory` has what saves memory: layers that are computed again, and a
base that is divided over the processes.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.optim import AdamW

from adwright.core.config import to_jsonable
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.core.hashing import content_hash
from adwright.core.progress import Progress, progress
from adwright.training.loop.distributed import (
    gather,
    on_first,
    process_group,
    rank,
    sum_gradients,
    world_size,
)
from adwright.training.loop.run_folder import RunFolder
from adwright.training.loop.state import pack, unpack
from adwright.training.tuning.config import TuneConfig, TuneResult
from adwright.training.tuning.memory import recomputing, sharding
from adwright.training.tuning.position import Position
from adwright.training.tuning.texts import Texts
from adwright.tuning.additive.adamix import AdaMix, consistency, reads_twice
from adwright.tuning.efficient.mezo import mezo_step
from adwright.tuning.packing.texts import Packed, answer_loss, attends_apart
from adwright.tuning.reparameterised.lora_hub import LoRAHub, search_weights
from adwright.tuning.tuned import Tuned

__all__ = [
    "TuneConfig",
    "TuneResult",
    "answer_loss_of",
    "answer_nll",
    "as_in_first",
    "require_startable",
    "tune",
]

Ints = NDArray[np.int64]
_OTHER = "another method, base model or config, or on other texts"


def tune(
    tuned: Tuned,
    texts: Texts,
    config: TuneConfig,
    run: str | Path | None = None,
    *,
    valid: Texts | None = None,
    resume: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> TuneResult:
    """Train `tuned` in place; afterwards it holds the best validation's numbers, or the last
    ones where nothing is validated, in eval mode.

    run: folder for config.json, metrics.jsonl and the checkpoint; None keeps nothing. valid:
    texts whose answers' loss decides which numbers are kept. resume: continue from the folder's
    checkpoint. on_step: called after each step with the number of steps done.
    Under torchrun: called in each process with the same arguments, and seconds are those of this
    process. Raises ConfigError (an existing run without resume, a loss that is not finite, other
    arguments in another process), ResumeError (no run, or one of something else),
    ValueInvalidError (no texts), ResourceError (disk full).
    """
    with process_group(), ExitStack() as during:
        trainer = _Trainer(tuned, texts, config, None if run is None else Path(run), valid)
        trainer.begin(resume=resume)
        if config.shard:
            during.enter_context(sharding(tuned))
        if config.checkpoint_layers:
            during.enter_context(recomputing(tuned))
        with torch.random.fork_rng(devices=[]):
            trainer.train(on_step or (lambda _: None))
        return trainer.end()


def require_startable(
    tuned: Tuned,
    texts: Texts,
    config: TuneConfig,
    run: str | Path,
    *,
    valid: Texts | None = None,
    resume: bool = False,
) -> None:
    """Raise what `tune` would refuse before its first step; nothing is written."""
    _Trainer(tuned, texts, config, Path(run), valid).require_startable(resume=resume)


def answer_nll(tuned: Tuned, texts: Texts, *, tokens: int = 2048, bfloat16: bool = False) -> float:
    """Mean negative log-likelihood of the answers' tokens, in nats; `tuned` is left in eval mode.

    tokens: of texts that are read together.
    """
    tuned.eval()
    total, answers = 0.0, 0
    order = np.argsort(texts.lengths, kind="stable")
    part = np.cumsum(texts.lengths[order]) // tokens
    kind = _device(tuned).type
    with torch.no_grad(), torch.autocast(kind, torch.bfloat16, enabled=bfloat16):
        for rows in np.split(order, np.flatnonzero(np.diff(part)) + 1):
            packed = texts.packed(rows)
            total += float(answer_loss_of(tuned, packed))
            answers += packed.answers
    return total / max(answers, 1)


def as_in_first(tuned: Tuned) -> None:
    """All processes take over the numbers of the first, which are of the same shapes."""
    if world_size() > 1:
        # By name: all processes in the same order.
        for _, value in sorted(tuned.state().items()):
            distributed.broadcast(value.detach(), src=0)


class _Trainer:
    """The state of one run; `tune` is its only user."""

    def __init__(
        self, tuned: Tuned, texts: Texts, config: TuneConfig, run: Path | None, valid: Texts | None
    ) -> None:
        if not len(texts):
            raise ValueInvalidError("there are no texts to tune on")
        self.tuned, self.texts, self.config, self.valid = tuned, texts, config, valid
        self.parameters, self.device = list(tuned.parameters()), _device(tuned)
        _require_float32(tuned)
        groups = tuned.groups(config.learning_rate)
        self.rates = [group["lr"] for group in groups]
        self.optimiser = AdamW(groups, betas=config.betas, weight_decay=config.weight_decay)
        self.steps = config.steps_in_all(len(texts))
        self.asked: dict[str, Any] = {
            "tune": to_jsonable(config),
            "method": {"class": type(tuned.method).__name__, **to_jsonable(tuned.method)},
            "seed": tuned.seed,
            "base": tuned.base_fingerprint,
            "data_hash": texts.data_hash,
            "valid_hash": "" if valid is None else valid.data_hash,
        }
        self.run = None if run is None else RunFolder(run, self.asked, "tuning-checkpoint")
        self.at, self.best = Position(), dict[str, Tensor]()

    def begin(self, *, resume: bool) -> None:
        """Start a run, or take up the one in the folder."""
        self._require_one_run(resume)
        run = self.run
        if run is not None and resume:
            on_first(lambda: self._load(run))
            if rank():
                self._load(run)
            return
        as_in_first(self.tuned)
        if run is not None:
            on_first(lambda: self._start(run))

    def require_startable(self, *, resume: bool) -> None:
        """As `begin`, without doing so."""
        run = self.run
        if run is not None and resume:
            run.require_same(_OTHER)
        elif run is not None:
            run.require_new()

    def _require_one_run(self, resume: bool) -> None:
        """Raises ConfigError in all processes where they were asked for different runs."""
        path = None if self.run is None else str(self.run.path.resolve())
        digest = content_hash({**self.asked, "resume": resume, "run": path})
        if len(set(gather(torch.tensor([int(digest[:15], 16)])).tolist())) > 1:
            raise ConfigError(
                "the processes were asked for different runs",
                where=f"process {rank()} of {world_size()}",
                hint="call tune with the same model, method, texts, config and folder in all",
            )

    def train(self, on_step: Callable[[int], None]) -> None:
        """All steps that are left."""
        config, left = self.config, self.steps - self.at.step
        # Of an epoch that was cut off, the texts that were read are known from the step.
        total = int(self.texts.lengths.mean() * config.batch * left)
        shown = progress(total, "tune", "tokens") if not rank() else nullcontext(Progress())
        with attends_apart(self.tuned.causal), shown as bar:
            while self.at.step < self.steps and self.at.worse < config.patience:
                # What is searched without slopes is compared from step to step: on the same texts.
                batch = 0 if isinstance(self.tuned.method, LoRAHub) else self.at.step
                bar.advance(self._step(config.rows(batch, len(self.texts))))
                step = self.at.step
                if validates := config.validates(step, len(self.texts)):
                    self._record()
                if validates or config.saves(step):
                    self._save()
                on_step(step)

    def end(self) -> TuneResult:
        """Put the best numbers in place."""
        if self.best:
            self.tuned.load_state(self.best)
        self.tuned.eval()
        return self.at.result()

    def _step(self, rows: Ints) -> int:
        """One step; returns its tokens."""
        start = time.process_time()
        key = np.random.SeedSequence([self.config.seed, self.at.step, rank()])
        torch.default_generator.manual_seed(int(key.generate_state(1)[0]))
        if self.device.type == "cuda":
            torch.cuda.manual_seed(int(key.generate_state(1)[0]))
        self.tuned.train()
        self.tuned.before_step(self.at.step, self.steps)
        answers = sum(len(self.texts.answers[row]) for row in rows.tolist())
        if self.tuned.method.gradient_free:
            loss = self._without_gradients(rows, answers)
        else:
            loss = self._gradients(rows, answers)
        if not math.isfinite(loss):
            raise ConfigError(
                "the loss is no longer a finite number",
                where=f"step {self.at.step + 1} of {self.steps}",
                hint="lower the learning rate, or set clip_norm",
            )
        if not self.tuned.method.gradient_free:
            self._descend()
        self.tuned.after_step(self.at.step, self.steps)
        self.optimiser.zero_grad()
        tokens = int(self.texts.lengths[rows].sum())
        self.at = self.at.stepped(loss, answers, tokens, time.process_time() - start)
        return tokens

    def _descend(self) -> None:
        """Take the optimiser's step."""
        config = self.config
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * config.share_of_rate(self.at.step, self.steps)
        if config.clip_norm:
            nn.utils.clip_grad_norm_(self.parameters, config.clip_norm)
        self.optimiser.step()

    def _without_gradients(self, rows: Ints, answers: int) -> float:
        """A step of MeZO or LoRAHub, which move the numbers by themselves; the summed loss before
        it, of LoRAHub with its penalty and after it."""
        self.tuned.eval()
        mine = rows[rank() :: world_size()]
        parts = np.array_split(mine, -(-len(mine) // self.config.micro)) if len(mine) else []
        # The same direction in all processes: rank 0's.
        key = np.random.SeedSequence([self.config.seed, self.at.step, 0])

        def loss() -> Tensor:
            own = torch.zeros(())
            with _precision(self.config, self.device):
                for part in parts:
                    own += float(answer_loss_of(self.tuned, self.texts.packed(part)))
            return torch.tensor(sum_gradients([], [], own) / max(answers, 1))

        seed = int(key.generate_state(2)[1])
        if isinstance(self.tuned.method, LoRAHub):
            return search_weights(self.tuned, loss, rounds=1, seed=seed) * answers
        rate = self.config.learning_rate * self.config.share_of_rate(self.at.step, self.steps)
        return mezo_step(self.tuned, loss, rate=rate, seed=seed).loss * answers

    def _gradients(self, rows: Ints, answers: int) -> float:
        """Leave the gradients of the whole batch behind; its summed loss."""
        mine = rows[rank() :: world_size()]
        summed = torch.zeros(())
        # As many passes in each process, which a divided base needs.
        most = -(-len(rows) // world_size())
        for part in np.array_split(mine, -(-most // self.config.micro)):
            if not len(part) and not self.config.shard:
                continue
            # A process without a text for this pass takes part with one that counts nothing.
            counts = float(len(part) > 0)
            with _precision(self.config, self.device):
                packed = self.texts.packed(part if counts else rows[:1])
                loss, apart = _losses(self.tuned, packed)
                loss, apart = loss * counts, apart * counts
                # What regularises is of the step, not of a text: each part has its share.
                extra = self.tuned.loss_extra() * (len(part) / len(rows))
            ((loss + apart) / max(answers, 1) + extra).backward()  # type: ignore[no-untyped-call]
            summed += loss.detach().float().cpu()
        return sum_gradients(self._used(), [], summed)

    def _used(self) -> list[nn.Parameter]:
        """Parameters with a gradient in any process; to an optimiser none is not zero."""
        if world_size() == 1:
            return self.parameters
        has = torch.tensor([float(each.grad is not None) for each in self.parameters])
        distributed.all_reduce(has)
        return [each for each, any_has in zip(self.parameters, has, strict=True) if any_has]

    def _record(self) -> None:
        """A line of metrics; the best numbers so far are kept."""
        goal = None if self.valid is None else self._measured(self.valid)
        self.at, better = self.at.recorded(goal)
        if better and goal is not None:
            self.best = {k: v.clone() for k, v in _State(self.tuned).state_dict().items()}

    def _measured(self, valid: Texts) -> float:
        """What the first process finds, in all of them."""
        if self.config.shard:
            return answer_nll(self.tuned, valid, bfloat16=self.config.bfloat16)
        found: list[bytes] = []

        def ask() -> None:
            nll = answer_nll(self.tuned, valid, bfloat16=self.config.bfloat16)
            found.append(json.dumps(nll).encode())

        on_first(ask)
        sent = torch.tensor(list(b"".join(found)), dtype=torch.uint8)
        return float(json.loads(bytes(gather(sent).tolist())))

    def _start(self, run: RunFolder) -> None:
        run.require_new()
        self._write(run)
        run.begin()

    def _save(self) -> None:
        if (run := self.run) is not None:
            on_first(lambda: self._write(run))

    def _write(self, run: RunFolder) -> None:
        at = self.at
        tensors = pack(_State(self.tuned), self.best, {"adam": self.optimiser})
        tensors |= {f"memory/{name}": value for name, value in self.tuned.seen_so_far().items()}
        tensors = {name: value.cpu() for name, value in tensors.items()}
        run.save(asdict(at), tensors, steps=at.step, epoch=0, records=at.records)

    def _load(self, run: RunFolder) -> None:
        run.require_same(_OTHER)
        state, tensors = run.load()
        self.at = Position.kept(state, run)
        best = unpack(tensors, _State(self.tuned), {"adam": self.optimiser}, run=run.path)
        self.best = best if self.at.best is not None else {}
        seen = {k.removeprefix("memory/"): v for k, v in tensors.items() if k.startswith("memory/")}
        self.tuned.recall_seen(seen)


class _State:
    """What a checkpoint keeps of a tuned model: all but its base."""

    def __init__(self, tuned: Tuned) -> None:
        self.tuned = tuned

    def state_dict(self) -> dict[str, Tensor]:
        """The tuned part."""
        return {name: value.detach().cpu() for name, value in self.tuned.state().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> None:
        """The tuned part again."""
        self.tuned.load_state(dict(state_dict))


def _losses(tuned: Tuned, packed: Packed) -> tuple[Tensor, Tensor]:
    """`answer_loss_of`, and of AdaMix how far its two draws are apart, as much a token; else 0."""
    method = tuned.method
    if not isinstance(method, AdaMix) or not method.agreement:
        return answer_loss_of(tuned, packed), torch.zeros(())
    both = packed.to(_device(tuned)).twice()
    reads_twice(tuned)
    with attends_apart(tuned.causal):
        hidden = tuned(both.ids[None], position_ids=both.places()[None])[0]
    first, second = hidden.chunk(2)
    asked = packed.answer.nonzero()[:, 0].to(hidden.device) - 1
    p, q = (tuned.logits(half[asked]).float() for half in (first, second))
    loss = answer_loss(first, tuned.causal.lm_head, packed.to(hidden.device))
    return loss, method.agreement * len(asked) * consistency(p, q)


def answer_loss_of(tuned: Tuned, packed: Packed) -> Tensor:
    """Cross-entropy [] in nats, summed over the answers' tokens."""
    packed = packed.to(_device(tuned))
    with attends_apart(tuned.causal):
        hidden = tuned(packed.ids[None], position_ids=packed.places()[None])[0]
        return answer_loss(hidden, tuned.causal.lm_head, packed)


def _require_float32(tuned: Tuned) -> None:
    """Raises ConfigError: steps are too small for the numbers of other types."""
    narrow = [name for name, p in tuned.named_parameters() if p.dtype != torch.float32]
    if narrow:
        raise ConfigError(
            "what is tuned has to be float32",
            where=f"{len(narrow)} tensors, {narrow[0]} the first",
            hint="load the base in float32; products may still be in bfloat16",
        )


def _device(tuned: Tuned) -> torch.device:
    """Where the model computes."""
    device: torch.device = tuned.causal.lm_head.weight.device
    return device


def _precision(config: TuneConfig, device: torch.device) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, torch.bfloat16, enabled=config.bfloat16)
