"""Both sides of kill and revive from files: what `adwright tune split server` and `device` do.

cloud    a model            ->  computes for one device, keeps nothing
device   a file of pairs    ->  OUT/tuned, a LoRA as `adwright tune run` writes it, and
                                OUT/report.json, its DeviceReport
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from adwright.core.atomic import atomic_write_text
from adwright.core.config import settings, to_jsonable
from adwright.core.errors import ConfigError, DataError, ResourceError, ValueInvalidError
from adwright.lm.engine.weights import SMOLLM2
from adwright.training.offsite.sandwich import KillRevive, Lives
from adwright.training.offsite.wire import (
    Channel,
    Listener,
    Reception,
    WireMessage,
    connect,
    read_address,
)
from adwright.training.search import require_free
from adwright.training.tuning.run import load_base, load_tokenizer
from adwright.training.tuning.texts import PairsConfig, Texts, held_apart
from adwright.training.tuning.tune import TuneConfig
from adwright.tuning.modules import LINEAR, HeadLogits, Target, decoder_layers, head_logits, places
from adwright.tuning.packing.texts import Packed, answer_loss, attends_apart
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.tuned import fingerprint, write_tuned

# --------------------------------------------------------------------------------------------------
# The cloud's side of tuning that is shared with a device: the frozen base, and nothing of a text.
#
#     device                        cloud
#       hello                 ->
#                             <-    ends        embedding, head, sizes of the maps
#     each pass:
#       forward  x0, places   ->                layer by layer; at each map whose module is active:
#                             <-    input  x
#       delta    s B A x      ->
#                             <-    hidden      after the last norm
#     where the pass is of a training step:
#       backward dL/dhidden   ->                in the graph's order, at each active one:
#                             <-    slope  g
#       slope_in s A'B' g     ->
#                             <-    done
#     between steps:
#       killed   A, B         ->                the cloud computes these modules, frozen
#       revived               ->
#       bye                   ->
#
# Tokens, answers, loss and the weights of active modules stay on the device. The hidden states do
# not
# hide the texts: x0 is a row of the cloud's own embedding for each token, so a cloud that looks can
# read them. The paper promises that no text is stored or sent as such, no more.
#
# See `kill_revive` for the paper.

#: Seconds that the device may take for its share of a step.
_WAIT = 600.0
#: Tokens of a pass at most, and bytes of a message beside its numbers.
_TOKENS, _SLACK = 1 << 16, 1 << 16


def serve_base(
    model: Any, channel: Channel, *, targets: tuple[Target, ...] = LINEAR, passes: int = 1_000_000
) -> int:
    """Compute the frozen `model` for one device until it says goodbye; returns the passes.

    model: a causal LM of transformers; it is left as it was. targets: the maps beside which the
    device may have a module. passes: at most so many. Raises DataError for what is out of turn or
    of other sizes, ConfigError for too many passes, and as `Channel.receive`.
    """
    model.requires_grad_(False).eval()
    with channel:
        channel.receive_hello()
        found = list(places(model, targets))
        channel.send(_ends(model, [(place.name, place.linear) for place in found]))
        maps = [_Map(place.linear, number, channel) for number, place in enumerate(found)]
        plain = [place.linear for place in found]
        for place, module in zip(found, maps, strict=True):
            place.put(module)
        try:
            with attends_apart(model):
                return _serve(model, channel, maps, passes)
        finally:
            for place, linear in zip(found, plain, strict=True):
                place.put(linear)


def _serve(model: Any, channel: Channel, maps: list[_Map], passes: int) -> int:
    done, width = 0, model.config.hidden_size
    # States of a pass, or the killed modules of all maps, of the largest rank.
    maps_bytes = sum(4 * m.base.weight.numel() * 2 + _SLACK for m in maps)
    most = max(4 * _TOKENS * (width + 2), maps_bytes) + _SLACK
    while True:
        asked = channel.receive("forward", "killed", "revived", "bye", timeout=_WAIT, limit=most)
        match asked.kind:
            case "bye":
                return done
            case "killed":
                for number in _numbers(asked, len(maps)):
                    a, b = asked.tensor(f"{number}.a"), asked.tensor(f"{number}.b")
                    maps[number].kill(a, b, asked.real("scale"))
            case "revived":
                for number in _numbers(asked, len(maps)):
                    maps[number].dead = None
            case _:
                if done >= passes:
                    raise ConfigError("the device asks for too many passes", where=str(passes))
                done += 1
                _pass(model, channel, asked)


def _pass(model: Any, channel: Channel, asked: WireMessage) -> None:
    """One forward pass, and the backward pass where the device asks for it."""
    x, position = asked.tensor("x"), asked.tensor("places")
    width = model.config.hidden_size
    if x.ndim != 2 or x.shape[1] != width or position.shape != x.shape[:1]:
        raise DataError("the device sends states of another size", column="x", value=tuple(x.shape))
    trains = asked.fields.get("trains") is True
    x = x.to(model.dtype).requires_grad_(trains)
    with torch.set_grad_enabled(trains):
        hidden = model.model(
            inputs_embeds=x[None], position_ids=position[None], use_cache=False
        ).last_hidden_state[0]
    channel.send(WireMessage("hidden", {}, {"hidden": hidden}))
    if trains:
        most = 4 * hidden.numel() + _SLACK
        slope = channel.receive("backward", timeout=_WAIT, limit=most).tensor("slope")
        if slope.shape != hidden.shape:
            raise DataError("the device sends a slope of another size", column="slope")
        hidden.backward(slope.to(hidden.dtype))
        channel.send(WireMessage("done"))


class _Map(nn.Module):
    """A map of the base, and the device's module beside it; `dead`: A, B and scale of a killed
    module, which the cloud computes."""

    def __init__(self, base: nn.Linear, number: int, channel: Channel) -> None:
        super().__init__()
        self.base, self.number, self.channel = base, number, channel
        self.dead: tuple[Tensor, Tensor, float] | None = None

    def kill(self, a: Tensor, b: Tensor, scale: float) -> None:
        """Compute the module here from now on. Raises DataError for other sizes."""
        rank = a.shape[0]
        wanted = (rank, self.base.in_features), (self.base.out_features, rank)
        if (tuple(a.shape), tuple(b.shape)) != wanted:
            raise DataError("a killed module has another size", column=str(self.number))
        self.dead = (a, b, scale)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        y: Tensor = self.base(x)
        if self.dead is None:
            return y + _Ask.apply(x, self.number, y.shape[-1], self.channel)  # type: ignore[no-any-return, no-untyped-call]
        a, b, scale = self.dead
        low = functional.linear(x, a.to(x.dtype)) * scale
        return y + functional.linear(low, b.to(x.dtype))


class _Ask(torch.autograd.Function):
    """The device's module as a differentiable function of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, number: int, width: int, channel: Channel) -> Tensor:
        ctx.number, ctx.channel, ctx.shape = number, channel, x.shape
        channel.send(WireMessage("input", {"module": number}, {"x": x.reshape(-1, x.shape[-1])}))
        shape = (*x.shape[:-1], width)
        most = 4 * torch.Size(shape).numel() + _SLACK
        delta = channel.receive("delta", timeout=_WAIT, limit=most).tensor("delta")
        return _shaped(delta, shape, x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None, None, None]:
        slope = {"slope": above.reshape(-1, above.shape[-1])}
        ctx.channel.send(WireMessage("slope", {"module": ctx.number}, slope))
        most = 4 * ctx.shape.numel() + _SLACK
        back = ctx.channel.receive("slope_in", timeout=_WAIT, limit=most).tensor("slope")
        return _shaped(back, ctx.shape, above.dtype), None, None, None


