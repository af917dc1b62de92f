"""The device's side of tuning that is shared with a cloud: texts, loss, and the tuned modules.

The modules are LoRA's: with A [r, in], B [out, r] and the x and g that the cloud sends,

    delta = s B A x      dB = g' (s A x)      dA = s (B' g)' x      dx = s A' (B' g)
    operations = 6 T r (in + out)   per module and step of T tokens, forward and backward

A killed module (see `kill_revive`) costs none of this, and no traffic. The result is a plain LoRA:
`save` writes it, and `load_tuned` attaches it to the base. While all modules are active, a step is
that of `tune` with LoRA up to the order of sums.

    listener = Listener()                                            # the cloud, 127.0.0.1
    serve_base(model, listener.accept())
    ...
    here, report = tune_on_device(                                   # the device
        connect(listener.address), texts, TuneConfig(), lora=LoRA(rank=8), rule=KillRevive())
    here.save(folder)
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import to_jsonable
from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.training.offsite.pipeline import KillRevive, Lives
from adwright.training.offsite.wire import Channel, WireMessage
from adwright.training.tuning.texts import Texts
from adwright.training.tuning.tune import TuneConfig
from adwright.tuning.packing.texts import Packed, answer_loss
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.storage import write_tuned

#: Seconds that the cloud may take for its share of a pass.
_WAIT = 600.0


@dataclass(frozen=True)
class DeviceReport:
    """What a training on the device cost. losses: of each step, nats per token. valid: of the
    validation at the end, None without one. sent, received: bytes of the steps alone. once: bytes
    received at the start. operations, cpu_seconds: of modules and this process, in steps. alive:
    active modules in each step, of `modules`."""

    losses: tuple[float, ...]
    valid: float | None
    sent: int
    received: int
    once: int
    operations: int
    cpu_seconds: float
    alive: tuple[int, ...]
    modules: int


@dataclass
class _Spent:
    sent: int = 0
    received: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    alive: list[int] = field(default_factory=list)


class OnDevice:
    """The modules on the device, as the cloud's message `ends` describes them. lora: their
    settings; its targets must be the cloud's. seed: of A, drawn as `apply` draws it.

    Raises ConfigError for other targets or a dropout, DataError where `ends` is incomplete.
    """

    def __init__(self, ends: WireMessage, lora: LoRA, seed: int) -> None:
        if lora.dropout:
            raise ConfigError("modules on a device have no dropout", where="LoRA.dropout")
        self.lora = lora
        self.embedding = ends.tensor("embedding")
        head = ends.tensors.get("head", self.embedding)
        self.head = nn.Linear(head.shape[1], head.shape[0], bias=False, device="meta")
        self.head.weight = nn.Parameter(head, requires_grad=False)
        self.names, sizes = _modules(ends)
        if {name.rpartition(".")[2] for name in self.names} != set(lora.targets):
            raise ConfigError(
                "the cloud offers other maps than LoRA is asked for",
                where=f"LoRA.targets = {', '.join(lora.targets)}",
                hint="name the cloud's targets",
            )
        self.base = str(ends.fields.get("base", ""))
        generator = torch.Generator().manual_seed(seed)
        self.a, self.b = nn.ParameterList(), nn.ParameterList()
        for columns, rows in sizes:
            bound = 1 / math.sqrt(columns)
            draws = torch.rand((lora.rank, columns), generator=generator)
            self.a.append(nn.Parameter((draws * 2 - 1) * bound))
            self.b.append(nn.Parameter(torch.zeros(rows, lora.rank)))
        self.operations = 0
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def parameters(self) -> list[nn.Parameter]:
        """A and B of each module in turn."""
        return [each for pair in zip(self.a, self.b, strict=True) for each in pair]

    def forward(self, channel: Channel, packed: Packed, *, trains: bool) -> Tensor:
        """Hidden states [T, D], by the cloud's layers and the modules here."""
        self._kept.clear()
        x = functional.embedding(packed.ids, self.embedding)
        tensors = {"x": x, "places": packed.places()}
        channel.send(WireMessage("forward", {"trains": trains}, tensors))
        while True:
            asked = channel.receive("input", "hidden", timeout=_WAIT)
            if asked.kind == "hidden":
                return asked.tensor("hidden")
            number = self._number(asked)
            channel.send(WireMessage("delta", {}, {"delta": self._delta(number, asked, trains)}))

    def backward(self, channel: Channel, slope: Tensor) -> None:
        """Leave the gradients of active modules behind, given that of the hidden states."""
        channel.send(WireMessage("backward", {}, {"slope": slope}))
        while True:
            asked = channel.receive("slope", "done", timeout=_WAIT)
            if asked.kind == "done":
                return
            number = self._number(asked)
            channel.send(WireMessage("slope_in", {}, {"slope": self._back(number, asked)}))

    def save(self, folder: str | Path, *, seed: int = 0, overwrite: bool = False) -> str:
        """Write the modules as a LoRA that `load_tuned` attaches to the base; its artifact's id."""
        tensors = dict[str, Tensor]()
        for name, a, b in zip(self.names, self.a, self.b, strict=True):
            tensors |= {f"model.{name}.a": a.detach(), f"model.{name}.b": b.detach()}
        return write_tuned(
            folder,
            overwrite=overwrite,
            method="LoRA",
            config=to_jsonable(self.lora),
            seed=seed,
            base=self.base,
            tensors=tensors,
        )

    def _number(self, message: WireMessage) -> int:
        number = message.number("module")
        if not 0 <= number < len(self.a):
            raise DataError("the cloud names no module", column=message.kind, value=number)
        return number

    @torch.no_grad()
    def _delta(self, number: int, asked: WireMessage, trains: bool) -> Tensor:
        x = asked.tensor("x")
        a, b = self.a[number], self.b[number]
        if x.ndim != 2 or x.shape[1] != a.shape[1]:
            raise DataError("the cloud sends an input of another size", value=tuple(x.shape))
        low = functional.linear(x, a.to(x.dtype)) * self.lora.scale
        if trains:
            self._kept[number] = (x, low)
            self.operations += 2 * len(x) * (a.numel() + b.numel())
        return functional.linear(low, b.to(x.dtype))

    @torch.no_grad()
    def _back(self, number: int, asked: WireMessage) -> Tensor:
        g, a, b = asked.tensor("slope"), self.a[number], self.b[number]
        if number not in self._kept or g.shape != (len(self._kept[number][0]), len(b)):
            raise DataError("the cloud sends a slope of another size", value=tuple(g.shape))
        x, low = self._kept.pop(number)
        below = (g @ b.to(g.dtype)) * self.lora.scale
        for parameter, found in ((a, below.T @ x.to(g.dtype)), (b, g.T @ low.to(g.dtype))):
            grad = found.to(parameter.dtype)
            parameter.grad = grad if parameter.grad is None else parameter.grad + grad
        self.operations += 4 * len(g) * (a.numel() + b.numel())
        back: Tensor = below @ a.to(g.dtype)
        return back


