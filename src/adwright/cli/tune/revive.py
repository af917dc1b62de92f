"""adwright tune revive: tuning that a device shares with a cloud, with few modules at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.cli.shared import DryRun, Force, Seed, allowed_to_replace, show_facts
from adwright.cli.tune.options import (
    Batch,
    Connect,
    Data,
    Epochs,
    Group,
    Host,
    MaxLength,
    Model,
    Port,
    Rate,
    Wait,
    as_loss,
)
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.tuning.modules import Target

__all__ = ["app", "cloud", "device"]

app = typer.Typer(
    no_args_is_help=True,
    help="Tune on a device beside a base that a cloud computes; modules that hardly change are "
    "left out for a while, which saves work and traffic.",
    rich_markup_mode="markdown",
)

Targets = Annotated[
    str, typer.Option("--targets", help="Maps that get a module, the same on both sides.")
]
Rank = Annotated[int, typer.Option("--rank", min=1, help="Of the LoRA modules.")]
Window = Annotated[
    int, typer.Option("--window", min=0, help="Steps between choices; 0 keeps all modules.")
]
Alive = Annotated[
    float, typer.Option("--alive", min=0.0, max=1.0, help="Share of the modules that train.")
]
Revived = Annotated[
    float, typer.Option("--revived", min=0.0, max=1.0, help="Share revived at each choice.")
]
Out = Annotated[Path, typer.Option("--out", help="Folder for the adapter.")]


@app.command("cloud")
def cloud(
    *,
    model: Model = "smollm2-135m-instruct",
    targets: Targets = "q_proj,v_proj",
    host: Host = "127.0.0.1",
    port: Port = 0,
    wait: Wait = 86_400.0,
    dry_run: DryRun = False,
) -> None:
    """Hold the frozen base and compute it for one device, until that is done.

    The device runs `adwright tune revive device`. No text is sent as such, but each token is a row
    of the base's own embedding: a cloud that looks can read it.
    """
    from adwright.core.config import to_jsonable
    from adwright.training.offsite.revive import CloudRun, run_cloud

    asked = CloudRun(model=model, targets=_targets(targets), host=host, port=port, wait=wait)
    if dry_run:
        typer.echo(json.dumps(to_jsonable(asked), indent=1))
        return
    passes = run_cloud(asked, on_listening=lambda at: typer.echo(f"listening on {at}"))
    show_facts({"passes": f"{passes:,}"})


@app.command("device")
def device(  # noqa: PLR0913 - one argument per option
    *,
    data: Data,
    connect: Connect,
    model: Model = "smollm2-135m-instruct",
    targets: Targets = "q_proj,v_proj",
    rank: Rank = 8,
    window: Window = 8,
    alive: Alive = 0.25,
    revived: Revived = 0.05,
    out: Out = Path("runs/revive"),
    group: Group = "",
    epochs: Epochs = 1,
    batch: Batch = 8,
    rate: Rate = None,
    max_length: MaxLength = 384,
    seed: Seed = 0,
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """Hold texts and modules, and train beside the base of `adwright tune revive cloud`.

    OUT/tuned is then a LoRA as `adwright tune run` writes it, and OUT/report.json says what was
    spent. --model names the cloud's base, of which the tokenizer alone is read here.
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
