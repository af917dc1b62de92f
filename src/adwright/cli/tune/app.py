"""adwright tune: parameter-efficient tuning of a language model, and comparison of runs."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.cli.default_group import DefaultGroup
from adwright.cli.shared import (
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
    as_loss,
    read_settings,
)
from adwright.cli.tune.revive import app as revive_app
from adwright.cli.verbs import verb
from adwright.core.config import Count, Ge, Natural

if TYPE_CHECKING:
    from adwright.training.tuning.run import TuneRun, TuningReport


app = typer.Typer(
    cls=DefaultGroup,
    help="Tune a language model on prompts and answers, by any method of the taxonomy.",
    rich_markup_mode="markdown",
)


@verb(app, "run")
def run(
    *,
    data: Path,
    method: str = "LoRA",
    settings: list[str] | None = None,
    model: str = "smollm2-135m-instruct",
    out: Path = Path("runs/tuned"),
    group: str = "",
    epochs: Count = 1,
    steps: Natural = 0,
    batch: Count = 8,
    rate: float | None = None,
    dropout: float | None = None,
    max_length: Annotated[int, Ge(8)] = 384,
    prompt_field: str = "prompt",
    answer_field: str = "answer",
    messages_field: str = "messages",
    system: str = "",
    valid: float = 0.1,
    sources: list[Path] | None = None,
    recompute: bool = False,
    shard: bool = False,
    four_bits: bool = False,
    device: str = "cpu",
    seed: Natural = 0,
    ray_workers: Natural = 0,
    retries: Natural = 0,
    resume: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Tune a model and save the adapter, which is small and needs its base to be used.

    The share --valid of the texts (of the groups, with --group) is held out, and decides which
    parameters are kept. OUT then holds the adapter in `tuned`, the resumable `run`, and
    `report.json`, which `adwright tune compare` reads. A run that was killed continues with
    --resume and ends with the same bits. With --ray-workers the processes of Ray divide each batch,
    on the cluster of RAY_ADDRESS or on this machine; it needs the extra `ray`.

    Options:
        data: JSON lines with a prompt and an answer in each, or OpenAI's `messages`.
        method: One of `adwright tune methods`, as it is printed there; for kinds of peft,
            peft:loha and so on. Large and small letters are the same.
        settings (--set): A setting of the method, NAME=VALUE in TOML: --set rank=16.
        model: The default model, a folder, a .gguf file, or a name.
        out: Folder for the run and its adapter.
        group: Field whose rows are held out for validation together.
        epochs: Passes over the texts.
        steps: This many steps instead.
        batch: Texts per step.
        rate: Learning rate; by default the one that suits the method.
        dropout: Of LoRA's input, while it is trained; as --set dropout=0.1.
        max_length: Tokens per text.
        prompt_field: Field that holds the prompt.
        answer_field: Field that holds the answer.
        messages_field: Field that holds a whole conversation, in lines without a prompt; each
            answer of the assistant is learned.
        system: Said before each text that has no such turn.
        valid: Share of the texts that is held out; 0 for none.
        sources (--source): A saved adapter that a method such as LoRAHub builds on.
        recompute (--checkpoint-layers): Compute layers again in the backward pass, to save
            memory.
        shard: Under torchrun: each process holds its share of the base.
        four_bits: Keep the base in NF4 (QLoRA): CUDA and bitsandbytes.
        device: Where it is computed, as torch names it: cpu, cuda.
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


@verb(app, "methods")
def methods() -> None:
    """List the methods of the taxonomy: ours, wrapped from peft, or why not done."""
    from adwright.tuning.taxonomy import as_markdown

    typer.echo(as_markdown())


# After `run`, which stands where no verb is named.
verb(app, "compare")(compare)
verb(app, "export")(export)
verb(app, "import")(bring_in)
verb(app, "jobs")(jobs)
verb(app, "merge")(merge)
app.add_typer(offsite_app, name="offsite")
app.add_typer(revive_app, name="revive")