def tune_on_device(
    channel: Channel,
    texts: Texts,
    config: TuneConfig,
    *,
    lora: LoRA | None = None,
    rule: KillRevive | None = None,
    valid: Texts | None = None,
) -> tuple[OnDevice, DeviceReport]:
    """Train LoRA's modules here beside a base that `serve_base` computes elsewhere.

    config: of which this loop follows epochs, steps, batch, micro, learning_rate, betas,
    weight_decay, warmup, floor, clip_norm and seed. rule: which modules are killed; None for
    none. valid: texts whose loss is measured at the end. Raises ValueInvalidError where there are
    no texts, ConfigError for a loss that is not finite, and as `Channel.receive`.
    """
    if not len(texts):
        raise ValueInvalidError("there are no texts to tune on")
    with channel:
        channel.greet()
        ends = channel.receive("ends")
        once = sum(channel.received.values())
        _require_known(texts, len(ends.tensor("embedding")))
        here = OnDevice(ends, lora or LoRA(), config.seed)
        loop = _Loop(here, channel, texts, config, rule or KillRevive(window=0))
        for step in range(loop.steps):
            loop.step(step)
        measured = None if valid is None else _nll(here, channel, valid, config.batch)
        channel.send(WireMessage("bye"))
    spent = loop.spent
    return here, DeviceReport(
        losses=tuple(spent.losses),
        valid=measured,
        sent=spent.sent,
        received=spent.received,
        once=once,
        operations=here.operations,
        cpu_seconds=spent.seconds,
        alive=tuple(spent.alive),
        modules=len(here.a),
    )