def _shaped(value: Tensor, shape: Any, dtype: torch.dtype) -> Tensor:
    if value.numel() != torch.Size(shape).numel():
        raise DataError("the device answers with another size", value=tuple(value.shape))
    return value.view(shape).to(dtype)


def _ends(model: Any, maps: list[tuple[str, nn.Linear]]) -> WireMessage:
    """The message with what turns tokens into states, and states into a loss."""
    tensors = {"embedding": model.get_input_embeddings().weight}
    head = model.lm_head
    if head.weight.data_ptr() != tensors["embedding"].data_ptr():
        tensors["head"] = head.weight
    if head.bias is not None:
        raise ConfigError("a head with a bias is not sent", where=type(model).__name__)
    embedding = model.get_input_embeddings()
    if head_logits(model.config) != HeadLogits() or type(embedding) is not nn.Embedding:
        raise ConfigError(
            "the device would not know how this model scales its embedding and its logits",
            where=type(model).__name__,
            hint="offer a model of the families Llama, Mistral or Qwen",
        )
    sizes: Mapping[str, Any] = {
        "names": [name for name, _ in maps],
        "sizes": [[linear.in_features, linear.out_features] for _, linear in maps],
        "layers": len(decoder_layers(model)),
        "base": fingerprint(model),
    }
    return WireMessage("ends", sizes, tensors)


def _numbers(message: WireMessage, modules: int) -> list[int]:
    found = message.fields.get("modules")
    if not isinstance(found, list) or not all(
        isinstance(each, int) and 0 <= each < modules for each in found
    ):
        raise DataError("a message names no module", column=message.kind, value=found)
    return found


