"""adwright tune offsite: tuning where model and texts have different owners."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adwright.cli.shared import allowed_to_replace, show_facts
from adwright.cli.tune.options import (
    as_loss,
)
from adwright.cli.verbs import verb
from adwright.core.config import Count, Ge, Natural

__all__ = ["app", "own", "train"]

app = typer.Typer(
    no_args_is_help=True,
    help="Tune a model on texts, where neither of their owners hands them out.",
    rich_markup_mode="markdown",
)


@verb(app, "own")
def own(
    *,
    model: str = "smollm2-135m-instruct",
    out: Path = Path("runs/plugged"),
    ends: Count = 2,
    kept: Count = 8,
    distil: Path | None = None,
    distil_steps: Count = 200,
    host: str = "127.0.0.1",
    port: Natural = 0,
    wait: float = 86_400.0,
    force: bool = False,
) -> None:
    """Offer a model for tuning without handing it out, wait, and keep the tuned model.

    The texts' owner gets the ends and a thinned middle, and runs `adwright tune offsite train`;
    what comes back is put into the whole model. OUT can be given to --model afterwards.

    Options:
        model: The default model, a folder, a .gguf file, or a name.
        out: Folder for the tuned model.
        ends: Layers of each end, which are trained.
        kept: Layers of the middle that are given away.
        distil: Own texts, as for `tune run`, to train kept layers on.
        distil_steps: Its steps.
        host: Address to listen on; nothing is encrypted.
        port: 0 for a free one.
        wait: Seconds to wait for the other side.
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


@verb(app, "train")
def train(
    *,
    data: Path,
    connect: str,
    rank: Natural = 8,
    out: Path = Path("runs/offsite"),
    group: str = "",
    epochs: Count = 1,
    batch: Count = 8,
    rate: float | None = None,
    max_length: Annotated[int, Ge(8)] = 384,
    seed: Natural = 0,
    resume: bool = False,
) -> None:
    """Tune the model that is offered elsewhere; the texts stay here.

    What goes back are the weights of the ends. A tenth of the texts is held out, as by `tune run`.

    Options:
        data: JSON lines with a prompt and an answer in each, or OpenAI's `messages`.
        connect: HOST:PORT/TOKEN that the other side printed; HOST:PORT where
            ADWRIGHT_OFFSITE_TOKEN holds the token; or @FILE, whose first line is one of them.
        rank: Of LoRA in the ends; 0 trains them whole.
        out: Folder for the run and its report.
        group: Field whose rows are held out for validation together.
        epochs: Passes over the texts.
        batch: Texts per step.
        rate: Learning rate; by default the one that suits the method.
        max_length: Tokens per text.
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
