"""adwright retire apply and undo: a list becomes events that a service obeys, and is taken back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.cli.retire.lives import kept_options, opened_lives
from adwright.cli.serve import need_service
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.creative.lifetime.lives import LifeLog


_SHOWN = 5

Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="Instead the store of a service: sqlite:///PATH or postgresql://USER@HOST/DATABASE.",
    ),
]


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

    The events go into the store of a service, or into a file. To apply a list twice stops once,
    and `adwright retire undo` takes it back.

    Options:
        plan: Folder of the list of `adwright retire predict`.
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

    Options:
        plan: Folder of the list of `adwright retire predict`.
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
    from adwright.creative.lifetime.stop_events import EventWriter, apply_stops
    from adwright.creative.lifetime.stop_list import RetirementList

    found, now = RetirementList.open(plan), SystemClock().now()

    def carried(target: Path | EventWriter) -> None:
        done = apply_stops(
            found,
            target,
            by,
            now,
            log=log,
            leave_out=leave_out or (),
            undo=undo,
            dry_run=dry_run,
        )
        typer.echo(done.text().rstrip())

    if (events is None) == (store is None):
        raise ConfigError(
            "stops go into a file of events, or into a store",
            where="--events, --store",
            hint="give one of the two",
        )
    if events is not None:
        carried(events)
        return
    if tenant is None:
        raise ConfigError("a store has tenants", where="--tenant", hint="name whose ads they are")
    need_service()
    import polars as pl

    from adwright.campaigns.store.store import Store as OpenStore

    with OpenStore.open(store or "") as opened:
        whose = tenant
        opened.stops(whose)  # an unknown tenant is refused by a dry run, too

        named = set[str]()

        def write(rows: pl.DataFrame) -> int:
            named.update(rows["item_id"])
            return opened.record_events(whose, rows).accepted

        carried(write)
        left = opened.stops_at(whose)
        if undo and (others := sorted(named & left.items)):
            by_whom = left.table.filter(pl.col("item_id").is_in(others))["user_id"].unique().sort()
            typer.echo(
                f"still stopped by others: {len(others):,} items "
                f"({', '.join(others[:_SHOWN])}), by {', '.join(by_whom.head(_SHOWN))}"
            )
