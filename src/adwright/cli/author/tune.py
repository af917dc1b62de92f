"""adwright author tune: one model for all tasks of authoring, or for one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

# Typer reads the annotations of a verb while it runs.
from adwright.authoring.recipe import Profile
from adwright.cli.shared import DryRun, Force, Resume, Seed, allowed_to_replace, show_facts
from adwright.cli.tune.options import as_loss, read_settings

if TYPE_CHECKING:
    from adwright.training.tuning.run import TuningReport

__all__ = ["tune"]

Rows = Annotated[
    Path, typer.Argument(help="Folder that `adwright author data` wrote, or a file of its rows.")
]
Out = Annotated[Path, typer.Option("--out", help="Folder for the run and its adapter.")]
ProfileName = Annotated[
    Profile,
    typer.Option(
        "--profile", help="Size of model and kind of machine; those for GPUs were not run by us."
    ),
]
Tasks = Annotated[
    list[str] | None,
    typer.Option("--task", help="Tune on this task's rows alone; may be repeated."),
]
Model = Annotated[
    str, typer.Option("--model", help="Another base: a folder, a .gguf file, or a name.")
]
Method = Annotated[
    str, typer.Option("--method", help="One of `adwright tune methods`; LoRA by default.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting of the method, NAME=VALUE in TOML: --set rank=8."),
]
Epochs = Annotated[int | None, typer.Option("--epochs", min=1, help="Passes over the rows.")]
Steps = Annotated[int, typer.Option("--steps", min=0, help="This many steps instead.")]
Batch = Annotated[int | None, typer.Option("--batch", min=1, help="Rows per step.")]
Rate = Annotated[float | None, typer.Option("--rate", help="Learning rate.")]
Tokens = Annotated[int | None, typer.Option("--max-length", min=8, help="Tokens per row.")]
Valid = Annotated[
    float, typer.Option("--valid", help="Share of the product clusters that is held out.")
]
Device = Annotated[
    str | None, typer.Option("--device", help="Where it is computed, as torch names it.")
]


def tune(  # noqa: PLR0913
    rows: Rows,
    *,
    out: Out = Path("runs/author"),
    profile: ProfileName = "smollm2-135m-cpu",
    tasks: Tasks = None,
    model: Model = "",
    method: Method = "",
    settings: Settings = None,
    epochs: Epochs = None,
    steps: Steps = 0,
    batch: Batch = None,
    rate: Rate = None,
    max_length: Tokens = None,
    valid: Valid = 0.05,
    device: Device = None,
    seed: Seed = 0,
    resume: Resume = False,
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """Tune a language model on instruction data and save the adapter in OUT/tuned.

    It is `adwright tune run` with what suits a size of model and a kind of machine, on the rows of
    all tasks or of some; products are held out whole. `adwright author write --adapter OUT/tuned`
    then writes with it.
    """
    from adwright.authoring.recipe import AuthoringRecipe, tune_author, tune_run_of
    from adwright.core.config import to_jsonable

    recipe = AuthoringRecipe(
        data=rows,
        profile=profile,
        tasks=tuple(tasks or ()),
        model=model,
        method=method,
        settings=read_settings(settings or []),
        epochs=epochs,
        steps=steps,
        rate=rate,
        batch=batch,
        tokens=max_length,
        valid=valid,
        device=device,
        seed=seed,
        out=out,
    )
    if dry_run:
        asked = tune_run_of(recipe)
        plain = to_jsonable(asked)
        plain["method"] = {"class": type(asked.method).__name__, **plain["method"]}
        typer.echo(json.dumps(plain, indent=1))
        return
    replacing = resume or allowed_to_replace(out / "tuned", force=force) or force
    _tell(tune_author(recipe, resume=resume, overwrite=replacing), out)


def _tell(report: TuningReport, out: Path) -> None:
    nats = f"{as_loss(report.base_nll)} -> {as_loss(report.valid_nll)}"
    show_facts(
        {
            "method": report.named,
            "base": report.base,
            "trainable": f"{report.trainable:,} ({report.share:.2%})",
            "rows": f"{report.texts:,}, {report.held:,} held out, {report.cut:,} cut",
            "held-out answers, nats per token": nats,
            "saved in": str(out / "tuned"),
        }
    )
    if report.worse:
        typer.echo(
            "The tuned model is worse on the held-out answers than its base: lower --rate, give "
            "more rows or --steps, or keep the base.",
            err=True,
        )
