"""adwright retire train."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from adwright.cli.retire.lives import JOURNEY, RecordOptions, opened_lives, period_of, said_period
from adwright.cli.shared import DryRun, Force, Offline, Resume, Seed, StopNow, allowed_to_replace

__all__ = ["train"]

Record = Annotated[
    str,
    typer.Argument(
        help="A folder of `adwright ads import`, an export that needs no options, or "
        f"{JOURNEY}: displays in the stores of a grocer."
    ),
]
Before = Annotated[
    str | None,
    typer.Option(
        "--before",
        help="Learn only what was known before this day (or week); what follows is then left "
        "for a replay. Without it, all that is known.",
    ),
]
UnitOf = Annotated[
    Literal["creative", "ad"],
    typer.Option("--unit-of", help="What lives and is stopped: a creative in all its ads, or ads."),
]
Value = Annotated[
    Literal["conversion_value", "conversions", "clicks"] | None,
    typer.Option("--value", help="What an ad is worth; without it the first that is not all zero."),
]
Currency = Annotated[
    str | None,
    typer.Option("--currency", help="Only rows of this one, where a record has several."),
]
Where = Annotated[
    Literal["store", "chain"],
    typer.Option("--where", help=f"Of {JOURNEY}: displays in a store, or in any."),
]
Share = Annotated[
    float | None,
    typer.Option(
        "--share",
        min=0.001,
        max=0.999,
        help=f"Of {JOURNEY}: so many of the products, by a hash.",
    ),
]


def train(  # noqa: PLR0913, PLR0917 - one argument per option
    record: Record,
    out: Annotated[Path, typer.Option("--out", help="Folder for the run.")] = Path("runs/retire"),
    before: Before = None,
    unit_of: UnitOf = "creative",
    value: Value = None,
    currency: Currency = None,
    where: Where = "chain",
    share: Share = None,
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
