"""tune(): train what a method of parameter-efficient tuning attached to a language model.

`fit` trains rankers on rows, `tune` trains language models on texts; both keep a run folder and
end with the same bits when they were interrupted and resumed. A step takes `batch` texts, laid end
to end so that nothing is padded (`tuning.packing`), `micro` at a time where memory is short;
the loss is the cross-entropy of the answers' tokens alone, divided by their number in the whole
batch. Texts are shuffled anew in each epoch.

    rate(step) = learning_rate * min(1, step / warm-up) * (1 + cos(pi * progress)) / 2

Under torchrun the processes divide each batch, gradients are summed, and the first one
validates and writes. All of them begin with the first one's weights, so the losses are those of
one process up to the order of sums; what a method draws by torch's generator (dropout) is drawn
anew in each process. `training.tuning.memory` saves memory: layers are computed again,
and the base is divided over the processes.

How a language model is tuned, and what came out: `TuneConfig`, `TuneResult`.

Two ways to save memory in tuning: layers computed again, and a base that is divided.

`recomputing`: a decoder layer keeps its input alone and computes the rest anew in the backward
pass (Chen et al., 2016, arXiv 1604.06174), so of N layers with K kept tensors per token each

    kept = N * K  becomes  N + K,  for one more forward pass per step

The input of the first layer is not made to ask for a gradient, as transformers' own switch makes
it: below the lowest tuned module nothing is computed, with and without the switch.

`sharding`: each process keeps 1/P of the frozen weights of every decoder layer, and a layer is
made whole for as long as it computes (FSDP: Zhao et al., 2023, arXiv 2304.11277, by torch's
`fully_shard`). What is tuned stays whole in each process, its gradients are summed by the loop as
they are without; so do embedding, last norm and head, which the loss reads directly. A layer is a
message to all, so all processes must compute as many passes, see `tune`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.optim import AdamW
from torch.utils.checkpoint import checkpoint

from adwright.core.config import settings, to_jsonable
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.training.loop.distributed import rank, sum_gradients, world_size
from adwright.training.loop.loop import LoopOptions, train
from adwright.training.loop.loop import require_startable as startable
from adwright.training.loop.run_folder import RunFolder, RunPosition, Stateful
from adwright.training.loop.trainee import LoopConfig, StepLoss, Trainee
from adwright.training.search import check_ranges
from adwright.training.tuning.texts import Texts
from adwright.tuning.modules import head_logits
from adwright.tuning.packing.texts import Packed, answer_loss, attends_apart
from adwright.tuning.tuned import Tuned


@settings
class TuneConfig:
    """How a method is trained.

    epochs: over all texts; steps: in their place, 0 for those of the epochs. batch: texts
    per step; micro: texts of one forward pass, whose gradients add up. learning_rate, betas,
    weight_decay: of AdamW; a rate of None stands for the method's own `default_rate`, and methods
    may multiply it for some of their weights. warmup: share of the steps in which the rate rises;
    then it falls as a cosine to `floor` of itself.
    clip_norm: of all gradients together, 0 for none. bfloat16: products in that type.
    validate_every: steps, 0 for once an epoch; patience: stop after so many validations without a
    better one. checkpoint_every: steps, beside each validation; 0 for none.
    checkpoint_layers: decoder layers are computed again in the backward pass, which saves memory
    and changes no result. shard: each process holds its share of the frozen layers.
    """

    epochs: int = 1
    steps: int = 0
    batch: int = 8
    micro: int = 8
    learning_rate: float | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    warmup: float = 0.05
    floor: float = 0.0
    clip_norm: float = 1.0
    bfloat16: bool = False
    validate_every: int = 0
    patience: int = 10
    checkpoint_every: int = 0
    checkpoint_layers: bool = False
    shard: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges(
            self,
            counts=("epochs", "batch", "micro", "patience"),
            positive=("learning_rate",) if self.learning_rate is not None else (),
            not_negative=(
                "steps",
                "validate_every",
                "checkpoint_every",
                "weight_decay",
                "clip_norm",
            ),
        )
        if not (0 <= self.warmup < 1 and 0 <= self.floor <= 1):
            raise ConfigError(
                "warmup and floor are shares, warmup below 1", where=f"{self.warmup}, {self.floor}"
            )

    def share_of_rate(self, step: int, steps: int) -> float:
        """The learning rate of step `step` (from 0) of `steps`, as a share of the whole."""
        rising = math.ceil(self.warmup * steps)
        if step < rising:
            return (step + 1) / (rising + 1)
        done = (step - rising) / max(steps - rising, 1)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * done)) / 2

    def steps_an_epoch(self, texts: int) -> int:
        """Count the steps in which each text is read once."""
        return -(-texts // self.batch)

    def steps_in_all(self, texts: int) -> int:
        """Count the steps of the whole training."""
        return self.steps or self.epochs * self.steps_an_epoch(texts)

    def rows(self, step: int, texts: int) -> NDArray[np.int64]:
        """Choose the texts that step `step` (from 0) reads [batch, or less at an epoch's end]."""
        epoch, place = divmod(step, self.steps_an_epoch(texts))
        order = np.random.default_rng([self.seed, epoch]).permutation(texts)
        return order[place * self.batch : (place + 1) * self.batch]

    def validates(self, step: int, texts: int) -> bool:
        """Whether a validation follows `step` steps."""
        every = self.validate_every or self.steps_an_epoch(texts)
        return step % every == 0 or step == self.steps_in_all(texts)


@dataclass(frozen=True)
class TuneResult:
    """What came of a tuning. best: loss of the best validation in nats per token, NaN without one,
    after best_step steps. seconds: of CPU. records: the lines of metrics.jsonl."""

    best: float
    best_step: int
    steps: int
    tokens: int
    seconds: float
    records: tuple[dict[str, Any], ...]


@contextmanager
def recomputing(tuned: Tuned) -> Iterator[None]:
    """Within, decoder layers in train mode are computed again in the backward pass, from the same
    state of torch's random generator. Forward and backward passes both belong inside.

    Raises ConfigError where the layers cannot do so.
    """
    layers: list[Any] = list(tuned.layers())
    if not all(hasattr(layer, "gradient_checkpointing") for layer in layers):
        raise ConfigError(
            "the decoder layers of this model cannot be computed again",
            where=type(layers[0]).__name__,
            hint="leave --checkpoint-layers (checkpoint_layers) out",
        )
    again = partial(checkpoint, use_reentrant=False)
    for layer in layers:
        layer.gradient_checkpointing, layer._gradient_checkpointing_func = True, again
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing = False


@contextmanager
def sharding(tuned: Tuned) -> Iterator[None]:
    """Within, each process of the group holds its share of the frozen layers; afterwards all of
    them are whole again, and no process waits for another. An error leaves them divided.

    With one process nothing is divided. Every process needs the whole base once, before.
    Raises ConfigError where no layer has frozen weights, or the model was divided before.
    """
    if world_size() == 1:
        yield
        return
    layers = list(tuned.layers())
    _require_divisible(tuned, layers)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (world_size(),))
    for layer in layers:
        kept = {parameter for parameter in layer.parameters() if parameter.requires_grad}
        # Said outright: a layer is its own root here, and a root would stay whole by default.
        fully_shard(layer, mesh=mesh, ignored_params=kept, reshard_after_forward=True)
    _still_base(tuned, layers)
    yield
    whole: list[Any] = layers
    for layer in whole:
        layer.set_reshard_after_forward(False)
        layer.set_reshard_after_backward(False)
        layer.unshard()
    _still_base(tuned, layers)


