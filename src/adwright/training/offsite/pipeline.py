"""Both sides of offsite-tuning from files: what `adwright tune offsite owner` and `train` do.

own      a model            ->  OUT, the model with the trained ends, as transformers keeps it
train    a file of pairs    ->  OUT/run, the resumable training, and OUT/report.json

Choose the modules that are trained: those that change; the others are killed for a while.

Gao & Zhang, "DLoRA: Distributed Parameter-Efficient Fine-Tuning Solution for Large Language
Model", 2024, arXiv 2404.05182 (another work than the serving system dLoRA of the same year). The
cloud holds the frozen base, the device the texts and the modules; each active module costs the
device computation and traffic in every step. Modules whose weights hardly change over recent steps
are killed, and revived later.

Formulas of our own: with theta_m the n_m weights of module m, every w steps

    c_m = ||theta_m(t) - theta_m(t - w)|| / sqrt(n_m)     for active modules
    K   = ceil(alive M)                                   active afterwards, of M
    R   = min(ceil(revived M), K - 1, number killed)      of them revived: those killed longest
    the K - R active modules with the largest c_m stay

In the first w steps all are active. So a module is killed for at most ceil(M / R) windows, and the
device decides by its own weights. A killed module is not removed: its weights go to the cloud once,
which computes it, frozen; the device resumes it with the same weights.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, Queue
from threading import Event
from typing import Any

import torch

from adwright.core.atomic import atomic_folder, atomic_write_text
from adwright.core.config import to_jsonable
from adwright.core.errors import AdwrightError, ConfigError, DataError, ResourceError, ResumeError
from adwright.lm.engine.weights import SMOLLM2
from adwright.lm.torch_engine.model import quick_dtype
from adwright.training.loop.run_folder import RunFolder
from adwright.training.offsite.sandwich import (
    WAIT,
    distil,
    emulator_of,
    offered,
    plugged,
    shipped_emulator,
    train_offsite,
)
from adwright.training.offsite.wire import (
    Channel,
    Listener,
    Reception,
    WireMessage,
    connect,
    printable,
    read_address,
)
from adwright.training.tuning.base import load_base
from adwright.training.tuning.texts import PairsConfig, Texts, held_apart
from adwright.training.tuning.tune import TuneConfig
from adwright.tuning.tuned import Tuned


@dataclass(frozen=True)
class KillRevive:
    """The rule. window: w steps, 0 for modules that are always active. alive, revived: shares of
    all modules."""

    window: int = 8
    alive: float = 0.25
    revived: float = 0.05

    def __post_init__(self) -> None:
        if self.window < 0 or not 0 < self.alive <= 1 or not 0 <= self.revived <= 1:
            raise ConfigError(
                "window is not negative, alive a share above 0, revived a share",
                where=f"window {self.window}, alive {self.alive}, revived {self.revived}",
            )


class Lives:
    """Which of M modules, numbered from 0, are active."""

    def __init__(self, rule: KillRevive, modules: int) -> None:
        self.rule, self.modules = rule, modules
        self.alive = list(range(modules))
        #: The killed ones, and by which decision.
        self.killed: dict[int, int] = {}
        self._decisions = 0

    def is_due(self, step: int) -> bool:
        """Whether to decide after step `step` (from 0)."""
        return self.rule.window > 0 and (step + 1) % self.rule.window == 0

    def decide(self, change: Mapping[int, float]) -> tuple[list[int], list[int]]:
        """Decide by the change c_m of each active module; (killed, revived) now, each ascending."""
        self._decisions += 1
        room = max(1, math.ceil(self.rule.alive * self.modules))
        turns = min(math.ceil(self.rule.revived * self.modules), room - 1, len(self.killed))
        longest = sorted(self.killed, key=lambda number: (self.killed[number], number))
        revived = sorted(longest[:turns])
        by_change = sorted(self.alive, key=lambda number: (-change[number], number))
        stay, go = by_change[: room - turns], sorted(by_change[room - turns :])
        for number in revived:
            del self.killed[number]
        self.killed |= dict.fromkeys(go, self._decisions)
        self.alive = sorted([*stay, *revived])
        return go, revived


_logger = logging.getLogger("adwright")
#: Seconds after which the owner looks whether its time is over.
_LOOK = 0.2


@dataclass(frozen=True)
class OwnerRun:
    """What the owner of a model asks for. model: as `adwright lm generate --model` takes it. ends,
    kept: layers, see `sandwich`. distil: a file of pairs of one's own to train the kept layers
    on, None for layers as they are; distil_steps: of that. host, port: where to listen, 0 for a
    free port. wait: seconds for a peer to bring an adapter, and for its training."""

    model: str = SMOLLM2
    out: Path = Path("runs/plugged")
    ends: int = 2
    kept: int = 8
    distil: Path | None = None
    distil_steps: int = 200
    host: str = "127.0.0.1"
    port: int = 0
    wait: float = WAIT


@dataclass(frozen=True)
class TrainerRun:
    """What the texts' owner asks for. address: HOST:PORT/TOKEN, see `read_address`. rank: of LoRA
    in the ends, 0 to train them whole."""

    data: PairsConfig
    address: str
    rank: int = 8
    tune: TuneConfig = field(default_factory=TuneConfig)
    out: Path = Path("runs/offsite")


@dataclass(frozen=True)
class OffsiteReport:
    """What the training of the ends cost. trainable: parameters. valid_nll: nats per token of the
    held-out answers, of the emulator with the trained ends; None without. sent, received: bytes."""

    trainable: int
    steps: int
    tokens: int
    cpu_seconds: float
    texts: int
    held: int
    valid_nll: float | None
    sent: int
    received: int


def run_owner(
    asked: OwnerRun, *, overwrite: bool = False, on_listening: Callable[[str], None]
) -> None:
    """Give the thinned model to a peer, and write the whole one with the ends that come back.

    Several peers may train at once, the first adapter that fits is taken; where a peer fails, its
    reason is logged. New ones are taken until `asked.wait` is over. on_listening: called once with
    HOST:PORT/TOKEN. overwrite: replace `asked.out`. Raises ConfigError where layers or port do not
    allow it, ResourceError where nobody comes, and as `held_apart` and `load_base`; what the last
    peer failed of where none brought an adapter.
    """
    model, tokenizer, _ = load_base(asked.model)
    model.eval()
    small = emulator_of(model, asked.ends, asked.kept)
    if asked.distil is not None:
        texts, _ = held_apart(PairsConfig(path=asked.distil, valid=0.0), tokenizer, 0)
        distil(small, model, texts, ends=asked.ends, steps=asked.distil_steps)
    with atomic_folder(asked.out, overwrite=overwrite) as folder:
        # First, so that a folder that cannot be written is known before the wait.
        tokenizer.save_pretrained(folder)
        with Listener(asked.host, asked.port) as listener:
            on_listening(str(listener.address))
            plain: Any = _served(asked, listener, model, small, folder).merge()
        plain.save_pretrained(folder)


def _served(asked: OwnerRun, listener: Listener, model: Any, small: Any, tokenizer: Path) -> Tuned:
    """Serve all that know the token, each in a thread, until an adapter has come that fits."""
    until, adapters = time.monotonic() + asked.wait, Queue[tuple[Channel, WireMessage, Event]]()
    emulator, over = shipped_emulator(small, asked.ends, tokenizer), Event()

    def serve(channel: Channel) -> None:
        done = Event()
        with channel:
            came = offered(model, channel, emulator, asked.ends, asked.wait)
            adapters.put((channel, came, done))
            while not (done.wait(_LOOK) or over.is_set()):
                pass

    with Reception(listener, serve) as reception, ExitStack() as stack:
        stack.callback(over.set)
        while reception.served or time.monotonic() < until:
            try:
                channel, came, done = adapters.get(timeout=_LOOK)
            except Empty:
                continue
            try:
                return plugged(model, channel, came, asked.ends)
            except Exception as error:
                # Whatever a peer sent must not cost an hour of distillation.
                reception.last = error
                _logger.warning("no adapter yet, still listening: %s", printable(str(error)))
                channel.refuse(type(error).__name__)
            finally:
                done.set()
    if isinstance(reception.last, AdwrightError):
        raise reception.last
    raise ResourceError(
        "nobody brought an adapter",
        where=f"{listener.host}:{listener.port}, {asked.wait:g} s",
        hint="start the other side with the token, or wait longer",
    ) from reception.last


def run_trainer(asked: TrainerRun, *, resume: bool = False) -> OffsiteReport:
    """Train the ends of the model that is offered at `asked.address`, send them, and report.

    resume: continue the training in `asked.out`; the model's owner must offer the same model.
    Raises ConfigError for an address that is none, and as `train_offsite` and `held_apart`. What
    can be checked here is checked before the model is asked for.
    """
    address = read_address(asked.address)
    _require_startable(asked, resume=resume)
    counts: dict[str, int] = {}

    def texts_of(tokenizer: Any) -> tuple[Texts, Texts | None]:
        if tokenizer is None:
            raise DataError("the model came without a tokeniser", file=asked.address)
        train, valid = held_apart(asked.data, tokenizer, asked.tune.seed)
        counts.update(texts=len(train), held=len(valid))
        return train, valid if len(valid) else None

    channel = connect(address)
    in_bfloat16 = asked.tune.bfloat16 or quick_dtype() == torch.bfloat16
    tuned, result = train_offsite(
        channel,
        texts_of,
        replace(asked.tune, bfloat16=in_bfloat16),
        rank=asked.rank,
        run=asked.out / "run",
        resume=resume,
    )
    report = OffsiteReport(
        trainable=tuned.count(),
        steps=result.steps,
        tokens=result.tokens,
        cpu_seconds=round(result.seconds, 2),
        texts=counts["texts"],
        held=counts["held"],
        valid_nll=result.best if counts["held"] else None,
        sent=sum(channel.sent.values()),
        received=sum(channel.received.values()),
    )
    text = json.dumps(to_jsonable(report), indent=1) + "\n"
    atomic_write_text(asked.out / "report.json", text)
    return report


def _require_startable(asked: TrainerRun, *, resume: bool) -> None:
    """Raise as `PairsConfig.rows` and `RunFolder`; ResourceError where the disk refuses."""
    asked.data.rows()
    run = asked.out.absolute() / "run"
    there = next(each for each in (run, *run.parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ResourceError(
            "no folder can be written there", where=str(there), hint="choose another --out"
        )
    if not resume:
        RunFolder(run, {}, "").require_new()
    elif not (run / "config.json").is_file():
        raise ResumeError("this folder holds no run", where=str(run), hint="check the path")
