"""adwright store campaign put and list."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal

import typer

from adwright.cli.serve import need_service
from adwright.cli.shared import opened_store, show_table
from adwright.cli.verbs import verb
from adwright.core.config import Count, Gt
from adwright.core.errors import ConfigError

app = typer.Typer(
    help=(
        "Say who pays for ads, and on which terms: when, how much, how often, to whom.\n\n"
        "`creatives import` gives an ad its campaign. An ad is shown only while its campaign is in "
        "flight, has money left, and is for such a request."
    ),
    no_args_is_help=True,
)
_STORE = "sqlite:///adwright.db"
Money = Annotated[float, Gt(0)]
_TERMS = ("end", "type", "budget", "price", "per", "cap", "cap_hours", "targeting")


@verb(app, "put")
def put(
    campaign_id: str,
    *,
    tenant: str,
    store: str = _STORE,
    start: str | None = None,
    end: str | None = None,
    budget: Money | None = None,
    price: Money | None = None,
    per: Literal["impression", "click"] | None = None,
    cap: Count | None = None,
    cap_hours: Money | None = None,
    target: list[str] | None = None,
    without: list[str] | None = None,
) -> None:
    """Make a campaign, or change those of its terms that are named.

        adwright store campaign put spring --tenant acme --budget 500 --price 0.002 --cap 3

    A budget is for all that the campaign ever spends; what it has spent already stays spent.

    Options:
        campaign_id: Of the campaign.
        tenant: Whose campaign.
        start: First day, 2026-05-31, or moment, 2026-05-31T18:00, in UTC; of a new one by default
            now.
        end: First day or moment after it.
        budget: What it may spend in all.
        price: What an impression costs, or a click, to a millionth.
        per: What the price is for: impression by default.
        cap: Most impressions to one person in --cap-hours.
        cap_hours: 24 by default.
        target: KEY=VALUE that the context of a request must have; may be repeated, also with
            other values of one key. What reads as a number is one.
        without: Take this term away: end, budget, price, cap, targeting; may be repeated.
    """
    need_service()
    from adwright.core.clock import SystemClock
    from adwright.data.campaigns import targeting_of

    gone = set(without or ())
    if unknown := gone - set(_TERMS):
        hint = f"name one of {', '.join(_TERMS)}"
        raise ConfigError("there is no such term", where=f"--without {min(unknown)}", hint=hint)
    given = {
        "start": None if start is None else _moment("--start", start),
        "end": None if end is None else _moment("--end", end),
        "budget": budget,
        "price": price,
        "per": per,
        "cap": cap,
        "cap_hours": cap_hours,
        "targeting": _targeting(target) if target else None,
    }
    with opened_store(store, tenant) as opened:
        there = opened.campaigns(tenant).filter(campaign_id=campaign_id).to_dicts()
        was: dict[str, Any] = there[0] if there else {"start": SystemClock().now()}
        if was.get("targeting"):
            was["targeting"] = targeting_of(was["targeting"])
        terms = {**was, **{name: one for name, one in given.items() if one is not None}}
        kept = {name: one for name, one in terms.items() if name not in gone and one is not None}
        opened.put_campaign(tenant, {**kept, "campaign_id": campaign_id})
        typer.echo(f"{campaign_id} {'has new terms' if there else 'is a campaign of ' + tenant}")


@verb(app, "list")
def listed(*, tenant: str, store: str = _STORE) -> None:
    """List the campaigns of a tenant, with what they have spent.

    Options:
        tenant: Whose campaigns.
    """
    need_service()
    from adwright.core.clock import SystemClock
    from adwright.data.campaigns import Campaign

    with opened_store(store, tenant) as opened:
        spent = {row["campaign_id"]: row["spent"] for row in opened.spend(tenant).to_dicts()}
        live = [one.campaign_id for one in opened.live_creatives(tenant).creatives]
        campaigns = [Campaign.of(row) for row in opened.campaigns(tenant).to_dicts()]
    now = SystemClock().now()
    rows = [
        [
            one.campaign_id,
            f"{one.start:%Y-%m-%d %H:%M} to {f'{one.end:%Y-%m-%d %H:%M}' if one.end else '-'}",
            _state(one, now, spent.get(one.campaign_id, 0.0)),
            f"{spent.get(one.campaign_id, 0.0):,.6g}",
            "-" if one.budget is None else f"{one.budget:,.6g}",
            "-" if one.price is None else f"{one.price:,.6g} per {one.per}",
            "-" if one.cap is None else f"{one.cap} in {one.cap_hours:g} h",
            json.dumps(one.targeting, ensure_ascii=False) if one.targeting else "-",
            f"{live.count(one.campaign_id):,}",
        ]
        for one in campaigns
    ]
    terms = ("spent", "budget", "price", "cap", "for")
    show_table(("campaign", "flight (UTC)", "now", *terms, "live ads"), rows, unbroken=True)


def _state(one: Any, now: datetime, spent: float) -> str:
    if now < one.start:
        return "to come"
    if one.end is not None and now >= one.end:
        return "over"
    everybody = {key: values[0] for key, values in one.targeting.items()}
    return "in flight" if one.serves(now, everybody, spent) else "spent"


def _targeting(given: Iterable[str]) -> dict[str, list[str | float]]:
    found: dict[str, list[str | float]] = {}
    for one in given:
        key, sign, text = one.partition("=")
        if not sign or not key or not text:
            hint = "write KEY=VALUE, as in page=home"
            raise ConfigError("this is no target", where=f"--target {one}", hint=hint)
        found.setdefault(key, []).append(_value(text))
    return found


def _value(text: str) -> str | float:
    try:
        found = json.loads(text)
    except ValueError:
        return text
    plain = isinstance(found, str | int | float) and not isinstance(found, bool)
    return found if plain else text


def _moment(option: str, text: str) -> datetime:
    from datetime import UTC

    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            "this is no day and no moment",
            where=f"{option} {text}",
            hint="write 2026-05-31 or 2026-05-31T18:00",
        ) from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