def _require_divisible(tuned: Tuned, layers: list[nn.Module]) -> None:
    frozen = [p for layer in layers for p in layer.parameters() if not p.requires_grad]
    if not frozen:
        what, hint = "no decoder layer has frozen weights to divide", "leave shard off"
    elif any(hasattr(layer, "unshard") for layer in layers):
        what, hint = "the model was divided before", "load it again"
    else:
        return
    raise ConfigError(what, where=type(tuned.method).__name__, hint=hint)


def _still_base(tuned: Tuned, layers: list[nn.Module]) -> None:
    """Tell `tuned` which tensors are the frozen base now."""
    frozen = [p for layer in layers for p in layer.parameters() if not p.requires_grad]
    tuned.note_base(frozen)


Ints = NDArray[np.int64]


def tune(
    tuned: Tuned,
    texts: Texts,
    config: TuneConfig,
    run: str | Path | None = None,
    *,
    valid: Texts | None = None,
    **how: Unpack[LoopOptions],
) -> TuneResult:
    """Train `tuned` in place; afterwards it holds the best validation's weights, or the last
    ones where nothing is validated, in eval mode.

    run: folder for config.json, metrics.jsonl and the checkpoint; None keeps nothing. valid:
    texts whose answers' loss decides which weights are kept. how: see `LoopOptions`.
    Under torchrun: called in each process with the same arguments, and seconds are those of this
    process. Raises ConfigError (an existing run without resume, a loss that is not finite, other
    arguments in another process), ResumeError (no run, or one of something else),
    ValueInvalidError (no texts), ResourceError (disk full).
    """
    trainee = TuningTrainee(tuned, texts, config, valid)
    return trainee.result(train(trainee, trainee.folder(run), **how))


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
    trainee = TuningTrainee(tuned, texts, config, valid)
    startable(RunFolder(run, trainee.asked, trainee.kind), resume=resume)


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
    """Give all processes the weights of the first, which are of the same shapes."""
    if world_size() > 1:
        # By name: all processes in the same order.
        for _, value in sorted(tuned.state().items()):
            distributed.broadcast(value.detach(), src=0)


