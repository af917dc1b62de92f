"""adwright retire predict and replay: what to stop, and what that would have saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.cli.retire.lives import kept_options, opened_lives, period_of
from adwright.cli.shared import allowed_to_replace
from adwright.core.config import Count, Ge, Natural

if TYPE_CHECKING:
    from adwright.creative.lifetime.stop_rule import RetireConfig


def predict(
    record: str | None = None,
    *,
    model: Path = Path("runs/retire"),
    out: Path = Path("stop-list"),
    at: str | None = None,
    break_even: Annotated[float, Ge(0)] | None = None,
    floor: Annotated[float, Ge(0)] = 0.5,
    ahead: Count | None = None,
    creatives: Path | None = None,
    rows: Natural = 10,
    offline: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """List what to stop, refresh and keep: days left, cause, what it saves, and why.

    The list stops nothing: `adwright retire apply` does. Beside it stands what a rule without the
    model would stop.

    Options:
        record: A newer record of the same ads; without it, the one of the training.
        model: Folder of the run of `adwright retire train`.
        out: New folder for the list and its page.
        at: At the close of this day (or week); without it, the last one.
        break_even: Value per cost that pays; without it --floor times that of all that ran so
            far.
        floor: See --break-even.
        ahead: To refresh is what half end within so many periods.
        creatives: Table of creative_id and item_id: what each creative shows, for stops that a
            service obeys, where the record does not say it.
        rows: Ads to print.
    """
    from adwright.creative.lifetime.retire import open_retirement
    from adwright.creative.lifetime.stop_list import retirement_list
    from adwright.creative.lifetime.stop_page import curves_by_action, write_list_page

    replacing = not dry_run and allowed_to_replace(out, force=force)
    config = _rule(break_even, floor, ahead)
    trained = open_retirement(model)
    options = kept_options(model, record)
    options = replace(options, creatives=creatives or options.creatives)
    lives = opened_lives(options, offline=offline)
    period = period_of(lives, at, "--at")
    found = retirement_list(
        trained.model, lives, period, config, values=trained.values, model_id=trained.id
    )
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


def replay_rule(
    record: str | None = None,
    *,
    model: Path = Path("runs/retire"),
    first: str | None = None,
    until: str | None = None,
    out: Path | None = None,
    break_even: Annotated[float, Ge(0)] | None = None,
    floor: Annotated[float, Ge(0)] = 0.5,
    seed: Natural = 0,
    offline: bool = False,
    force: bool = False,
) -> None:
    """Replay the rule over past periods: what it would have saved and given up, beside others.

    Beside it stand the rule without the model and the fatigue rules of ad tools, at the same value
    kept, with 95% intervals over owners. Only periods that the model has not seen count.

    Options:
        record: A newer record of the same ads; without it, the one of the training.
        model: Folder of the run of `adwright retire train`.
        first (--from): First day (or week) to decide in; without it, where training ended.
        until: Last day (or week); without it, the last one.
        out: JSON file for all that was found.
        break_even: Value per cost that pays; without it --floor times that of all that ran so
            far.
        floor: See --break-even.
    """
    from adwright.core.atomic import atomic_write_text
    from adwright.creative.lifetime.replay import ReplayConfig, replay
    from adwright.creative.lifetime.retire import open_retirement

    if out is not None:
        allowed_to_replace(out, force=force)
    config = ReplayConfig(retire=_rule(break_even, floor, None), seed=seed)
    trained = open_retirement(model)
    lives = opened_lives(kept_options(model, record), offline=offline)
    begin = period_of(lives, first, "--from")
    if begin is None:
        begin = int(trained.model.config["before"])
    end = period_of(lives, until, "--until")
    periods = range(begin, (lives.log.closed if end is None else end) + 1)
    found = replay(lives, trained.model, periods, config, values=trained.values)
    typer.echo(found.text())
    if out is not None:
        atomic_write_text(out, found.to_json() + "\n")
        typer.echo(f"Written to {out}")


def _rule(break_even: float | None, floor: float, ahead: int | None) -> RetireConfig:
    from adwright.creative.lifetime.stop_rule import RetireConfig

    return RetireConfig(break_even=break_even, floor=floor, ahead=ahead)
