"""One side of a tuning between two processes.

    own FOLDER RANK           FOLDER/port, then FOLDER/plugged (an artifact of the weights)
    train FOLDER PORT RANK    FOLDER/report.json
    cloud FOLDER              FOLDER/port
    device FOLDER PORT SHARE  FOLDER/report.json and FOLDER/lora; SHARE of modules alive

The words of the texts are drawn by the side that owns them alone.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from adwright.core.artifacts import save_artifact
from adwright.core.atomic import atomic_write_text
from adwright.training.offsite.revive import serve_base, tune_on_device
from adwright.training.offsite.sandwich import KillRevive, train_offsite
from adwright.training.offsite.wire import Address, Channel, Listener, connect
from adwright.training.tuning.texts import Texts
from adwright.training.tuning.tune import TuneConfig
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.training.offsite_pair import model, pairs, served, tokenizer, tokens

CONFIG = TuneConfig(epochs=8, batch=4, micro=4, learning_rate=0.01)
DEVICE = TuneConfig(epochs=4, batch=4, micro=2, learning_rate=0.01)
TOKEN = "known to both sides"
RULE = KillRevive(window=2, alive=0.25, revived=0.1)


def listening(folder: Path) -> Channel:
    listener = Listener(token=TOKEN)
    atomic_write_text(folder / "port", str(listener.port))
    return listener.accept()


def texts(read: Any) -> tuple[Texts, Texts | None]:
    return Texts.of(pairs(), read), Texts.of(pairs(8, seed=1), read)


def main(role: str, folder: Path, arguments: list[str]) -> None:
    torch.set_num_threads(1)
    if role == "own":
        tokenizer(folder / "words")
        channel = listening(folder)
        tuned = served(model(), channel, folder / "words")
        plain = tuned.merge()
        tensors = {name: value.detach().numpy() for name, value in plain.state_dict().items()}
        save_artifact(folder / "plugged", kind="weights", config={}, tensors=tensors)
    elif role == "train":
        channel = connect(Address("127.0.0.1", int(arguments[0]), TOKEN))
        _, result = train_offsite(channel, texts, CONFIG, rank=int(arguments[1]))
        atomic_write_text(folder / "report.json", json.dumps(asdict(result)))
    elif role == "cloud":
        serve_base(model(layers=4), listening(folder))
    else:
        channel = connect(Address("127.0.0.1", int(arguments[0]), TOKEN))
        share = float(arguments[1])
        rule = None if share == 1 else RULE
        lora, valid = LoRA(rank=4), tokens(8, seed=1)
        here, report = tune_on_device(channel, tokens(), DEVICE, lora=lora, rule=rule, valid=valid)
        here.save(folder / "lora")
        atomic_write_text(folder / "report.json", json.dumps(asdict(report)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
