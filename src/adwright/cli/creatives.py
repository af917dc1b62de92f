"""adwright creatives: list, show, import, and the moves from draft to live and on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from adwright.cli.serve import need_service
from adwright.cli.shared import (
    IntoStore,
    allowed_to_replace,
    opened_store,
    show_facts,
    show_table,
)
from adwright.cli.verbs import verb
from adwright.core.config import Count
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
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
_TEXT = 40


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
    file: Path, *, tenant: str, store: str = _STORE, author: str, submit: bool = False
) -> None:
    """Enter the ads of a table as drafts, all or none; those that are there already stay.

    An ad that names no item takes that of its parent.

    Options:
        file: What `author export --creatives`, `creative edit` or `creatives list --out` wrote, or
            a table of creative_id, item_id and text.
        tenant: Whose ads.
        store: sqlite:///PATH or postgresql://USER@HOST/DATABASE.
        author: Who enters them.
        submit: Ask for their review at once.
    """
    need_service()
    from adwright.data.sources.tables import read_whole_creatives

    IntoStore(store, tenant, submit).enter(read_whole_creatives(file), author=author)


def _mover(name: str) -> Callable[..., None]:
    to, usual, about = VERBS[name]

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
        need_service()
        if not creative_ids and not item and not every:
            raise ConfigError(
                "no ad is named",
                where=f"adwright creatives {name}",
                hint=f"give ids, --item, or --all for all that are {' or '.join(usual)}",
            )
        with opened_store(store, tenant) as opened:
            ids = creative_ids or _ids(opened, tenant, usual, item)
            done = opened.move_creatives(tenant, ids, to, author=author, why=why, dry_run=dry_run)
        would = "would be " if dry_run else ""
        there = f"; {done.duplicates:,} were already" if done.duplicates else ""
        typer.echo(f"{done.accepted:,} ads {would}{to}{there}")

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
    verb(app, _verb)(_mover(_verb))