class TuningTrainee(Trainee[Ints]):
    """A method on a language model in training: of `tune`, and each job of `tune_jobs`.

    fused: of AdamW. failed: why one job of several was left out, empty where it was not.
    """

    kind = "tuning-checkpoint"
    goal = "valid_nll"
    higher_is_better = False
    unit = "tokens"
    divides_batches = True
    renamed: ClassVar = {"step": "steps", "answers": "loss_count"}
    hint = "lower --rate (learning_rate), or set clip_norm"

    def __init__(
        self,
        tuned: Tuned,
        texts: Texts,
        config: TuneConfig,
        valid: Texts | None,
        *,
        fused: bool = False,
    ) -> None:
        if not len(texts):
            raise ValueInvalidError("there are no texts to tune on")
        _require_float32(tuned)
        if config.learning_rate is None:
            config = replace(config, learning_rate=tuned.method.default_rate)
        self.rate = config.learning_rate or tuned.method.default_rate
        self.tuned, self.texts, self.config, self.valid = tuned, texts, config, valid
        self.weights, self.device = list(tuned.parameters()), _device(tuned)
        groups = tuned.groups(self.rate)
        adam = AdamW(
            groups, betas=config.betas, weight_decay=config.weight_decay, fused=fused or None
        )
        asked = {
            "tune": to_jsonable(config),
            "method": {"class": type(tuned.method).__name__, **to_jsonable(tuned.method)},
            "seed": tuned.seed,
            "base": tuned.base_fingerprint,
            "data_hash": texts.data_hash,
            "valid_hash": "" if valid is None else valid.data_hash,
        }
        loop = LoopConfig.of(config, epochs=1, checkpoint_every=config.checkpoint_every)
        super().__init__(tuned.causal, {"adam": adam}, loop, asked)
        self.validates_together = config.shard
        self.steps = config.steps_in_all(len(texts))
        self.tokens, self.seconds, self.failed = 0, 0.0, ""
        self.started = time.process_time()

    def epoch(self, at: RunPosition) -> Iterator[Ints]:
        """The texts of each remaining step of the run."""
        for step in range(at.steps, self.steps):
            batch = 0 if self.tuned.method.same_batch else step
            yield self.config.rows(batch, len(self.texts))

    def left(self, at: RunPosition) -> int:
        """Estimate the tokens that are left."""
        return int(self.texts.lengths.mean() * self.config.batch * (self.steps - at.steps))

    def label(self, at: RunPosition) -> str:
        """All epochs at once."""
        return "tune"

    def gradients(self, rows: Ints, at: RunPosition) -> StepLoss:
        """Compute those of this process's texts over the answers' tokens of all; a method without
        gradients takes its step."""
        self.started = time.process_time()
        self.tuned.train()
        self.tuned.before_step(at.steps, self.steps)
        answers = sum(len(self.texts.answers[row]) for row in rows.tolist())
        by_slope = not self.tuned.method.gradient_free
        find = self._backward if by_slope else self._without_gradients
        tokens = int(self.texts.lengths[rows].sum())
        return StepLoss(find(rows, answers, at), answers, shown=tokens)

    def update(self, at: RunPosition) -> None:
        """Take the optimiser's step, unless the method moves the weights by itself."""
        if not self.tuned.method.gradient_free:
            super().update(at)
        self.tuned.after_step(at.steps, self.steps)
        self.optimisers["adam"].zero_grad()

    def counted(self, found: StepLoss) -> None:
        """Count tokens and CPU seconds of the training alone."""
        self.tokens += found.shown
        self.seconds += time.process_time() - self.started

    def parameters(self) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """All that is tuned."""
        return self.weights, []

    def share_of_rate(self, at: RunPosition) -> float:
        """Warm-up, then a cosine."""
        return self.config.share_of_rate(at.steps, self.steps)

    def is_due(self, at: RunPosition) -> bool:
        """Once per epoch, or as the config says."""
        return self.config.validates(at.steps, len(self.texts))

    def is_due_after_epoch(self, at: RunPosition) -> bool:
        """The last step was validated already."""
        return False

    def train_mode(self) -> None:
        """`gradients` sets the mode of each step."""

    def line(self, at: RunPosition) -> dict[str, Any]:
        """Tokens and seconds beside the loss."""
        return {
            "step": at.steps,
            "tokens": self.tokens,
            "train_loss": at.mean_loss,
            "cpu_seconds": round(self.seconds, 2),
        }

    def validate(self, at: RunPosition) -> tuple[float | None, dict[str, Any]]:
        """Loss of the held-out answers in nats per token; no goal where there are none."""
        if self.valid is None:
            return None, {}
        nll = answer_nll(self.tuned, self.valid, bfloat16=self.config.bfloat16)
        return nll, {"valid_nll": nll}

    def result(self, at: RunPosition) -> TuneResult:
        """What `tune` returns."""
        best = math.nan if at.best is None else at.best
        return TuneResult(best, at.best_step, at.steps, self.tokens, self.seconds, at.records)

    @contextmanager
    def during(self) -> Iterator[None]:
        """What saves memory, and attention that keeps packed texts apart."""
        with ExitStack() as stack:
            if self.config.shard:
                stack.enter_context(sharding(self.tuned))
            if self.config.checkpoint_layers:
                stack.enter_context(recomputing(self.tuned))
            stack.enter_context(attends_apart(self.tuned.causal))
            yield

    def same_in_all(self) -> None:
        """The first process's adapter in all of them."""
        as_in_first(self.tuned)

    @property
    def saved(self) -> Stateful:
        """All but the base."""
        return _State(self.tuned)

    def state(self) -> dict[str, Any]:
        """What was counted."""
        return {"tokens": self.tokens, "seconds": self.seconds, "failed": self.failed}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.tokens, self.seconds = int(state["tokens"]), float(state["seconds"])
        self.failed = str(state["failed"])

    def tensors(self, best: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Add what the method remembers of the steps so far."""
        seen = {f"memory/{name}": value for name, value in self.tuned.seen_so_far().items()}
        return super().tensors(best) | seen

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Restore what `tensors` returned."""
        best = super().load_tensors(tensors)
        seen = {k.removeprefix("memory/"): v for k, v in tensors.items() if k.startswith("memory/")}
        self.tuned.recall_seen(seen)
        return best

    def finish(self, at: RunPosition) -> None:
        """Switch to evaluation mode."""
        self.tuned.eval()

    def _without_gradients(self, rows: Ints, answers: int, at: RunPosition) -> float:
        """Let a method that moves the weights itself take a step; returns the summed loss."""
        self.tuned.eval()
        mine = rows[rank() :: world_size()]
        parts = np.array_split(mine, -(-len(mine) // self.config.micro)) if len(mine) else []
        # The same direction in all processes: rank 0's.
        key = np.random.SeedSequence([self.config.seed, at.steps, 0])

        def loss() -> Tensor:
            own = torch.zeros(())
            with _precision(self.config, self.device):
                for part in parts:
                    own += float(answer_loss_of(self.tuned, self.texts.packed(part)))
            return torch.tensor(sum_gradients([], [], own) / max(answers, 1))

        seed = int(key.generate_state(2)[1])
        rate = self.rate * self.share_of_rate(at)
        return self.tuned.method.search(self.tuned, loss, rate=rate, seed=seed) * answers

    def _backward(self, rows: Ints, answers: int, at: RunPosition) -> float:
        """Leave the gradients of the whole batch behind; returns its summed loss."""
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

    def _used(self) -> Sequence[Tensor]:
        """Weights with a gradient in any process: AdamW skips a missing gradient, but decays on a
        zero one."""
        if world_size() == 1:
            return self.weights
        has = torch.tensor([float(each.grad is not None) for each in self.weights])
        distributed.all_reduce(has)
        return [each for each, any_has in zip(self.weights, has, strict=True) if any_has]


class _State:
    """The state of a tuned model in a checkpoint: all but its base."""

    def __init__(self, tuned: Tuned) -> None:
        self.tuned = tuned

    def state_dict(self) -> dict[str, Tensor]:
        """The tuned weights."""
        return {name: value.detach().cpu() for name, value in self.tuned.state().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> None:
        """Restore the tuned weights."""
        self.tuned.load_state(dict(state_dict))


def _losses(tuned: Tuned, packed: Packed) -> tuple[Tensor, Tensor]:
    """`answer_loss_of`, and the distance of two readings where the method reads twice, else 0."""
    method = tuned.method
    if not method.reads_twice(tuned):
        return answer_loss_of(tuned, packed), torch.zeros(())
    both = packed.to(_device(tuned)).twice()
    with attends_apart(tuned.causal):
        hidden = tuned(both.ids[None], position_ids=both.places()[None])[0]
    first, second = hidden.chunk(2)
    asked = packed.answer.nonzero()[:, 0].to(hidden.device) - 1
    p, q = (tuned.logits(half[asked]).float() for half in (first, second))
    loss = _loss(tuned, first, packed.to(hidden.device))
    return loss, method.disagreement(p, q)


def answer_loss_of(tuned: Tuned, packed: Packed) -> Tensor:
    """Cross-entropy [] in nats, summed over the answers' tokens."""
    packed = packed.to(_device(tuned))
    with attends_apart(tuned.causal):
        hidden = tuned(packed.ids[None], position_ids=packed.places()[None])[0]
        return _loss(tuned, hidden, packed)


def _loss(tuned: Tuned, hidden: Tensor, packed: Packed) -> Tensor:
    causal = tuned.causal
    return answer_loss(hidden, causal.lm_head, packed, head_logits(causal.config))


def _require_float32(tuned: Tuned) -> None:
    """Raise ConfigError for other types, whose steps are too coarse."""
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
