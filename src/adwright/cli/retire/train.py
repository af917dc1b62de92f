"""adwright retire train."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from adwright.cli.retire.lives import RecordOptions, opened_lives, period_of, said_period
from adwright.cli.shared import allowed_to_replace
from adwright.core.config import Count, Ge, Le, Natural


def train(
    record: str,
    *,
    out: Path = Path("runs/retire"),
    before: str | None = None,
    unit_of: Literal["creative", "ad"] = "creative",
    value: Literal["conversion_value", "conversions", "clicks"] | None = None,
    currency: str | None = None,
    where: Literal["store", "chain"] = "chain",
    share: Annotated[float, Ge(0.001), Le(0.999)] | None = None,
    epochs: Count | None = None,
    seed: Natural = 0,
    offline: bool = False,
    resume: bool = False,
    stop_now: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Learn from a record how long ads go on, at every age that they reached.

    The last periods decide when to stop. The run's folder holds losses and concordance by epoch,
    the checkpoint, and the model. A run that was killed continues with --resume.

    Options:
        record: A folder of `adwright ads import`, an export that needs no options, or
            complete-journey: displays in the stores of a grocer.
        out: Folder for the run.
        before: Learn only what was known before this day (or week); what follows is then left
            for a replay. Without it, all that is known.
        unit_of: What lives and is stopped: a creative in all its ads, or ads.
        value: What an ad is worth; without it the first that is not all zero.
        currency: Only rows of this one, where a record has several.
        where: Of complete-journey: displays in a store, or in any.
        share: Of complete-journey: so many of the products, by a hash.
        epochs: Passes over the units, at most.
    """
    from adwright.creative.lifetime.retire import retirement_data, train_retirement
    from adwright.creative.lifetime.survival_fit import LifetimeConfig
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
