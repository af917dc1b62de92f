"""Ads in the store: drafts with all their parts, their way from state to state, and what is live.

Nothing is overwritten. The state of a creative is its last move, what a judge says of it its last
score. Whoever changes what of a tenant may be shown first takes the tenant's turn, so that the
moves that it looks at stay the last ones until it is done, and `version` rises from one to the next
as they are committed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from math import isfinite
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select, update

from adwright.campaigns.store.catalogue import (
    check_campaigns_known,
    creative_rows,
    insert_ignoring,
    storable,
)
from adwright.campaigns.store.keys import ActionKind, note
from adwright.campaigns.store.tables import (
    CAMPAIGNS,
    CREATIVE_MOVES,
    CREATIVE_SCORES,
    CREATIVES,
    TENANTS,
    Recorded,
    append,
    from_micros,
    of_tenant,
    portions,
    state_of_row,
    to_micros,
)
from adwright.core.errors import ValueInvalidError
from adwright.data.campaigns import Campaign
from adwright.data.creatives import (
    Creative,
    CreativeState,
    each_once,
    is_image_hash,
    require_move,
)
from adwright.data.ids import LONGEST_ID
from adwright.data.schema import CAMPAIGN_SCHEMA, CREATIVE_SCHEMA

#: Columns of their own; the other parts of a creative stand in `content`.
_COLUMNS = ("creative_id", "item_id", "campaign_id", "image_hash")
_LONGEST_WHY = 2_000
#: In the place of a parent that the store does not have.
_NOBODY = Creative(creative_id="-")
_ADDRESS = re.compile(r"https?://[^\s\x00-\x1f\x7f]+")


@dataclass(frozen=True)
class CreativeMove:
    """A creative came into a state. author: who moved it, and why, in words."""

    number: int
    time: datetime
    creative_id: str
    state: str
    author: str
    why: str


@dataclass(frozen=True)
class Score:
    """What a judge predicts of a creative, and the interval that it gives."""

    value: float
    low: float
    high: float


Scores = Mapping[str, Score]


@dataclass(frozen=True, eq=False)
class LiveAds:
    """What of a tenant may be shown, at one moment.

    version: another one as soon as any of this may be another. creatives: those that are live, by
    id. scores: of these, creative_id -> judge -> score. campaigns: that pay for them, by id.
    """

    version: int
    creatives: tuple[Creative, ...]
    scores: Mapping[str, Scores]
    campaigns: Mapping[str, Campaign]


def take_turn(connection: Connection, tenant: str) -> None:
    """Wait for the turn to change what of the tenant may be shown, keep it to the transaction's
    end, and count the change."""
    raised = func.coalesce(TENANTS.c.version, 0) + 1
    query = update(TENANTS).where(TENANTS.c.tenant == tenant)
    connection.execute(query.values(version=raised))


def versions(connection: Connection) -> dict[str, int]:
    """How often what may be shown has changed, of each tenant of which it ever did."""
    query = select(TENANTS.c.tenant, TENANTS.c.version).where(TENANTS.c.version.is_not(None))
    return {tenant: version for tenant, version in connection.execute(query)}


# --------------------------------------------------------------------------------------------------
# Into the store.


def insert_creatives(
    connection: Connection,
    tenant: str,
    creatives: Sequence[Creative],
    state: CreativeState,
    author: str,
    now: datetime,
    *,
    key_id: str | None = None,
) -> Recorded:
    """Enter creatives that are new in this state, all or none; see `Store.write_creatives`."""
    author = _author(author)
    take_turn(connection, tenant)
    whole = [replace(one, state="") for one in _checked(connection, tenant, creatives)]
    frame = creative_rows([_catalogue_row(one) for one in each_once(whole)])
    check_campaigns_known(connection, tenant, frame)
    given = {one.creative_id: _content(one) for one in whole}
    rows = [
        {"tenant": tenant, **row, "content": given[row["creative_id"]]}
        for row in frame.sort("creative_id").to_dicts()
    ]
    known = {one["creative_id"]: one for one in _known(connection, tenant, list(given))}
    for number, one in enumerate(whole):
        if (there := known.get(one.creative_id)) is not None and not _same(there, one):
            raise ValueInvalidError(
                "there is another creative of this id",
                row=number,
                column="creative_id",
                value=one.creative_id,
                hint="a creative never changes: give the edited one an id of its own",
            )
    for row in rows:  # of `put_creatives`, of which the store knew the text alone
        if (there := known.get(row["creative_id"])) is not None and there["content"] is None:
            mine = CREATIVES.c.creative_id == row["creative_id"]
            change = update(CREATIVES).where(*of_tenant(CREATIVES, tenant), mine)
            connection.execute(change.values(content=row["content"]))
    new = [row for row in rows if row["creative_id"] not in known]
    insert_ignoring(connection, CREATIVES, new)
    ids = [row["creative_id"] for row in new]
    _append_moves(connection, tenant, ids, state, author, "", now, key_id)
    return Recorded(len(ids), len(creatives) - len(ids))


def move_creatives(
    connection: Connection,
    tenant: str,
    ids: Sequence[str],
    state: CreativeState,
    author: str,
    why: str,
    now: datetime,
    *,
    dry_run: bool = False,
    key_id: str | None = None,
) -> Recorded:
    """Move creatives on, all or none; see `Store.move_creatives`."""
    author, why = _author(author), storable(why, "why", longest=_LONGEST_WHY)
    if not dry_run:
        take_turn(connection, tenant)
    known = {one["creative_id"]: one["state"] for one in _known(connection, tenant, ids)}
    _check_known(ids, known)
    moving = [one for one in dict.fromkeys(ids) if known[one] != state]
    for one in moving:
        require_move(one, known[one], state)
    if not dry_run:
        _append_moves(connection, tenant, moving, state, author, why, now, key_id)
    return Recorded(len(moving), len(ids) - len(moving))


def insert_scores(
    connection: Connection,
    tenant: str,
    judge: str,
    scores: Mapping[str, tuple[float, float, float]],
    now: datetime,
) -> None:
    """Keep what a judge predicts; see `Store.set_priors`."""
    judge = storable(judge, "judge", longest=LONGEST_ID)
    if not judge.strip():
        raise ValueInvalidError("a judge has a name", column="judge", hint="name the model")
    for row, (value, low, high) in enumerate(scores.values()):
        if not (all(map(isfinite, (value, low, high))) and low <= value <= high):
            raise ValueInvalidError(
                "a score is a finite number within its interval",
                row=row,
                column="value",
                value=(value, low, high),
                hint="give (value, low, high), low <= value <= high",
            )
    take_turn(connection, tenant)
    _check_known(list(scores), {one["creative_id"] for one in _known(connection, tenant, scores)})
    names = ("tenant", "time", "creative_id", "judge", "value", "low", "high")
    rows = [
        (tenant, to_micros(now), one, judge, *map(float, three)) for one, three in scores.items()
    ]
    append(connection, CREATIVE_SCORES, names, rows)
    note(connection, tenant, [("scores", judge, f"{len(rows)} creatives")], now)


def _checked(
    connection: Connection, tenant: str, creatives: Sequence[Creative]
) -> Iterator[Creative]:
    """Each with what it advertises: where it does not say so, what its parent does; refused where
    nobody does, or a click would lead to no page."""
    made = {one.creative_id: one for one in creatives}
    parents = [one.parent for one in creatives if one.parent]
    known = {one["creative_id"]: one for one in _known(connection, tenant, parents)}
    for row, one in enumerate(creatives):
        at, seen = one, set[str]()
        while not at.item_id and at.parent in made and at.parent not in seen:
            seen.add(at.parent)
            at = made[at.parent]
        item, campaign = at.item_id, at.campaign_id
        if not item and at.parent in known:
            item, campaign = known[at.parent]["item_id"], known[at.parent]["campaign_id"]
        if not item:
            raise ValueInvalidError(
                "an ad in the store advertises an item",
                row=row,
                column="item_id",
                value=one.creative_id,
                hint="fill in item_id, or enter its parent first, whose item it takes",
            )
        if one.landing and not _ADDRESS.fullmatch(one.landing):
            raise ValueInvalidError(
                "a click leads to an address of the web",
                row=row,
                column="landing",
                value=one.landing,
                hint="write https://... without spaces, or leave it empty",
            )
        yield replace(one, item_id=item, campaign_id=one.campaign_id or campaign or "")


def _catalogue_row(one: Creative) -> dict[str, object]:
    return {name: getattr(one, name) or None for name in CREATIVE_SCHEMA.names}


def _content(one: Creative) -> str:
    apart = (*_COLUMNS, "state")
    parts = {each.name: getattr(one, each.name) for each in fields(one) if each.name not in apart}
    kept = {name: value for name, value in parts.items() if value}
    return json.dumps(kept, ensure_ascii=False, sort_keys=True)


def _same(there: Mapping[str, Any], one: Creative) -> bool:
    columns = _catalogue_row(one)
    if not all(there[name] == value for name, value in columns.items()):
        return False
    if there["content"] is None:
        return True
    was, new = json.loads(there["content"]), json.loads(_content(one))
    return {**was, "inherited": ""} == {**new, "inherited": ""}


def _author(author: str) -> str:
    if not author.strip():
        hint = "name the person, or the program"
        raise ValueInvalidError("nobody is named", column="author", value=author, hint=hint)
    return storable(author, "author", longest=LONGEST_ID)


def _check_known(ids: Sequence[str], known: Mapping[str, object] | set[str]) -> None:
    for row, one in enumerate(ids):
        if one not in known:
            raise ValueInvalidError(
                "there is no such creative",
                row=row,
                column="creative_id",
                value=one,
                hint="enter it first, or look at what there is: `adwright creatives list`",
            )


def _append_moves(
    connection: Connection,
    tenant: str,
    ids: Sequence[str],
    state: CreativeState,
    author: str,
    why: str,
    now: datetime,
    key_id: str | None,
) -> None:
    names = ("tenant", "time", "creative_id", "state", "author", "why")
    rows = [(tenant, to_micros(now), one, state, author, why or None) for one in ids]
    append(connection, CREATIVE_MOVES, names, rows)
    said = f"{state} by {author}" + (f": {why}" if why else "")
    done: list[tuple[ActionKind, str, str | None]] = [("creative", one, said) for one in ids]
    note(connection, tenant, done, now, key_id=key_id)


# --------------------------------------------------------------------------------------------------
# Out of the store.


def read_creatives(
    connection: Connection,
    tenant: str,
    *,
    states: Sequence[CreativeState] | None = None,
    item_ids: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> list[Creative]:
    """Creatives with all their parts and their states, by id; see `Store.creatives_full`."""
    rows = select(CREATIVES, state_of_row().label("state")).where(*of_tenant(CREATIVES, tenant))
    chosen = _in(_in([rows], CREATIVES.c.item_id, item_ids), CREATIVES.c.creative_id, ids)
    found = list[Creative]()
    for one in chosen:
        inner = one.subquery()
        query = select(inner).order_by(inner.c.creative_id).limit(limit)
        query = query if states is None else query.where(inner.c.state.in_(states))
        query = query if after is None else query.where(inner.c.creative_id > after)
        found += [_creative(dict(row)) for row in connection.execute(query).mappings()]
    return _labelled(connection, tenant, found[:limit])


def _in(
    queries: Sequence[Select[Any]], column: ColumnElement[str], values: Sequence[str] | None
) -> list[Select[Any]]:
    """The queries for these values alone, as many as they need."""
    if values is None:
        return list(queries)
    # Nothing else is an id, and databases refuse some of what is not.
    ids = [one for one in values if one.isprintable()]
    return [query.where(column.in_(some)) for query in queries for some in portions(ids)]


def _known(
    connection: Connection, tenant: str, ids: Sequence[str] | Mapping[str, object]
) -> Iterator[Mapping[str, Any]]:
    """The rows of these ids, with their states."""
    query = select(CREATIVES, state_of_row().label("state")).where(*of_tenant(CREATIVES, tenant))
    for one in _in([query], CREATIVES.c.creative_id, list(dict.fromkeys(ids))):
        yield from (dict(row) for row in connection.execute(one).mappings())


def _creative(row: Mapping[str, Any]) -> Creative:
    content: dict[str, Any] = {"body": row["text"] or ""}
    if row["content"] is not None:
        content = json.loads(row["content"])
        content["checks_passed"] = tuple(content.get("checks_passed", ()))
    columns: dict[str, Any] = {name: row[name] or "" for name in _COLUMNS}
    if not is_image_hash(columns["image_hash"]):  # another one, of a catalogue
        columns["image_hash"] = ""
    return Creative(**columns, **content, state=row["state"])


def _labelled(connection: Connection, tenant: str, creatives: list[Creative]) -> list[Creative]:
    """The creatives, with the label of what they were made from, as far as the store has it: who
    edits an ad of a model does not make it his own."""
    known = {one.creative_id: one for one in creatives}
    wanted = {one.parent for one in creatives if one.parent and not one.label} - known.keys()
    while wanted:
        read = [_creative(row) for row in _known(connection, tenant, sorted(wanted))]
        known |= dict.fromkeys(wanted, _NOBODY) | {one.creative_id: one for one in read}
        wanted = {one.parent for one in read if one.parent and not one.label} - known.keys()

    def told(one: Creative) -> bool:
        seen = set[str]()
        while not one.label and one.parent in known and one.parent not in seen:
            seen.add(one.parent)
            one = known[one.parent]
        return bool(one.label)

    return [
        replace(one, inherited="AI") if not one.label and told(one) else one for one in creatives
    ]


def read_moves(
    connection: Connection, tenant: str, creative_id: str | None = None
) -> list[CreativeMove]:
    """What moved the tenant's creatives, or one of them, in the order in which it did."""
    moves = CREATIVE_MOVES.c
    query = select(CREATIVE_MOVES).where(*of_tenant(CREATIVE_MOVES, tenant))
    query = query if creative_id is None else query.where(moves.creative_id == creative_id)
    return [
        CreativeMove(
            row.seq,
            from_micros(row.time),
            row.creative_id,
            row.state,
            row.author,
            row.why or "",
        )
        for row in connection.execute(query.order_by(moves.seq))
    ]


