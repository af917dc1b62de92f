"""adwright store show, events, log, compact and campaign."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from adwright.cli.campaigns import app as campaigns
from adwright.cli.serve import need_service, show_keys
from adwright.cli.shared import allowed_to_replace, require_tenant, show_facts, show_table
from adwright.cli.verbs import verb
from adwright.core.config import Count
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.campaigns.overview import TenantOverview
    from adwright.campaigns.store.store import Store


app = typer.Typer(
    help=(
        "Look at what a service wrote, take it out, and compact it.\n\n"
        "The store holds keys, campaigns, decisions and events of each tenant. Its events are a "
        "log as any other: every verb that takes a log takes the folder that they were compacted "
        "into."
    ),
    no_args_is_help=True,
)

app.add_typer(campaigns, name="campaign")
_STORE = "sqlite:///adwright.db"
#: Days of the table.
_DAYS = 14


@verb(app, "show")
def show(
    *,
    store: str = _STORE,
    tenant: str | None = None,
    models: Path = Path("models"),
) -> None:
    """Count what a store holds: tenants, keys, events by kind and day, decisions, models.

    Options:
        tenant: This one alone, with its events by day.
        models: Folder of the models: MODELS/TENANT/VERSION.
    """
    need_service()
    from adwright.campaigns.overview import overview
    from adwright.service.registry.registry import inventory

    with _opened(store) as opened:
        known = opened.tenants()
        if tenant is not None:
            require_tenant(tenant, known, opened.url)
        typer.echo(f"{opened.url}: {opened.size() / 1e6:,.1f} MB, {len(known)} tenants")
        published = {one.tenant: one.line() for one in inventory(models)}
        for name in known if tenant is None else [tenant]:
            found = overview(opened, name)
            typer.echo("")
            show_facts(_facts(found, published.get(name, f"none in {models}")))
            if tenant is not None:
                show_keys(found.keys, name)
                _show_days(found)


@verb(app, "events")
def events(
    *,
    tenant: str,
    out: Path,
    store: str = _STORE,
    folder: Path | None = None,
    force: bool = False,
) -> None:
    """Write a tenant's events to a file, in the columns that every log has.

    Those that the store still holds; with --folder all that there ever were, each once.

    Options:
        tenant: Whose events.
        out: Parquet or CSV file for the events.
        folder: Where they were compacted to: take those events, too.
    """
    need_service()
    from adwright.data.sources.tables import write_table

    with _opened(store) as opened:
        require_tenant(tenant, opened.tenants(), opened.url)
        allowed_to_replace(out, force=force)
        found = opened.events(tenant) if folder is None else opened.log(tenant, folder).collect()
        write_table(out, found)
        typer.echo(f"{found.height:,} events written to {out}")
        compacted = opened.totals(tenant)
        if folder is None and compacted.compacted:
            typer.echo(
                f"{compacted.compacted:,} more were compacted to {', '.join(compacted.folders)}: "
                "take them with --folder"
            )


@verb(app, "log")
def log(
    *,
    tenant: str,
    store: str = _STORE,
    limit: Count = 50,
) -> None:
    """Say who did what, the newest first: keys, stops, campaigns, models, runs of the agent.

    What was done over HTTP names the id of its key; the rest was done beside the store itself.

    Options:
        tenant: Whose events.
        limit: How many of the last.
    """
    need_service()
    with _opened(store) as opened:
        require_tenant(tenant, opened.tenants(), opened.url)
        rows = [
            [
                f"{one.time:%Y-%m-%d %H:%M:%S}",
                one.key_id or "-",
                one.what,
                one.subject,
                one.detail or "",
            ]
            for one in opened.actions(tenant, limit=limit)
        ]
        show_table(("time (UTC)", "key", "what", "subject", "more"), rows, title=f"By {tenant}")


@verb(app, "compact")
def compact(
    *,
    tenant: str,
    out: Path,
    before: str | None = None,
    store: str = _STORE,
) -> None:
    """Move the events of whole days out of the store into Parquet files, each event exactly once.

    A day is over at midnight UTC. What a published model does not know yet should stay in the
    store, where a service that starts anew finds it: retrain and publish first, or compact the
    days before the model.

    Options:
        tenant: Whose events.
        out: Folder of its own, for date=YYYY-MM-DD/*.parquet.
        before: Compact the days before this one, such as 2026-05-31; by default today.
    """
    need_service()
    from adwright.core.clock import SystemClock

    clock = SystemClock()
    limit = clock.now() if before is None else _day(before)
    with _opened(store) as opened:
        require_tenant(tenant, opened.tenants(), opened.url)
        over = (opened.event_counts(tenant)["day"] < limit.date()).any()
        # In a folder that is there, an earlier run may have something left to tidy up.
        written = opened.compact(tenant, out, before=limit) if over or out.exists() else []
        for path in written:
            typer.echo(f"wrote {path}")
        left = opened.event_counts(tenant)
        kept = int(left["events"].sum())
        if written:
            total = opened.totals(tenant)
            typer.echo(
                f"{len(written)} files; {total.compacted:,} events are compacted, {kept:,} are "
                "still in the store"
            )
        elif not kept:
            typer.echo("nothing to compact: the store holds no event of this tenant")
        else:
            first = left["day"].to_list()[0]
            then = max(first, limit.date()) + timedelta(days=1)
            typer.echo(
                f"nothing to compact yet: the oldest of {kept:,} events is of {first}, and only "
                f"days before {limit:%Y-%m-%d} (UTC) are compacted, when no more of them comes. "
                f"Run it again later, or now with --before {then}: what comes late gets another "
                "file"
            )


def _opened(url: str) -> Store:
    from adwright.campaigns.store.store import Store

    return Store.open(url, create=False)


def _day(text: str) -> datetime:
    """The first instant of a day in UTC."""
    from datetime import UTC

    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise ConfigError(
            "a day is written as 2026-05-31", where=f"--before {text}", hint="use year-month-day"
        ) from error


def _facts(found: TenantOverview, model: str) -> dict[str, str]:
    span = found.span
    when = f", {span[0]} to {span[1]}" if span else ""
    kinds = ", ".join(f"{kind} {number:,}" for kind, number in found.kinds.items())
    totals = found.totals
    where = f" in {totals.files:,} files of {', '.join(totals.folders)}" if totals.files else ""
    active = sum(key.revoked is None for key in found.keys)
    return {
        "tenant": found.tenant,
        "keys": f"{active} in use, {len(found.keys) - active} revoked",
        "events": f"{found.events:,} in the store{when}" + (f" ({kinds})" if kinds else ""),
        "compacted": f"{totals.compacted:,}{where}",
        "decisions": f"{totals.decisions:,}",
        "campaigns": f"{totals.campaigns:,}, {totals.creatives:,} creatives",
        "model": model,
    }


def _show_days(found: TenantOverview) -> None:
    if not found.events:
        return
    table = found.by_day()
    rows = [[str(cell) for cell in row] for row in table.head(_DAYS).iter_rows()]
    more = f", the last {_DAYS} of {table.height}" if table.height > _DAYS else ""
    show_table(table.columns, rows, title=f"Events in the store by day (UTC){more}")
