"""adwright tune offsite: tuning where model and texts have different owners."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adwright.cli.shared import Force, Resume, Seed, allowed_to_replace, show_facts
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

__all__ = ["app", "own", "train"]

app = typer.Typer(
    no_args_is_help=True,
    help="Tune a model on texts, where neither of their owners hands them out.",
    rich_markup_mode="markdown",
)


@app.command("own")
def own(
    *,
    model: Model = "smollm2-135m-instruct",
    out: Annotated[Path, typer.Option("--out", help="Folder for the tuned model.")] = Path(
        "runs/plugged"
    ),
    ends: Annotated[
        int, typer.Option("--ends", min=1, help="Layers of each end, which are trained.")
    ] = 2,
    kept: Annotated[
        int, typer.Option("--kept", min=1, help="Layers of the middle that are given away.")
    ] = 8,
    distil: Annotated[
        Path | None,
        typer.Option("--distil", help="Own texts, as for `tune run`, to train kept layers on."),
    ] = None,
    distil_steps: Annotated[int, typer.Option("--distil-steps", min=1, help="Its steps.")] = 200,
    host: Host = "127.0.0.1",
    port: Port = 0,
    wait: Wait = 86_400.0,
    force: Force = False,
) -> None:
    """Offer a model for tuning without handing it out, wait, and keep the tuned model.

    The texts' owner gets the ends and a thinned middle, and runs `adwright tune offsite train`;
    what comes back is put into the whole model. OUT can be given to --model afterwards.
    """
    from adwright.training.offsite.pipeline import OwnerRun, run_owner

    asked = OwnerRun(
        model=model,
        out=out,
        ends=ends,
        kept=kept,
        distil=distil,
        distil_steps=distil_steps,
        host=host,
        port=port,
        wait=wait,
    )
    replacing = allowed_to_replace(out, force=force)
    run_owner(
        asked,
        overwrite=replacing or force,
        on_listening=lambda address: typer.echo(f"listening on {address}"),
    )
    show_facts({"saved in": str(out)})


@app.command("train")
def train(
    *,
    data: Data,
    connect: Connect,
    rank: Annotated[
        int, typer.Option("--rank", min=0, help="Of LoRA in the ends; 0 trains them whole.")
    ] = 8,
    out: Annotated[Path, typer.Option("--out", help="Folder for the run and its report.")] = Path(
        "runs/offsite"
    ),
    group: Group = "",
    epochs: Epochs = 1,
    batch: Batch = 8,
    rate: Rate = None,
    max_length: MaxLength = 384,
    seed: Seed = 0,
    resume: Resume = False,
) -> None:
    """Tune the model that is offered elsewhere; the texts stay here.

    What goes back are the weights of the ends. A tenth of the texts is held out, as by `tune run`.
    """
    from adwright.training.offsite.pipeline import TrainerRun, run_trainer
    from adwright.training.tuning.texts import PairsConfig
    from adwright.training.tuning.tune import TuneConfig

    tune = TuneConfig(epochs=epochs, batch=batch, micro=batch, learning_rate=rate, seed=seed)
    pairs = PairsConfig(path=data, group=group, max_length=max_length)
    asked = TrainerRun(data=pairs, address=connect, rank=rank, out=out, tune=tune)
    report = run_trainer(asked, resume=resume)
    show_facts(
        {
            "trainable": f"{report.trainable:,}",
            "tokens": f"{report.tokens:,} in {report.cpu_seconds:,.0f} CPU-seconds",
            "held-out answers, nats per token": as_loss(report.valid_nll),
            "sent": f"{report.sent:,} bytes",
            "received": f"{report.received:,} bytes",
        }
    )
