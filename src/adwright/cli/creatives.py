"""adwright creatives: list, show, import, and the moves from draft to live and on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from adwright.cli.serve import need_service
from adwright.cli.shared import (
    IntoStore,
    allowed_to_replace,
    column_pairs,
    opened_store,
    show_facts,
    show_table,
)
from adwright.cli.verbs import verb
from adwright.core.config import Count, Natural, NotNegative
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.authoring.writer.products import ProductTable
    from adwright.campaigns.store.store import Store
    from adwright.data.creatives import Creative, CreativeState

app = typer.Typer(
    help=(
        "Bring ads from draft to live, and take them back: what is written is served once somebody "
        "has approved it.\n\n"
        "Ads come in by `import`, or by --store of `author export`, `creative edit`, `creative "
        "improve` and `data import`. `submit`, `approve` and `publish` have them shown in the "
        "place of their item; `pause`, `resume`, `stop` and `retire` take them away. Each move is "
        "kept with who made it and why."
    ),
    no_args_is_help=True,
)
_STORE = "sqlite:///adwright.db"
#: Verb -> the state that it moves to, and from which states where no ids are given.
VERBS: dict[str, tuple[CreativeState, tuple[CreativeState, ...], str]] = {
    "submit": ("in review", ("draft",), "Ask for a review of drafts."),
    "approve": ("approved", ("in review",), "Say that ads in review may be shown."),
    "reject": ("draft", ("in review", "approved"), "Send ads back to their writers, as drafts."),
    "publish": ("live", ("approved",), "Let decisions show what is approved."),
    "pause": ("paused", ("live",), "Show live ads no more, until they are resumed."),
    "resume": ("live", ("paused",), "Show paused ads again."),
    "stop": ("stopped", ("live", "paused"), "Take ads down, until they pass another review."),
    "retire": (
        "retired",
        ("draft", "in review", "approved", "live", "paused", "stopped"),
        "End ads for good.",
    ),
}
_TEXT, _SHOWN = 40, 20


@verb(app, "list")
def show_all(
    *,
    tenant: str,
    store: str = _STORE,
    state: list[str] | None = None,
    item: list[str] | None = None,
    limit: Count = 50,
    out: Path | None = None,
    force: bool = False,
) -> None:
    """List the ads of a tenant, with their states.

    Options:
        tenant: Whose ads.
        store: sqlite:///PATH or postgresql://USER@HOST/DATABASE.
        state: Of this state: draft, in review, approved, live, paused, stopped or retired; may be
            repeated.
        item: Of this item; may be repeated.
        limit: Show at most so many.
        out: Write all of them to a table instead, .parquet or .csv, which the verbs of `creative`
            take.
    """
    need_service()
    from adwright.data.sources.tables import write_creatives

    with opened_store(store, tenant) as opened:
        found = opened.creatives_full(
            tenant, states=None if state is None else [_state(one) for one in state], item_ids=item
        )
    if out is not None:
        allowed_to_replace(out, force=force)
        write_creatives(out, found)
        typer.echo(f"{len(found):,} ads in {out}")
        return
    rows = [
        [one.creative_id, one.item_id, one.campaign_id, one.state or "-", one.label, _words(one)]
        for one in found[:limit]
    ]
    show_table(("ad", "item", "campaign", "state", "label", "text"), rows)
    if len(found) > limit:
        typer.echo(f"{len(found) - limit:,} more: --limit or --out shows them")


@verb(app, "show")
def show_one(creative_id: str, *, tenant: str, store: str = _STORE) -> None:
    """Show an ad: what it says, what judges predict, and its history.

    Options:
        creative_id: Of the ad.
        tenant: Whose ad.
        store: sqlite:///PATH or postgresql://USER@HOST/DATABASE.
    """
    need_service()
    from dataclasses import asdict

    with opened_store(store, tenant) as opened:
        found = opened.creatives_full(tenant, ids=[creative_id])
        if not found:
            hint = "see `adwright creatives list`"
            raise ConfigError("there is no such creative", where=creative_id, hint=hint)
        scores = opened.creative_scores(tenant, [creative_id]).get(creative_id, {})
        moves = opened.creative_moves(tenant, creative_id)
    parts = {
        name.replace("_", " "): ", ".join(value) if isinstance(value, tuple) else str(value)
        for name, value in asdict(found[0]).items()
    }
    judged = {
        f"by {judge}": f"{one.value:.4g} ({one.low:.4g} to {one.high:.4g})"
        for judge, one in scores.items()
    }
    shown = {**parts, "label": found[0].label, **judged}
    show_facts({name: value for name, value in shown.items() if value})
    rows = [[f"{one.time:%Y-%m-%d %H:%M:%S}", one.state, one.author, one.why] for one in moves]
    show_table(("time (UTC)", "state", "by", "why"), rows)


@verb(app, "import")
def import_creatives(
    file: Path,
    *,
    tenant: str,
    store: str = _STORE,
    author: str,
    submit: bool = False,
    landing: str = "",
    campaign: str = "",
) -> None:
    """Enter the ads of a table as drafts, all or none; those that are there already stay.

    An ad that names no item takes that of its parent. With another landing address an ad that has
    an id of ours is another ad, and gets another id.

    Options:
        file: What `author export --creatives`, `creative edit` or `creatives list --out` wrote, or
            a table of creative_id, item_id and text.
        tenant: Whose ads.
        store: sqlite:///PATH or postgresql://USER@HOST/DATABASE.
        author: Who enters them.
        submit: Ask for their review at once.
        landing: Where a click on those without a landing address leads, with {item_id} in it:
            https://shop.example/{item_id}
        campaign: Who pays for those that name no campaign.
    """
    need_service()
    from adwright.data.sources.tables import read_whole_creatives

    ads = _leading(read_whole_creatives(file), landing, campaign)
    IntoStore(store, tenant, submit).enter(ads, author=author)


def _leading(ads: Sequence[Creative], landing: str, campaign: str) -> list[Creative]:
    """The ads with a landing address and a campaign where they have none; who is the parent of
    another one stays so."""
    from dataclasses import replace
    from urllib.parse import quote

    renamed: dict[str, str] = {}
    found: list[Creative] = []
    for ad in ads:  # a parent stands before what was made of it
        own = replace(ad, creative_id="").creative_id == ad.creative_id
        leads = ad.landing or landing.replace("{item_id}", quote(ad.item_id, safe=""))
        made = replace(
            ad,
            landing=leads,
            campaign_id=ad.campaign_id or campaign,
            parent=renamed.get(ad.parent, ad.parent),
            creative_id="" if own else ad.creative_id,
        )
        renamed[ad.creative_id] = made.creative_id
        found.append(made)
    return found


def _mover(name: str) -> Callable[..., None]:
    _, usual, about = VERBS[name]

    def move(
        creative_ids: list[str] | None = None,
        *,
        tenant: str,
        author: str,
        why: str = "",
        store: str = _STORE,
        item: list[str] | None = None,
        every: bool = False,
        dry_run: bool = False,
    ) -> None:
        _move(name, creative_ids, (tenant, store), (author, why), item, every, dry_run=dry_run)

    move.__doc__ = f"""{about}

    Options:
        creative_ids (CREATIVE_ID): Of the ads; all of them move, or none.
        tenant: Whose ads.
        author: Who says so.
        why: In words, for the history.
        store: sqlite:///PATH or postgresql://USER@HOST/DATABASE.
        item: Instead of ids: all of this item that are {" or ".join(usual)}; may be
            repeated.
        every (--all): Instead of ids: all that are so.
    """
    return move


def retire(
    creative_ids: list[str] | None = None,
    *,
    tenant: str,
    author: str,
    why: str = "",
    store: str = _STORE,
    item: list[str] | None = None,
    every: bool = False,
    tired: bool = False,
    least: Count = 3,
    served: Path | None = None,
    dry_run: bool = False,
) -> None:
    """End ads for good.

    --tired ends what people are tired of where fresh ads have taken its place, see `wanted`.

    Options:
        creative_ids (CREATIVE_ID): Of the ads; all of them move, or none.
        tenant: Whose ads.
        author: Who says so.
        why: In words, for the history.
        store: sqlite:///PATH or postgresql://USER@HOST/DATABASE.
        item: Instead of ids: all of this item that are not retired; may be repeated.
        every (--all): Instead of ids: all that are so.
        tired: Instead of ids: live ads that are tired, of items that have --least others.
        least: Ads that are live and not tired, which an item keeps.
        served: With --tired: folder that `store compact` wrote, where it is now.
    """
    place = tenant, store
    if not tired:
        _move("retire", creative_ids, place, (author, why), item, every, dry_run=dry_run)
        return
    if creative_ids or item or every:
        hint = "leave ids, --item and --all out"
        raise ConfigError("--tired says which ads", where="--tired", hint=hint)
    need_service()
    from adwright.campaigns.wanted import replaced_ads
    from adwright.core.clock import SystemClock

    with opened_store(store, tenant) as opened:
        now = SystemClock().now()
        found = replaced_ads(opened, tenant, least=least, now=now, folder=served)
    said = author, why or f"tired, and {least} others are there"
    _move("retire", found, place, said, None, True, dry_run=dry_run)


def _move(
    name: str,
    creative_ids: list[str] | None,
    place: tuple[str, str],
    said: tuple[str, str],
    items: list[str] | None,
    every: bool,
    *,
    dry_run: bool,
) -> None:
    """place: tenant and store. said: author, and why."""
    need_service()
    from adwright.campaigns.store.tables import Recorded

    (to, usual, _), (tenant, store), (author, why) = VERBS[name], place, said
    if not creative_ids and not items and not every:
        raise ConfigError(
            "no ad is named",
            where=f"adwright creatives {name}",
            hint=f"give ids, --item, or --all for all that are {' or '.join(usual)}",
        )
    with opened_store(store, tenant) as opened:
        ids = _ids(opened, tenant, usual, items) if creative_ids is None else creative_ids
        done = Recorded(0, 0)
        if ids:  # to move none would count as a change
            done = opened.move_creatives(tenant, ids, to, author=author, why=why, dry_run=dry_run)
    would = "would be " if dry_run else ""
    there = f"; {done.duplicates:,} were already" if done.duplicates else ""
    typer.echo(f"{done.accepted:,} ads {would}{to}{there}")


def approve(
    creative_ids: list[str] | None = None,
    *,
    tenant: str,
    author: str = "",
    why: str = "",
    store: str = _STORE,
    item: list[str] | None = None,
    every: bool = False,
    rules: str = "",
    products: Path | None = None,
    columns: str | None = None,
    dry_run: bool = False,
) -> None:
    """Say that ads in review may be shown.

    --rules approves, without a person, what is in review and passes stated rules: its checks have
    no error, a model or person is told as its maker, a click leads somewhere, and where a judge has
    scored it, the lower bound is not far below the item's live ads. Each move says the rules that
    it passed, by the author rules:NAME; what does not pass stays in review.

    Options:
        creative_ids (CREATIVE_ID): Of the ads; all of them move, or none.
        tenant: Whose ads.
        author: Who says so.
        why: In words, for the history.
        store: sqlite:///PATH or postgresql://USER@HOST/DATABASE.
        item: Instead of ids: all of this item that are in review; may be repeated.
        every (--all): Instead of ids: all that are so.
        rules: Approve by rules: usual, or a TOML file with any of name, checks, maker, landing,
            judge and share.
        products: With --rules: table of products, whose facts the texts are checked against.
        columns: Which of its columns is which: id=sku,title=name.
    """
    if not rules:
        if not author:
            raise ConfigError(
                "nobody is named who approves",
                where="adwright creatives approve",
                hint="add --author YOU, or --rules usual",
            )
        _move("approve", creative_ids, (tenant, store), (author, why), item, every, dry_run=dry_run)
        return
    if creative_ids or author or why:
        raise ConfigError(
            "rules choose what they approve, and say why",
            where="--rules",
            hint="leave ids, --author and --why out; --item chooses among what is in review",
        )
    need_service()
    from adwright.campaigns.approval import ApprovalRules, approve_by_rules
    from adwright.core.config import load_toml

    chosen = ApprovalRules() if rules == "usual" else load_toml(rules, ApprovalRules)
    table = None if products is None else _products(products, columns)
    with opened_store(store, tenant) as opened:
        done = approve_by_rules(
            *(opened, tenant, chosen),
            item_ids=item or None,
            products=None if table is None else {one.id: one for one in table.products},
            dry_run=dry_run,
        )
    would = "would be " if dry_run else ""
    typer.echo(
        f"{len(done.approved):,} ads {would}approved by {chosen.author}, "
        f"{len(done.held):,} stay in review"
    )
    if done.held:
        shown = list(done.held.items())
        show_table(("ad", "why it stays"), [list(one) for one in shown[:_SHOWN]])
        if len(shown) > _SHOWN:
            typer.echo(f"{len(shown) - _SHOWN:,} more, for a person")


def wanted(
    *,
    tenant: str,
    store: str = _STORE,
    least: Count = 3,
    products: Path | None = None,
    columns: str | None = None,
    served: Path | None = None,
    campaign: str = "",
    frequency: NotNegative = 0.0,
    most: Natural = 0,
    out: Path | None = None,
    force: bool = False,
) -> None:
    """Say which items want another ad: those with few, and those whose ads people are tired of.

    What is on its way counts as there: drafts, and what is in review or approved. An ad is tired
    when its share of responses has fallen by more than chance explains, and more than that of the
    other ads in the same days.

        adwright creatives wanted --tenant acme --products shop.csv --out wanted.csv

        adwright author write wanted.csv --out ads

    Options:
        tenant: Whose items.
        least: Ads that each item should have, live and not tired.
        products: Table of products: look at these, and write its rows to --out; without it, at
            all items that have an ad or were shown.
        columns: Which of its columns is which: id=sku,title=name.
        served: Folder that `store compact` wrote, where it is now.
        campaign: Count the ads of this campaign alone.
        frequency: Times that who saw an ad has seen it, on average, from which on people are tired
            of it, too; 0 does not ask.
        most: So many items at most, those that are shown most; 0 for all.
        out: Table of the wanted items, .csv or .parquet, also where it is none.
    """
    need_service()
    from adwright.campaigns.wanted import TiredRule, wanted_items
    from adwright.core.clock import SystemClock

    table = None if products is None else _products(products, columns)
    if out is not None:
        allowed_to_replace(out, force=force)
    with opened_store(store, tenant) as opened:
        found = wanted_items(
            *(opened, tenant),
            least=least,
            item_ids=None if table is None else [one.id for one in table.products],
            now=SystemClock().now(),
            folder=served,
            campaign_id=campaign,
            rule=TiredRule(frequency=frequency),
        )
    kept = found[: most or None]
    typer.echo(f"{len(found):,} items want an ad" + (f", {most:,} at most" if most else ""))
    if out is None:
        show_table(("item", "why"), [[one.item_id, one.why] for one in kept[:_SHOWN]])
        if len(kept) > _SHOWN:
            typer.echo(f"{len(kept) - _SHOWN:,} more: --out writes all")
        return
    import polars as pl

    from adwright.data.sources.tables import write_table

    if table is None:
        types = {"item_id": pl.String, "why": pl.String}
        rows = [[one.item_id, one.why] for one in kept]
        write_table(out, pl.DataFrame(rows, types, orient="row"))
    else:
        write_table(out, table.frame[[table.rows[one.item_id] for one in kept]])
    typer.echo(f"written to {out}")


verb(app, "wanted")(wanted)


def _products(path: Path, columns: str | None) -> ProductTable:
    from adwright.authoring.writer.products import read_products

    pairs = column_pairs(columns)
    return read_products(path, columns={ours: "".join(one) for ours, one in pairs.items()})


def _ids(
    opened: Store, tenant: str, states: tuple[CreativeState, ...], items: list[str] | None
) -> list[str]:
    found = opened.creatives_full(tenant, states=states, item_ids=items or None)
    return [one.creative_id for one in found]


def _state(name: str) -> CreativeState:
    from adwright.data.creatives import MOVES

    for one in MOVES:
        if one == name:
            return one
    known = ", ".join(one for one in MOVES if one)
    raise ConfigError("there is no such state", where=name, hint=f"use one of {known}")


def _words(one: Creative) -> str:
    text = " ".join(one.text.split())
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 3]}..."


for _verb in VERBS:
    _own: dict[str, Callable[..., None]] = {"approve": approve, "retire": retire}
    verb(app, _verb)(_own.get(_verb) or _mover(_verb))


# --------------------------------------------------------------------------------------------------
# How ads did, and which of them lose.


@verb(app, "results")
def results(
    *,
    tenant: str,
    store: str = _STORE,
    log: Path | None = None,
    campaign: str = "",
    response: Literal["click", "purchase", "rating"] = "click",
    days: Natural = 0,
    least: Count = 50,
    stop: bool = False,
    author: str = "",
    out: Path | None = None,
    dry_run: bool = False,
    force: bool = False,
) -> None:
    """Say how ads did: impressions and clicks of each, and which of them lose.

    An ad loses where the chance that it is the best of its item's live ads is below 5%; --stop
    takes those down. The table is what `creative train clicks --test item_id` learns from: within
    an item it was drawn who sees which ad.

    Options:
        tenant: Whose ads.
        store: sqlite:///PATH or postgresql://USER@HOST/DATABASE.
        log: Folder that the events of the store are compacted into; without it those in the store.
        campaign: Of this campaign alone.
        response: Kind of event that counts as a click.
        days: Count the last so many days alone; 0 for all.
        least: Impressions before an ad is said to lose.
        stop: Take down what loses.
        author: Who says so, with --stop.
        out: Write the table, .parquet or .csv.
    """
    need_service()
    from datetime import timedelta

    from adwright.campaigns.ad_results import ad_results, losing_ads
    from adwright.core.clock import SystemClock
    from adwright.data.sources.tables import write_table

    if stop and not author:
        raise ConfigError("somebody says that ads are stopped", where="--author", hint="name who")
    if out is not None and not dry_run:
        allowed_to_replace(out, force=force)
    since = SystemClock().now() - timedelta(days=days) if days else None
    with opened_store(store, tenant) as opened:
        ads = [
            one
            for one in opened.creatives_full(tenant)
            if not campaign or one.campaign_id == campaign
        ]
        events = opened.events(tenant).lazy() if log is None else opened.log(tenant, log)
        found = ad_results(ads, events, response=response, since=since)
        losing = losing_ads(found, least=least)
        for one in losing:
            typer.echo(f"{one.creative_id} {one.why}")
            if stop:
                say: dict[str, Any] = {"author": author, "why": one.why, "dry_run": dry_run}
                opened.move_creatives(tenant, [one.creative_id], "stopped", **say)
    if out is not None and not dry_run:
        write_table(out, found)
        typer.echo(f"{len(found):,} ads in {out}")
    shown, clicked = int(found["impressions"].sum()), int(found["clicks"].sum())
    state = "stopped" if stop and not dry_run else "lose"
    typer.echo(f"{shown:,} impressions, {clicked:,} {response}s, {len(losing):,} ads {state}")
