"""adwright tune revive: tuning that a device shares with a cloud, with few modules at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.cli.shared import allowed_to_replace, show_facts
from adwright.cli.tune.options import (
    as_loss,
)
from adwright.cli.verbs import verb
from adwright.core.config import Count, Ge, Le, Natural
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.tuning.modules import Target


app = typer.Typer(
    no_args_is_help=True,
    help="Tune on a device beside a base that a cloud computes; modules that hardly change are "
    "left out for a while, which saves work and traffic.",
    rich_markup_mode="markdown",
)


@verb(app, "cloud")
def cloud(
    *,
    model: str = "smollm2-135m-instruct",
    targets: str = "q_proj,v_proj",
    host: str = "127.0.0.1",
    port: Natural = 0,
    wait: float = 86_400.0,
    dry_run: bool = False,
) -> None:
    """Hold the frozen base and compute it for one device, until that is done.

    The device runs `adwright tune revive device`. No text is sent as such, but each token is a row
    of the base's own embedding: a cloud that looks can read it.

    Options:
        model: The default model, a folder, a .gguf file, or a name.
        targets: Maps that get a module, the same on both sides.
        host: Address to listen on; nothing is encrypted.
        port: 0 for a free one.
        wait: Seconds to wait for the other side.
    """
    from adwright.core.config import to_jsonable
    from adwright.training.offsite.revive import CloudRun, run_cloud

    asked = CloudRun(model=model, targets=_targets(targets), host=host, port=port, wait=wait)
    if dry_run:
        typer.echo(json.dumps(to_jsonable(asked), indent=1))
        return
    passes = run_cloud(asked, on_listening=lambda at: typer.echo(f"listening on {at}"))
    show_facts({"passes": f"{passes:,}"})


@verb(app, "device")
def device(
    *,
    data: Path,
    connect: str,
    model: str = "smollm2-135m-instruct",
    targets: str = "q_proj,v_proj",
    rank: Count = 8,
    window: Natural = 8,
    alive: Annotated[float, Ge(0), Le(1)] = 0.25,
    revived: Annotated[float, Ge(0), Le(1)] = 0.05,
    out: Path = Path("runs/revive"),
    group: str = "",
    epochs: Count = 1,
    batch: Count = 8,
    rate: float | None = None,
    max_length: Annotated[int, Ge(8)] = 384,
    seed: Natural = 0,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Hold texts and modules, and train beside the base of `adwright tune revive cloud`.

    OUT/tuned is then a LoRA as `adwright tune run` writes it, and OUT/report.json says what was
    spent. --model names the cloud's base, of which the tokenizer alone is read here.

    Options:
        data: JSON lines with a prompt and an answer in each, or OpenAI's `messages`.
        connect: HOST:PORT/TOKEN that the other side printed; HOST:PORT where
            ADWRIGHT_OFFSITE_TOKEN holds the token; or @FILE, whose first line is one of them.
        model: The default model, a folder, a .gguf file, or a name.
        targets: Maps that get a module, the same on both sides.
        rank: Of the LoRA modules.
        window: Steps between choices; 0 keeps all modules.
        alive: Share of the modules that train.
        revived: Share revived at each choice.
        out: Folder for the adapter.
        group: Field whose rows are held out for validation together.
        epochs: Passes over the texts.
        batch: Texts per step.
        rate: Learning rate; by default the one that suits the method.
        max_length: Tokens per text.
    """
    from adwright.core.config import to_jsonable
    from adwright.training.offsite.pipeline import KillRevive
    from adwright.training.offsite.revive import DeviceRun, run_device
    from adwright.training.offsite.wire import read_address
    from adwright.training.tuning.texts import PairsConfig
    from adwright.training.tuning.tune import TuneConfig
    from adwright.tuning.reparameterised.lora import LoRA

    read_address(connect)
    asked = DeviceRun(
        data=PairsConfig(path=data, group=group, max_length=max_length),
        address=connect,
        model=model,
        lora=LoRA(rank=rank, targets=_targets(targets)),
        rule=KillRevive(window=window, alive=alive, revived=revived),
        tune=TuneConfig(epochs=epochs, batch=batch, micro=batch, learning_rate=rate, seed=seed),
        out=out,
    )
    if dry_run:
        typer.echo(json.dumps(to_jsonable(asked), indent=1))
        return
    replacing = allowed_to_replace(out / "tuned", force=force)
    report = run_device(asked, overwrite=replacing or force)
    show_facts(
        {
            "modules": f"{report.modules}, of which {report.alive[-1]} trained at the end",
            "training loss": f"{as_loss(report.losses[0])} -> {as_loss(report.losses[-1])}",
            "held-out answers, nats per token": as_loss(report.valid),
            "sent": f"{report.sent:,} bytes",
            "received": f"{report.received:,} bytes",
            "saved in": str(out / "tuned"),
        }
    )


def _targets(named: str) -> tuple[Target, ...]:
    """Read names with commas between them. Raises ConfigError for one that is none."""
    from adwright.tuning.modules import LINEAR

    names = [name.strip() for name in named.split(",")]
    found = tuple(target for target in LINEAR if target in names)
    if not names or len(found) != len(names):
        raise ConfigError(
            "targets are maps of a decoder layer, each once",
            where=f"--targets {named}",
            hint=f"some of {','.join(LINEAR)}",
        )
    return found