class _Loop:
    """The steps; `tune_on_device` is its only user."""

    def __init__(
        self, here: OnDevice, channel: Channel, texts: Texts, config: TuneConfig, rule: KillRevive
    ) -> None:
        self.here, self.channel, self.texts, self.config = here, channel, texts, config
        self.lives, self.spent = Lives(rule, len(here.a)), _Spent()
        self.steps = config.steps_in_all(len(texts))
        rate = config.learning_rate or LoRA.default_rate
        groups = [{"params": list(here.a), "lr": rate}, {"params": list(here.b), "lr": rate}]
        groups[1]["lr"] = rate * here.lora.rate_ratio
        self.rates = [rate, rate * here.lora.rate_ratio]
        self.optimiser = torch.optim.AdamW(
            groups, betas=config.betas, weight_decay=config.weight_decay
        )
        self.before = self._numbers()

    def step(self, step: int) -> None:
        """Run one step, then choose the modules that stay active."""
        start, sent, received = time.process_time(), self._sent(), self._received()
        self.spent.alive.append(len(self.lives.alive))
        loss = self._gradients(self.config.rows(step, len(self.texts)))
        if not math.isfinite(loss):
            raise ConfigError(
                "the loss is no longer a finite number",
                where=f"step {step + 1} of {self.steps}",
                hint="lower the learning rate, or set clip_norm",
            )
        share = self.config.share_of_rate(step, self.steps)
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * share
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(self.here.parameters, self.config.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad()
        if self.lives.is_due(step):
            self._decide()
        spent = self.spent
        spent.losses.append(loss)
        spent.seconds += time.process_time() - start
        spent.sent += self._sent() - sent
        spent.received += self._received() - received

    def _gradients(self, rows: Any) -> float:
        """Leave gradients behind; returns the mean loss."""
        answers = sum(len(self.texts.answers[row]) for row in rows.tolist())
        total = 0.0
        for part in np.array_split(rows, -(-len(rows) // self.config.micro)):
            packed = self.texts.packed(part)
            hidden = self.here.forward(self.channel, packed, trains=True).requires_grad_()
            loss = answer_loss(hidden, self.here.head, packed) / max(answers, 1)
            (slope,) = torch.autograd.grad(loss, hidden)
            self.here.backward(self.channel, slope)
            total += float(loss.detach())
        return total

    def _decide(self) -> None:
        now = self._numbers()
        change = {
            number: float((now[number] - self.before[number]).norm()) / len(now[number]) ** 0.5
            for number in self.lives.alive
        }
        killed, revived = self.lives.decide(change)
        self.before = now
        if killed:
            tensors = dict[str, Tensor]()
            for number in killed:
                tensors |= {f"{number}.a": self.here.a[number], f"{number}.b": self.here.b[number]}
            fields = {"modules": killed, "scale": self.here.lora.scale}
            self.channel.send(WireMessage("killed", fields, tensors))
        if revived:
            self.channel.send(WireMessage("revived", {"modules": revived}))

    def _numbers(self) -> list[Tensor]:
        pairs = zip(self.here.a, self.here.b, strict=True)
        return [torch.cat([a.detach().flatten(), b.detach().flatten()]) for a, b in pairs]

    def _sent(self) -> int:
        return sum(self.channel.sent.values())

    def _received(self) -> int:
        return sum(self.channel.received.values())


def _require_known(texts: Texts, vocabulary: int) -> None:
    """Raise ConfigError for a token that the cloud's embedding has no row for."""
    largest = max(max(ids, default=0) for ids in (*texts.prompts, *texts.answers))
    if largest >= vocabulary:
        raise ConfigError(
            "the texts have tokens that the cloud's model does not know",
            where=f"token {largest} of {vocabulary}",
            hint="encode them with the tokenizer of the cloud's model",
        )


def _nll(here: OnDevice, channel: Channel, texts: Texts, batch: int) -> float:
    """Mean negative log-likelihood of the answers' tokens, in nats."""
    total, answers = 0.0, 0
    with torch.no_grad():
        for start in range(0, len(texts), batch):
            packed = texts.packed(range(start, min(start + batch, len(texts))))
            hidden = here.forward(channel, packed, trains=False)
            total += float(answer_loss(hidden, here.head, packed))
            answers += packed.answers
    return total / max(answers, 1)


def _modules(ends: WireMessage) -> tuple[list[str], list[tuple[int, int]]]:
    """Read names and (in, out) of the maps."""
    names, sizes = ends.fields.get("names"), ends.fields.get("sizes")
    fits = isinstance(names, list) and isinstance(sizes, list) and len(names) == len(sizes) > 0
    if not fits or not all(_is_pair(each) for each in sizes):  # type: ignore[union-attr]
        raise DataError("the cloud does not say which maps it has", column="ends.sizes")
    return [str(name) for name in names], [(columns, rows) for columns, rows in sizes]  # type: ignore[union-attr]


def _is_pair(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(each, int) and 0 < each < 1 << 20 for each in value)
    )
