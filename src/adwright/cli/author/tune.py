"""adwright author tune: one model for all tasks of authoring, or for one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

# Typer reads the annotations of a verb while it runs.
from adwright.authoring.recipe import Profile
from adwright.cli.shared import allowed_to_replace, show_facts
from adwright.cli.tune import as_loss, read_settings
from adwright.core.config import Count, Ge, Natural

if TYPE_CHECKING:
    from adwright.training.tuning.run import TuningReport


def tune(
    rows: Path,
    *,
    out: Path = Path("runs/author"),
    profile: Profile = "smollm2-135m-cpu",
    tasks: list[str] | None = None,
    model: str = "",
    method: str = "",
    settings: list[str] | None = None,
    epochs: Count | None = None,
    steps: Natural = 0,
    batch: Count | None = None,
    rate: float | None = None,
    max_length: Annotated[int, Ge(8)] | None = None,
    valid: float = 0.05,
    device: str | None = None,
    seed: Natural = 0,
    resume: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Tune a language model on instruction data and save the adapter in OUT/tuned.

    It is `adwright tune run` with what suits a size of model and a kind of machine, on the rows of
    all tasks or of some; products are held out whole. `adwright author write --adapter OUT/tuned`
    then writes with it.

    Options:
        rows: Folder that `adwright author data` wrote, or a file of its rows.
        out: Folder for the run and its adapter.
        profile: Size of model and kind of machine; those for GPUs were not run by us.
        tasks (--task): Tune on this task's rows alone; may be repeated.
        model: Another base: a folder, a .gguf file, or a name.
        method: One of `adwright tune methods`; LoRA by default.
        settings (--set): A setting of the method, NAME=VALUE in TOML: --set rank=8.
        epochs: Passes over the rows.
        steps: This many steps instead.
        batch: Rows per step.
        rate: Learning rate.
        max_length: Tokens per row.
        valid: Share of the product clusters that is held out.
        device: Where it is computed, as torch names it.
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