# --------------------------------------------------------------------------------------------------
# The device's side of tuning that is shared with a cloud: texts, loss, and the tuned modules.
#
# The modules are LoRA's: with A [r, in], B [out, r] and the x and g that the cloud sends,
#
#     delta = s B A x      dB = g' (s A x)      dA = s (B' g)' x      dx = s A' (B' g)
#     operations = 6 T r (in + out)   per module and step of T tokens, forward and backward
#
# A killed module (see `kill_revive`) costs none of this, and no traffic. The result is a plain
# LoRA:
# `save` writes it, and `load_tuned` attaches it to the base. While all modules are active, a step
# is
# that of `tune` with LoRA up to the order of sums.
#
#     listener = Listener()                                            # the cloud, 127.0.0.1
#     serve_base(model, listener.accept())
#     ...
#     here, report = tune_on_device(                                   # the device
#         connect(listener.address), texts, TuneConfig(), lora=LoRA(rank=8), rule=KillRevive())
#     here.save(folder)

#: Seconds that the cloud may take for its share of a pass.


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
    if not fits or not all(
        isinstance(each, list)
        and len(each) == 2
        and all(isinstance(one, int) and 0 < one < 1 << 20 for one in each)
        for each in sizes  # type: ignore[union-attr]
    ):
        raise DataError("the cloud does not say which maps it has", column="ends.sizes")
    return [str(name) for name in names], [(columns, rows) for columns, rows in sizes]  # type: ignore[union-attr]


#: The maps that get a module where nothing else is asked for.
TARGETS: tuple[Target, ...] = ("q_proj", "v_proj")


@settings
class CloudRun:
    """What the cloud offers. model: as `adwright lm generate --model` takes it. targets: maps
    beside which the device has a module. host, port: where to listen, 0 for a free port. wait:
    seconds for the device to connect. passes: at most so many are computed."""

    model: str = SMOLLM2
    targets: tuple[Target, ...] = TARGETS
    host: str = "127.0.0.1"
    port: int = 0
    wait: float = 86_400.0
    passes: int = 1_000_000


@dataclass(frozen=True)
class DeviceRun:
    """What the device trains. address: HOST:PORT/TOKEN of the cloud. model: the cloud's; its
    tokenizer alone is read. rule: which modules are killed and revived."""

    data: PairsConfig
    address: str
    model: str = SMOLLM2
    lora: LoRA = field(default_factory=lambda: LoRA(targets=TARGETS))
    rule: KillRevive = field(default_factory=KillRevive)
    tune: TuneConfig = field(default_factory=TuneConfig)
    out: Path = Path("runs/revive")


def run_cloud(asked: CloudRun, *, on_listening: Callable[[str], None]) -> int:
    """Compute the base for one device until it says goodbye; returns the passes.

    on_listening: called once with HOST:PORT/TOKEN. Raises ResourceError where nobody comes who
    knows the token, and as `load_base` and `serve_base`.
    """
    model, _, _ = load_base(asked.model)
    with Listener(asked.host, asked.port) as listener:
        on_listening(str(listener.address))
        channel = _first(listener, asked.wait)
    return serve_base(model, channel, targets=asked.targets, passes=asked.passes)


def _first(listener: Listener, wait: float) -> Channel:
    """The first peer that knows the token; strangers keep nobody waiting meanwhile."""
    greeted = Queue[Channel]()
    with Reception(listener, greeted.put) as reception:
        try:
            return greeted.get(timeout=wait)
        except Empty:
            raise ResourceError(
                "nobody connected who knows the token",
                where=f"{listener.host}:{listener.port}, {wait:g} s",
                hint="start the other side, or wait longer",
            ) from reception.last


def run_device(asked: DeviceRun, *, overwrite: bool = False) -> DeviceReport:
    """Tune a LoRA here beside a base that is computed elsewhere; save it, and report.

    overwrite: replace an adapter that is there. Raises ResourceError where it is there, and as
    `read_address`, `held_apart`, `connect` and `tune_on_device`.
    """
    address = read_address(asked.address)
    folder = asked.out / "tuned"
    if not overwrite:
        require_free(folder, "an adapter")
    train, valid = held_apart(asked.data, load_tokenizer(asked.model), asked.tune.seed)
    here, report = tune_on_device(
        connect(address),
        train,
        asked.tune,
        lora=asked.lora,
        rule=asked.rule,
        valid=valid if len(valid) else None,
    )
    here.save(folder, seed=asked.tune.seed, overwrite=overwrite)
    counts = {"texts": len(train), "held": len(valid)}
    text = json.dumps({**counts, **to_jsonable(report)}, indent=1) + "\n"
    atomic_write_text(asked.out / "report.json", text)
    return report