def read_scores(connection: Connection, tenant: str, ids: Sequence[str]) -> dict[str, Scores]:
    """creative_id -> judge -> its last score, of those that have one."""
    scores = CREATIVE_SCORES.c
    last = select(func.max(scores.seq)).where(*of_tenant(CREATIVE_SCORES, tenant))
    last = last.group_by(scores.creative_id, scores.judge)
    found: dict[str, dict[str, Score]] = {}
    for some in portions(ids):
        mine = last.where(scores.creative_id.in_(some))
        query = select(CREATIVE_SCORES).where(scores.seq.in_(mine))
        for row in connection.execute(query.order_by(scores.creative_id, scores.judge)):
            found.setdefault(row.creative_id, {})[row.judge] = Score(row.value, row.low, row.high)
    return dict(found)


def read_live(connection: Connection, tenant: str) -> LiveAds:
    """What of the tenant may be shown."""
    live = read_creatives(connection, tenant, states=["live"])
    scores = read_scores(connection, tenant, [one.creative_id for one in live])
    paying = {one.campaign_id for one in live}
    columns = [CAMPAIGNS.c[name] for name in CAMPAIGN_SCHEMA.names]
    rows = connection.execute(select(*columns).where(*of_tenant(CAMPAIGNS, tenant))).mappings()
    times = ("start", "end")
    campaigns = {
        row["campaign_id"]: Campaign.of(
            {**row, **{name: from_micros(row[name]) for name in times if row[name] is not None}}
        )
        for row in rows
        if row["campaign_id"] in paying
    }
    return LiveAds(versions(connection).get(tenant, 0), tuple(live), scores, campaigns)
