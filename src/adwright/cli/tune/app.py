"""adwright tune: parameter-efficient tuning of a language model, and comparison of runs."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.cli.default_group import DefaultGroup
from adwright.cli.shared import (
    DryRun,
    Force,
    RayWorkers,
    Resume,
    Retries,
    Seed,
    allowed_to_replace,
    require_ray_options,
    show_facts,
)
from adwright.cli.tune.compare import compare
from adwright.cli.tune.export import bring_in, export
from adwright.cli.tune.jobs import jobs
from adwright.cli.tune.merge import merge
from adwright.cli.tune.offsite import app as offsite_app
from adwright.cli.tune.options import (
    Batch,
    Data,
    Device,
    Epochs,
    Group,
    MaxLength,
    Model,
    Rate,
    as_loss,
    read_settings,
)
from adwright.cli.tune.revive import app as revive_app

if TYPE_CHECKING:
    from adwright.training.tuning.run import TuneRun, TuningReport

__all__ = ["app", "methods", "run"]

app = typer.Typer(
    cls=DefaultGroup,
    help="Tune a language model on prompts and answers, by any method of the taxonomy.",
    rich_markup_mode="markdown",
)

Method = Annotated[
    str,
    typer.Option(
        "--method",
        help="One of `adwright tune methods`, as it is printed there; for kinds of peft, peft:loha "
        "and so on. Large and small letters are the same.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting of the method, NAME=VALUE in TOML: --set rank=16."),
]
Sources = Annotated[
    list[Path] | None,
    typer.Option("--source", help="A saved adapter that a method such as LoRAHub builds on."),
]

PromptField = Annotated[str, typer.Option("--prompt-field", help="Field that holds the prompt.")]
AnswerField = Annotated[str, typer.Option("--answer-field", help="Field that holds the answer.")]
MessagesField = Annotated[
    str,
    typer.Option(
        "--messages-field",
        help="Field that holds a whole conversation, in lines without a prompt; each answer of the "
        "assistant is learned.",
    ),
]
System = Annotated[
    str, typer.Option("--system", help="Said before each text that has no such turn.")
]
Valid = Annotated[
    float, typer.Option("--valid", help="Share of the texts that is held out; 0 for none.")
]
Dropout = Annotated[
    float | None,
    typer.Option("--dropout", help="Of LoRA's input, while it is trained; as --set dropout=0.1."),
]
Out = Annotated[Path, typer.Option("--out", help="Folder for the run and its adapter.")]
Steps = Annotated[int, typer.Option("--steps", min=0, help="This many steps instead.")]
Recompute = Annotated[
    bool,
    typer.Option(
        "--checkpoint-layers", help="Compute layers again in the backward pass, to save memory."
    ),
]
Shard = Annotated[
    bool, typer.Option("--shard", help="Under torchrun: each process holds its share of the base.")
]
FourBits = Annotated[
    bool, typer.Option("--four-bits", help="Keep the base in NF4 (QLoRA): CUDA and bitsandbytes.")
]


@app.command("run")
def run(  # noqa: PLR0913
    *,
    data: Data,
    method: Method = "LoRA",
    settings: Settings = None,
    model: Model = "smollm2-135m-instruct",
    out: Out = Path("runs/tuned"),
    group: Group = "",
    epochs: Epochs = 1,
    steps: Steps = 0,
    batch: Batch = 8,
    rate: Rate = None,
    dropout: Dropout = None,
    max_length: MaxLength = 384,
    prompt_field: PromptField = "prompt",
    answer_field: AnswerField = "answer",
    messages_field: MessagesField = "messages",
    system: System = "",
    valid: Valid = 0.1,
    sources: Sources = None,
    recompute: Recompute = False,
    shard: Shard = False,
    four_bits: FourBits = False,
    device: Device = "cpu",
    seed: Seed = 0,
    ray_workers: RayWorkers = 0,
    retries: Retries = 0,
    resume: Resume = False,
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """Tune a model and save the adapter, which is small and needs its base to be used.

    The share --valid of the texts (of the groups, with --group) is held out, and decides which
    parameters are kept. OUT then holds the adapter in `tuned`, the resumable `run`, and
    `report.json`, which `adwright tune compare` reads. A run that was killed continues with
    --resume and ends with the same bits. With --ray-workers the processes of Ray divide each batch,
    on the cluster of RAY_ADDRESS or on this machine; it needs the extra `ray`.
    """
    from adwright.training.tuning.run import TuneRun
    from adwright.training.tuning.texts import PairsConfig
    from adwright.training.tuning.tune import TuneConfig
    from adwright.tuning.methods import method_of

    require_ray_options(ray_workers, retries)
    fields = (prompt_field, answer_field, group)
    pairs = PairsConfig(data, *fields, valid, max_length, system, messages_field)
    tune = TuneConfig(epochs, steps, batch, batch, rate, checkpoint_layers=recompute, shard=shard)
    asked = TuneRun(
        data=pairs,
        method=method_of({**read_settings(settings or [], dropout), "kind": method}),
        model=model,
        sources=tuple(sources or ()),
        tune=tune,
        quantise="nf4" if four_bits else "",
        device=device,
        seed=seed,
        out=out,
    )
    if dry_run:
        _print(asked)
    else:
        _run(asked, ray_workers, retries, resume=resume, force=force)


def _print(asked: TuneRun) -> None:
    from adwright.core.config import to_jsonable

    plain = to_jsonable(asked)
    plain["method"] = {"class": type(asked.method).__name__, **plain["method"]}
    typer.echo(json.dumps(plain, indent=1))


def _run(asked: TuneRun, workers: int, retries: int, *, resume: bool, force: bool) -> None:
    from adwright.training.on_ray import tune_on_ray
    from adwright.training.tuning.run import run_tuning

    # What a run that is resumed has left is its own.
    replacing = resume or allowed_to_replace(asked.out / "tuned", force=force) or force
    with_ray = partial(tune_on_ray, workers=workers, retries=retries) if workers else None
    _tell(run_tuning(asked, resume=resume, overwrite=replacing, tune_with=with_ray), asked.out)


def _tell(report: TuningReport, out: Path) -> None:
    acts = report.settings.get("invocation")
    nats = f"{as_loss(report.base_nll)} -> {as_loss(report.valid_nll)}"
    show_facts(
        {
            "method": report.named,
            **({"acts from the last": f"tokens {list(acts)}"} if acts else {}),
            "learning rate": f"{report.learning_rate:g}",
            "base": report.base,
            "trainable": f"{report.trainable:,} ({report.share:.2%})",
            "tokens": f"{report.tokens:,}, {report.tokens_per_cpu_second:,.0f} per CPU-second",
            "held-out answers, nats per token": nats,
            "saved in": str(out / "tuned"),
        }
    )
    if report.worse:
        typer.echo(
            "The tuned model is worse on the held-out answers than its base: lower --rate, give "
            "more texts or --steps, or keep the base.",
            err=True,
        )


@app.command("methods")
def methods() -> None:
    """List the methods of the taxonomy: ours, wrapped from peft, or why not done."""
    from adwright.tuning.taxonomy import as_markdown

    typer.echo(as_markdown())


# After `run`, which stands where no verb is named.
app.command("compare")(compare)
app.command("export")(export)
app.command("import")(bring_in)
app.command("jobs")(jobs)
app.command("merge")(merge)
app.add_typer(offsite_app, name="offsite")
app.add_typer(revive_app, name="revive")
