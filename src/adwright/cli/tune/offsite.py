"""adwright tune offsite: tuning where the model and the texts belong to different people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adwright.cli.shared import Force, Seed, allowed_to_replace, show_facts

__all__ = ["app", "own", "train"]

app = typer.Typer(
    no_args_is_help=True,
    help="Tune a model that its owner does not hand out, on texts that theirs does not hand out.",
    rich_markup_mode="markdown",
)


@app.command("own")
def own(
    *,
    model: Annotated[
        str, typer.Option("--model", help="The default model, a folder, a .gguf file, or a name.")
    ] = "smollm2-135m-instruct",
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
    distil_steps: Annotated[int, typer.Option("--distil-steps", min=1, help="So long.")] = 200,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; nothing is encrypted.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, help="0 for a free one.")] = 0,
    wait: Annotated[
        float, typer.Option("--wait", help="Seconds for the other side to connect, and to train.")
    ] = 86_400.0,
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
    data: Annotated[
        Path, typer.Option("--data", help="JSON lines with a prompt and an answer each.")
    ],
    connect: Annotated[
        str, typer.Option("--connect", help="HOST:PORT that `adwright tune offsite own` told.")
    ],
    rank: Annotated[
        int, typer.Option("--rank", min=0, help="Of LoRA in the ends; 0 trains them whole.")
    ] = 8,
    out: Annotated[Path, typer.Option("--out", help="Folder for the run and its report.")] = Path(
        "runs/offsite"
    ),
    group: Annotated[
        str, typer.Option("--group", help="Field whose values are held for validation together.")
    ] = "",
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the texts.")] = 1,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Texts a step.")] = 8,
    rate: Annotated[float, typer.Option("--rate", help="Learning rate.")] = 5e-4,
    max_length: Annotated[int, typer.Option("--max-length", min=8, help="Tokens of a text.")] = 384,
    seed: Seed = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Take up a run that was cut off.")
    ] = False,
) -> None:
    """Tune the model that is offered elsewhere; the texts stay here.

    What goes back are the numbers of the ends. A tenth of the texts is held, as by `tune run`.
    """
    from adwright.training.offsite.pipeline import TrainerRun, run_trainer
    from adwright.training.tuning.config import TuneConfig
    from adwright.training.tuning.run import PairsConfig

    tune = TuneConfig(epochs=epochs, batch=batch, micro=batch, learning_rate=rate, seed=seed)
    pairs = PairsConfig(path=data, group=group, max_length=max_length)
    asked = TrainerRun(data=pairs, address=connect, rank=rank, out=out, tune=tune)
    report = run_trainer(asked, resume=resume)
    held = "-" if report.valid_nll is None else f"{report.valid_nll:.4f}"
    show_facts(
        {
            "trainable": f"{report.trainable:,}",
            "tokens": f"{report.tokens:,} in {report.cpu_seconds:,.0f} CPU-seconds",
            "held answers, nats a token": held,
            "sent": f"{report.sent:,} bytes",
            "received": f"{report.received:,} bytes",
        }
    )
