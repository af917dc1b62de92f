"""Both sides of kill and revive from files: what `adwright tune split server` and `device` do.

cloud    a model            ->  computes for one device, keeps nothing
device   a file of pairs    ->  OUT/tuned, a LoRA as `adwright tune run` writes it, and
                                OUT/report.json, its DeviceReport
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue

from adwright.core.atomic import atomic_write_text
from adwright.core.config import settings, to_jsonable
from adwright.core.errors import ResourceError
from adwright.lm.engine.weights import SMOLLM2
from adwright.training.offsite.cloud import serve_base
from adwright.training.offsite.device import DeviceReport, tune_on_device
from adwright.training.offsite.pipeline import KillRevive
from adwright.training.offsite.wire import Channel, Listener, Reception, connect, read_address
from adwright.training.run_settings import require_free
from adwright.training.tuning.base import load_base, load_tokenizer
from adwright.training.tuning.texts import PairsConfig, held_apart
from adwright.training.tuning.tune import TuneConfig
from adwright.tuning.modules import Target
from adwright.tuning.reparameterised.lora import LoRA

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
