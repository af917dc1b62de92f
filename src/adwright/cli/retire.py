"""The verbs of `adwright retire`."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from adwright.cli.serve import need_service
from adwright.cli.shared import Stoppable, Writing, allowed_to_replace, opened_store
from adwright.cli.verbs import verb
from adwright.core.atomic import atomic_write_text
from adwright.core.config import Count, Ge, Le, Natural, from_jsonable, settings, to_jsonable
from adwright.core.errors import ConfigError, FileUnreadableError

if TYPE_CHECKING:
    import polars as pl

    from adwright.campaigns.store.store import Store
    from adwright.creative.lifetime.lives import LifeLog, LifeRecord
    from adwright.creative.lifetime.stop_events import AppliedStops
    from adwright.creative.lifetime.stop_list import RetirementList
    from adwright.creative.lifetime.stop_rule import RetireConfig
    from adwright.data.creatives import CreativeState


# --------------------------------------------------------------------------------------------------
# Which lives the verbs of `adwright retire` are about, and how their periods are typed.

#: What a run or a list was made from, in its folder.
RECORD_FILE = "record.json"

JOURNEY = "complete-journey"


@settings
class RecordOptions:
    """The record that was named, and how its lives are read. creatives: a table of what they show;
    where, share: of Complete Journey. The rest is of `DeliveryLives`."""

    record: str
    unit_of: Literal["creative", "ad"] = "creative"
    value: Literal["conversion_value", "conversions", "clicks"] | None = None
    currency: str | None = None
    creatives: Path | None = None
    where: Literal["store", "chain"] = "chain"
    share: float | None = None

    def keep(self, folder: Path) -> None:
        """Write them beside what was made from them."""
        atomic_write_text(folder / RECORD_FILE, json.dumps(to_jsonable(self), indent=1) + "\n")


def kept_options(folder: Path, record: str | None) -> RecordOptions:
    """Those of the folder of a run or a list, for another record where one is named.

    Raises FileUnreadableError where the folder says nothing.
    """
    path = folder / RECORD_FILE
    try:
        said = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise FileUnreadableError(
            f"this folder does not say what it was made from: {error}",
            file=str(path),
            hint="name a folder that `adwright retire` made",
        ) from error
    options = from_jsonable(RecordOptions, said, source=str(path))
    return options if record is None else replace(options, record=record)


def opened_lives(options: RecordOptions, *, offline: bool = False) -> LifeRecord:
    """The lives of a record of ads, or of Complete Journey. offline: never download.

    Raises as `opened_ads`, `DeliveryLives` and `CompleteJourney.open`.
    """
    if options.record == JOURNEY:
        from adwright.creative.lifetime.lives import JourneyLives
        from adwright.data.sources.complete_journey import CompleteJourney

        source = CompleteJourney.open(offline=offline)
        return JourneyLives(source, options.where, share=options.share)
    from adwright.cli.ads import opened_ads
    from adwright.creative.lifetime.lives import DeliveryLives, DeliverySpellConfig

    return DeliveryLives(
        opened_ads(Path(options.record)),
        DeliverySpellConfig(unit_of=options.unit_of),
        value=options.value,
        currency=options.currency,
        creatives=None if options.creatives is None else _items(options.creatives),
    )


def period_of(lives: LifeRecord, text: str | None, option: str) -> int | None:
    """The period of the log that a user means: a day, as in 2026-03-31, or a number; None for None.

    Raises ConfigError for neither.
    """
    from adwright.creative.lifetime.lives import DeliveryLives

    if text is None:
        return None
    try:
        if isinstance(lives, DeliveryLives):
            return lives.period_of(date.fromisoformat(text))
        return int(text)
    except ValueError as error:
        how = "a day, as in 2026-03-31" if isinstance(lives, DeliveryLives) else "a week, as in 35"
        raise ConfigError(
            f"{text!r} is no {lives.log.unit} of this record", where=option, hint=f"write {how}"
        ) from error


def said_period(lives: LifeRecord, period: int) -> str:
    """A period as `period_of` takes it."""
    from adwright.creative.lifetime.lives import DeliveryLives

    return f"{lives.day_of(period)}" if isinstance(lives, DeliveryLives) else f"{period}"


def _items(path: Path) -> pl.DataFrame:
    from adwright.core.errors import SchemaError
    from adwright.data.sources.bounds import reading
    from adwright.data.sources.frames import as_frame

    lazy = as_frame(path).frame
    found = reading(path, lazy.collect)
    for name in ("creative_id", "item_id"):
        if name not in found.columns:
            raise SchemaError("the table of creatives lacks a column", file=str(path), column=name)
    return found


# --------------------------------------------------------------------------------------------------
# adwright retire apply and undo: a list becomes events that a service obeys, and is taken back.

_SHOWN = 5


def apply(
    plan: Path,
    *,
    events: Path | None = None,
    store: str | None = None,
    tenant: str | None = None,
    by: str = "adwright retire",
    leave_out: list[str] | None = None,
    record: str | None = None,
    offline: bool = False,
    dry_run: bool = False,
) -> None:
    """Stop what the list says: an event for each ad, which a decision service obeys.

    The events go into the store of a service, or into a file. Ads that are live or paused in the
    store become stopped, and need another review. To apply a list twice stops once, and `adwright
    retire undo` takes it back.

    Options:
        plan: Folder of the list of `adwright retire list`.
        events: File (.parquet, .jsonl) or folder of events to add them to.
        store: Instead the store of a service: sqlite:///PATH or
            postgresql://USER@HOST/DATABASE.
        tenant: Whose ads, with --store.
        by: Who stops: a person, or a rule.
        leave_out: A unit_id that is to go on after all; may be repeated.
        record: The record as it is now: a list that was made from another is refused.
    """
    log = None
    if record is not None:
        log = opened_lives(kept_options(plan, record), offline=offline).log
    _carry_out(plan, events, store, tenant, by, leave_out, log, undo=False, dry_run=dry_run)


def undo(
    plan: Path,
    *,
    events: Path | None = None,
    store: str | None = None,
    tenant: str | None = None,
    by: str = "adwright retire",
    leave_out: list[str] | None = None,
    dry_run: bool = False,
) -> None:
    """Take back what `adwright retire apply` stopped by this list, and nothing else: an event of
    value 0 for each ad. What others stopped stays stopped.

    Ads in the store that it stopped, and nobody moved since, go back into review: nothing is shown
    that was stopped until somebody approves and publishes it.

    Options:
        plan: Folder of the list of `adwright retire list`.
        events: File (.parquet, .jsonl) or folder of events to add them to.
        store: Instead the store of a service: sqlite:///PATH or
            postgresql://USER@HOST/DATABASE.
        tenant: Whose ads, with --store.
        by: Who stops: a person, or a rule.
        leave_out: A unit_id that is to go on after all; may be repeated.
    """
    _carry_out(plan, events, store, tenant, by, leave_out, None, undo=True, dry_run=dry_run)


def _carry_out(
    plan: Path,
    events: Path | None,
    store: str | None,
    tenant: str | None,
    by: str,
    leave_out: list[str] | None,
    log: LifeLog | None,
    *,
    undo: bool,
    dry_run: bool,
) -> None:
    from adwright.core.clock import SystemClock
    from adwright.creative.lifetime.stop_events import apply_stops
    from adwright.creative.lifetime.stop_list import RetirementList

    found, now = RetirementList.open(plan), SystemClock().now()
    how: dict[str, Any] = {
        "log": log,
        "leave_out": leave_out or (),
        "undo": undo,
        "dry_run": dry_run,
    }
    if (events is None) == (store is None):
        raise ConfigError(
            "stops go into a file of events, or into a store",
            where="--events, --store",
            hint="give one of the two",
        )
    if events is not None:
        typer.echo(apply_stops(found, events, by, now, **how).text().rstrip())
        return
    if tenant is None:
        raise ConfigError("a store has tenants", where="--tenant", hint="name whose ads they are")
    need_service()
    import polars as pl

    with opened_store(store or "", tenant) as opened:
        done, moved = stop_in_store(opened, tenant, found, by, now, **how)
        typer.echo(done.text().rstrip())
        if moved:
            would = "would be " if dry_run else ""
            then = "stopped: they need another review to be shown again"
            again = "in review again: they are shown once somebody approves and publishes them"
            typer.echo(f"{len(moved):,} ads {would}{again if undo else then}")
        left = opened.stops_at(tenant)
        named = set(done.events["item_id"])
        if undo and not dry_run and (others := sorted(named & left.items)):
            by_whom = left.table.filter(pl.col("item_id").is_in(others))["user_id"].unique().sort()
            typer.echo(
                f"still stopped by others: {len(others):,} items "
                f"({', '.join(others[:_SHOWN])}), by {', '.join(by_whom.head(_SHOWN))}"
            )


def stop_in_store(
    store: Store,
    tenant: str,
    plan: RetirementList,
    by: str,
    at: datetime,
    *,
    log: LifeLog | None = None,
    leave_out: Collection[str] = (),
    undo: bool = False,
    dry_run: bool = False,
) -> tuple[AppliedStops, list[str]]:
    """Write the stops of a list, or what takes them back, and move the ads of the store that it
    names; what became of the list, and the ids of the ads that were moved, or would be.

    First the events are written, then the ads are moved, each whole; to do it once more does what
    is left. Ads of the store lend the list the items that it lacks. What is live or paused becomes
    stopped, by one list once: whoever brought it back since has decided otherwise. What the list
    stopped, and nobody moved since, goes back into review. Else as `apply_stops`.
    """
    from adwright.creative.lifetime.stop_events import apply_stops

    wanted = plan.stops["creative_id"].drop_nulls().unique().sort().to_list()
    known = {one.creative_id: one for one in store.creatives_full(tenant, ids=wanted)}
    plan = plan.with_items({name: one.item_id for name, one in known.items()})

    def write(rows: pl.DataFrame) -> int:
        return store.record_events(tenant, rows).accepted

    how: dict[str, Any] = {"undo": undo, "dry_run": dry_run, "leave_out": leave_out}
    done = apply_stops(plan, write, by, at, log=log, **how)
    why, moving = f"list {plan.id[:16]}", list[str]()
    for name in sorted(set(done.events["creative_id"].drop_nulls()) & known.keys()):
        if known[name].state in (("stopped",) if undo else ("live", "paused")):
            moves = [(move.state, move.why) for move in store.creative_moves(tenant, name)]
            mine = ("stopped", why)
            if (moves[-1] == mine) if undo else (mine not in moves):
                moving.append(name)
    if moving and not dry_run:
        said = f"{why} taken back" if undo else why
        to: CreativeState = "in review" if undo else "stopped"
        store.move_creatives(tenant, moving, to, author=by, why=said)
    return done, moving


def predict(
    record: str | None = None,
    *,
    model: Path = Path("runs/retire"),
    at: str | None = None,
    break_even: Annotated[float, Ge(0)] | None = None,
    floor: Annotated[float, Ge(0)] = 0.5,
    ahead: Count | None = None,
    creatives: Path | None = None,
    rows: Natural = 10,
    offline: bool = False,
    go: Writing = Writing(Path("stop-list")),
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
    from adwright.creative.lifetime.stop_list import (
        curves_by_action,
        retirement_list,
        write_list_page,
    )

    replacing = not go.dry_run and go.may_replace()
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
    if go.dry_run:
        typer.echo(f"Would write {go.out}")
        return
    found.save(go.out, overwrite=replacing)
    options.keep(go.out)
    curves = curves_by_action(trained.model, lives, found)
    write_list_page(go.out / "list.html", found, curves=curves, facts={"made from": options.record})
    typer.echo(f"\nThe list: {go.out / 'units.parquet'}\nThe page to read: {go.out / 'list.html'}")
    if found.stops.height:
        typer.echo(f"Next: adwright retire apply {go.out} --events stops.jsonl --dry-run")


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


# --------------------------------------------------------------------------------------------------
# adwright retire train.


def train(
    record: str,
    *,
    before: str | None = None,
    unit_of: Literal["creative", "ad"] = "creative",
    value: Literal["conversion_value", "conversions", "clicks"] | None = None,
    currency: str | None = None,
    where: Literal["store", "chain"] = "chain",
    share: Annotated[float, Ge(0.001), Le(0.999)] | None = None,
    epochs: Count | None = None,
    go: Stoppable = Stoppable(Path("runs/retire")),
) -> None:
    """Learn from a record how long ads go on, at every age that they reached.

    The last periods decide when to stop. The run's folder holds losses and concordance by epoch,
    the checkpoint, and the model. A run that was killed continues with --resume.

    Options:
        record: A folder of `adwright ads import`, an export that needs no options, or
            complete-journey: displays in the stores of a grocer.
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

    if go.dry_run:
        go.check("model", "a model")
    options = RecordOptions(record, unit_of, value, currency, None, where, share)
    lives = opened_lives(options, offline=go.offline)
    until = period_of(lives, before, "--before")
    config = LifetimeConfig(seed=go.seed)
    if epochs is not None:
        config = replace(config, epochs=epochs)
    if go.dry_run:
        data = retirement_data(lives, until)
        typer.echo(
            f"{len(lives.log):,} lives: {len(data.train):,} units to train on, known before "
            f"{said_period(lives, data.valid_from)}, and {len(data.valid):,} that decide when to "
            f"stop, known before {said_period(lives, data.before)}; edges {data.terms}"
        )
        typer.echo(f"Would write {go.out}")
        return
    replacing = go.may_replace("model")
    found = train_retirement(
        lives,
        go.out,
        config,
        before=until,
        resume=go.resume,
        stop_now=go.stop_now,
        overwrite=replacing,
    )
    options.keep(go.out)
    typer.echo(found.text())
    typer.echo(f"Next: adwright retire list --model {go.out}")


# --------------------------------------------------------------------------------------------------
# The group of `adwright retire`.

app = typer.Typer(
    help=(
        "When to stop an ad: learn how long ads live, list what to stop, and replay that.\n\n"
        "Begin with `adwright ads import`, or with complete-journey. Then `train`, `replay` over "
        "the weeks that it has not seen, `list` for today's list, `apply` and `undo`."
    ),
    no_args_is_help=True,
)
verb(app, "train")(train)
verb(app, "list", once="predict")(predict)
verb(app, "replay")(replay_rule)
verb(app, "apply")(apply)
verb(app, "undo")(undo)
