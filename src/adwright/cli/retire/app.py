"""adwright retire train, predict and replay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from adwright.cli.retire.apply import apply, undo
from adwright.cli.retire.lives import (
    JOURNEY,
    RecordOptions,
    kept_options,
    opened_lives,
    period_of,
    said_period,
)
from adwright.cli.shared import (
    DryRun,
    Force,
    Offline,
    Resume,
    Seed,
    StopNow,
    allowed_to_replace,
)

if TYPE_CHECKING:
    from adwright.creative.lifetime.retirement.rule import RetireConfig

__all__ = ["app", "predict", "replay_rule", "train"]

app = typer.Typer(
    help=(
        "When to stop an ad: learn how long ads live, list what to stop, and replay that.\n\n"
        "Begin with `adwright ads import`, or with complete-journey. Then `train`, `replay` over "
        "the weeks that it has not seen, `predict` for today's list, `apply` and `undo`."
    ),
    no_args_is_help=True,
)
app.command("apply")(apply)
app.command("undo")(undo)

Record = Annotated[
    str,
    typer.Argument(
        help="A folder of `adwright ads import`, an export that needs no options, or "
        f"{JOURNEY}: displays in the stores of a grocer."
    ),
]
OtherRecord = Annotated[
    str | None,
    typer.Argument(help="A newer record of the same ads; without it, the one of the training."),
]
Model = Annotated[
    Path, typer.Option("--model", help="Folder of the run of `adwright retire train`.")
]
BreakEven = Annotated[
    float | None,
    typer.Option(
        "--break-even",
        min=0.0,
        help="Value per cost that pays; without it --floor times that of all that ran so far.",
    ),
]
Floor = Annotated[float, typer.Option("--floor", min=0.0, help="See --break-even.")]
Ahead = Annotated[
    int | None,
    typer.Option("--ahead", min=1, help="To refresh is what half end within so many periods."),
]


@app.command("train")
def train(  # noqa: PLR0913, PLR0917 - one argument per option
    record: Record,
    out: Annotated[Path, typer.Option("--out", help="Folder for the run.")] = Path("runs/retire"),
    before: Annotated[
        str | None,
        typer.Option(
            "--before",
            help="Learn only what was known before this day (or week); what follows is then left "
            "for a replay. Without it, all that is known.",
        ),
    ] = None,
    unit_of: Annotated[
        Literal["creative", "ad"],
        typer.Option(
            "--unit-of", help="What lives and is stopped: a creative in all its ads, or ads."
        ),
    ] = "creative",
    value: Annotated[
        Literal["conversion_value", "conversions", "clicks"] | None,
        typer.Option(
            "--value", help="What an ad is worth; without it the first that is not all zero."
        ),
    ] = None,
    currency: Annotated[
        str | None,
        typer.Option("--currency", help="Only rows of this one, where a record has several."),
    ] = None,
    where: Annotated[
        Literal["store", "chain"],
        typer.Option("--where", help=f"Of {JOURNEY}: displays in a store, or in any."),
    ] = "chain",
    share: Annotated[
        float | None,
        typer.Option(
            "--share",
            min=0.001,
            max=0.999,
            help=f"Of {JOURNEY}: so many of the products, by a hash.",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Passes over the units, at most.")
    ] = None,
    seed: Seed = 0,
    offline: Offline = False,
    resume: Resume = False,
    stop_now: StopNow = False,
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """Learn from a record how long ads go on, at every age that they reached.

    The last periods decide when to stop. The run's folder holds losses and concordance by epoch,
    the checkpoint, and the model. A run that was killed continues with --resume.
    """
    from adwright.creative.lifetime.hazards.fit import LifetimeConfig
    from adwright.creative.lifetime.retirement.run import train_retirement
    from adwright.creative.lifetime.retirement.training_units import retirement_data
    from adwright.training.run_settings import require_free, require_writable

    if dry_run and not (resume or force):
        require_free(out / "model", "a model")
    options = RecordOptions(record, unit_of, value, currency, None, where, share)
    lives = opened_lives(options, offline=offline)
    until = period_of(lives, before, "--before")
    config = LifetimeConfig(seed=seed)
    if epochs is not None:
        config = replace(config, epochs=epochs)
    if dry_run:
        data = retirement_data(lives, until)
        require_writable(out)
        typer.echo(
            f"{len(lives.log):,} lives: {len(data.train):,} units to train on, known before "
            f"{said_period(lives, data.valid_from)}, and {len(data.valid):,} that decide when to "
            f"stop, known before {said_period(lives, data.before)}; edges {data.terms}"
        )
        typer.echo(f"Would write {out}")
        return
    replacing = not resume and allowed_to_replace(out / "model", force=force)
    found = train_retirement(
        lives, out, config, before=until, resume=resume, stop_now=stop_now, overwrite=replacing
    )
    options.keep(out)
    typer.echo(f"Saved in {found.text()}")
    typer.echo(f"Next: adwright retire predict --model {out}")


@app.command("predict")
def predict(
    record: OtherRecord = None,
    model: Model = Path("runs/retire"),
    out: Annotated[
        Path, typer.Option("--out", help="New folder for the list and its page.")
    ] = Path("stop-list"),
    at: Annotated[
        str | None,
        typer.Option("--at", help="At the close of this day (or week); without it, the last one."),
    ] = None,
    break_even: BreakEven = None,
    floor: Floor = 0.5,
    ahead: Ahead = None,
    creatives: Annotated[
        Path | None,
        typer.Option(
            "--creatives",
            help="Table of creative_id and item_id: what each creative shows, for stops that a "
            "service obeys, where the record does not say it.",
        ),
    ] = None,
    rows: Annotated[int, typer.Option("--rows", min=0, help="Ads to print.")] = 10,
    offline: Offline = False,
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """List what to stop, refresh and keep: days left, cause, what it saves, and why.

    The list stops nothing: `adwright retire apply` does. Beside it stands what a rule without the
    model would stop.
    """
    from adwright.creative.lifetime.retirement.page import curves_by_action, write_list_page
    from adwright.creative.lifetime.retirement.run import open_retirement
    from adwright.creative.lifetime.retirement.stop_list import retirement_list

    replacing = not dry_run and allowed_to_replace(out, force=force)
    config = _rule(break_even, floor, ahead)
    trained = open_retirement(model)
    options = kept_options(model, record)
    options = replace(options, creatives=creatives or options.creatives)
    lives = opened_lives(options, offline=offline)
    period = period_of(lives, at, "--at")
    found = retirement_list(trained.model, lives, period, config, model_id=trained.id)
    typer.echo(found.text(rows).rstrip())
    if dry_run:
        typer.echo(f"Would write {out}")
        return
    found.save(out, overwrite=replacing)
    options.keep(out)
    curves = curves_by_action(trained.model, lives, found)
    write_list_page(out / "list.html", found, curves=curves, facts={"made from": options.record})
    typer.echo(f"\nThe list: {out / 'units.parquet'}\nThe page to read: {out / 'list.html'}")
    if found.stops.height:
        typer.echo(f"Next: adwright retire apply {out} --events stops.jsonl --dry-run")


@app.command("replay")
def replay_rule(
    record: OtherRecord = None,
    model: Model = Path("runs/retire"),
    first: Annotated[
        str | None,
        typer.Option(
            "--from", help="First day (or week) to decide in; without it, where training ended."
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", help="Last day (or week); without it, the last one.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="JSON file for all that was found.")
    ] = None,
    break_even: BreakEven = None,
    floor: Floor = 0.5,
    seed: Seed = 0,
    offline: Offline = False,
    force: Force = False,
) -> None:
    """Replay the rule over past periods: what it would have saved and given up, beside others.

    Beside it stand the rule without the model and the fatigue rules of ad tools, at the same value
    kept, with 95% intervals over owners. Only periods that the model has not seen count.
    """
    from adwright.core.atomic import atomic_write_text
    from adwright.creative.lifetime.retirement.replay import ReplayConfig, replay
    from adwright.creative.lifetime.retirement.run import open_retirement

    if out is not None:
        allowed_to_replace(out, force=force)
    config = ReplayConfig(retire=_rule(break_even, floor, None), seed=seed)
    trained = open_retirement(model).model
    lives = opened_lives(kept_options(model, record), offline=offline)
    begin = period_of(lives, first, "--from")
    if begin is None:
        begin = int(trained.config["before"])
    end = period_of(lives, until, "--until")
    periods = range(begin, (lives.log.closed if end is None else end) + 1)
    found = replay(lives, trained, periods, config)
    typer.echo(found.text())
    if out is not None:
        atomic_write_text(out, found.to_json() + "\n")
        typer.echo(f"Written to {out}")


def _rule(break_even: float | None, floor: float, ahead: int | None) -> RetireConfig:
    from adwright.creative.lifetime.retirement.rule import RetireConfig

    return RetireConfig(break_even=break_even, floor=floor, ahead=ahead)
