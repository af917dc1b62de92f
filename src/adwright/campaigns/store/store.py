"""The store: all that is kept for each tenant, behind one class.

Every method takes the tenant first, and nothing crosses from one tenant to another. A method
that writes is one transaction, and returns when it is committed and on the disk.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from adwright.campaigns.store.catalogue import (
    campaign_rows,
    creative_rows,
    decision_of,
    decision_row,
    insert_decisions,
    insert_ignoring,
    read_decision,
    read_decisions,
    select_table,
    upsert_campaigns,
    upsert_creatives,
)
from adwright.campaigns.store.compaction import (
    EVENTS_A_PART,
    Compactor,
    CreativeEvents,
    compacted_counts,
    done_parts,
)
from adwright.campaigns.store.creatives import (
    CreativeMove,
    LiveAds,
    Scores,
    insert_creatives,
    insert_scores,
    move_creatives,
    read_creatives,
    read_live,
    read_moves,
    read_scores,
    take_turn,
    versions,
)
from adwright.campaigns.store.database import Database, migrate
from adwright.campaigns.store.events import (
    StopVersion,
    count_events,
    event_rows,
    events_after,
    insert_batches,
    last_event,
    read_stops,
    select_events,
    stop_versions,
    stops_of,
    to_frame,
)
from adwright.campaigns.store.keys import (
    WEB_SHOP,
    Action,
    ActionKind,
    Caller,
    Key,
    Replica,
    beat,
    callers_of,
    drop_replicas,
    insert_key,
    key_id_of,
    list_keys,
    note,
    read_actions,
    read_replicas,
    require_scopes,
    revoke,
)
from adwright.campaigns.store.spend import SLOTS, read_spend
from adwright.campaigns.store.tables import (
    CAMPAIGNS,
    CREATIVES,
    EVENTS,
    TENANTS,
    Recorded,
    Totals,
    count_rows,
    to_micros,
)
from adwright.core.clock import Clock, SystemClock
from adwright.core.errors import FileUnreadableError, MissingExtraError, ValueInvalidError
from adwright.data.creatives import Creative, CreativeState
from adwright.data.schema import ACTION_KINDS, CAMPAIGN_SCHEMA, CREATIVE_SCHEMA
from adwright.data.stops import Stops
from adwright.delivery.decision import Decision

# --------------------------------------------------------------------------------------------------
# Group commit: the decisions and events of many callers in one transaction.
#
# A commit costs a wait for the disk, whatever is in it. A service that answers many at once puts
# what they want written together, and still tells each what became of their own.

#: In the columns of EVENT_SCHEMA.
Events = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class StoredDecision:
    """The decision that stands in the store.

    repeated: another one stood there before. impressions: those of the decision that are new.
    spent: as of `Recorded`.
    """

    decision: Decision
    repeated: bool
    impressions: Events = field(default=(), repr=False)
    spent: Mapping[str, float] = field(default_factory=dict, compare=False, repr=False)


def record_group(
    database: Database,
    tenant: str,
    entries: Sequence[Decision | Events],
    now: datetime,
    *,
    slot: int = 0,
) -> list[StoredDecision | Recorded]:
    """Write all entries of a tenant that exists, or none; what became of each, in order.

    entries: what each caller wants written: a decision with its impressions, or events, which
    may be a table. Of two
    decisions with one request_id, and of two events with one event_id, the first counts; the
    impressions of a decision are written only if it is. slot: see `spend.add_spend`.
    Raises SchemaError and ValueInvalidError where a row can never be written, ResourceError
    where nothing can be written now.
    """
    rows = [decision_row(entry) for entry in entries if isinstance(entry, Decision)]
    events = [_events(entry) for entry in entries]
    checked = [event_rows(batch) for batch in events]
    with database.write() as connection:
        stands = insert_decisions(connection, tenant, rows)
        pairs = iter(zip(rows, stands, strict=True))
        decisions = [
            _stored(entry, *next(pairs)) if isinstance(entry, Decision) else None
            for entry in entries
        ]
        for place, decision in enumerate(decisions):
            if decision is not None and decision.repeated:
                # The impressions of the decision that was there are there too.
                events[place], checked[place] = [], []
        recorded = insert_batches(connection, tenant, checked, now, slot=slot)
    return [
        one
        if decision is None
        else replace(decision, impressions=_new(batch, one), spent=one.spent)
        for decision, batch, one in zip(decisions, events, recorded, strict=True)
    ]


def new_events(entry: Decision | Events, result: StoredDecision | Recorded) -> Events:
    """Those of the entry's events that were new, given what became of it."""
    if isinstance(result, StoredDecision):
        return result.impressions
    return _new(_events(entry), result)


def _events(entry: Decision | Events) -> Events:
    return entry.impressions() if isinstance(entry, Decision) else entry


def _new(events: Events, recorded: Recorded) -> Events:
    return [event for place, event in enumerate(events) if place not in recorded.repeated]


def _stored(
    decision: Decision, row: Mapping[str, Any], stands: Mapping[str, Any]
) -> StoredDecision:
    if row == stands:
        return StoredDecision(decision, False)
    return StoredDecision(decision_of(dict(stands)), True)


try:
    import alembic  # noqa: F401
    from sqlalchemy import select, text, update
except ImportError as error:
    raise MissingExtraError("the campaign store", "service") from error


_LONGEST_TENANT = 100


class Store:
    """Tenants, API keys, campaigns, creatives, decisions and events in one database.

    is_new: whether opening it made it.

    May be shared by threads. A process that was forked opens its own. Methods that write raise
    ValueInvalidError for a tenant that does not exist; all raise ResourceError where the
    database cannot be reached or used.
    """

    def __init__(self, database: Database, clock: Clock, *, is_new: bool = False) -> None:
        self.is_new = is_new
        self._database = database
        self._clock = clock
        self._known: set[str] = set()  # tenants seen in the database, where none is ever deleted
        self._slot = secrets.randbelow(SLOTS)
        self._spent: dict[str, dict[str, float]] = {}
        self._learning = threading.Lock()

    def __repr__(self) -> str:
        return f"Store({self._database.url!r})"

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @classmethod
    def open(
        cls,
        url: str,
        *,
        clock: Clock | None = None,
        connections: int = 20,
        seconds: float = 30.0,
        create: bool = True,
    ) -> Store:
        """The store at the URL, created or brought to the newest tables where need be.

        url: "sqlite:///relative/path", "sqlite:////absolute/path" or
            "postgresql://user:password@host/database".
        clock: gives the times of keys and compactions; the machine's own if None.
        connections: at most so many at once; further threads wait.
        seconds: how long a lock, a connection or a statement is waited for, see `Database.open`.
        create: make a new store where there is none, which `is_new` tells.
        Raises ConfigError for another URL, the store of a newer adwright, and without `create`
        where there is no store, MissingExtraError without psycopg, ResourceError where the
        database cannot be reached.
        """
        database = Database.open(url, connections=connections, seconds=seconds, create=create)
        try:
            is_new = migrate(database, create=create)
        except BaseException:
            database.close()
            raise
        return cls(database, clock or SystemClock(), is_new=is_new)

    @property
    def url(self) -> str:
        """Of the database, fit to be shown: without its password."""
        return self._database.url

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def ping(self) -> None:
        """Raise ResourceError unless the database answers, and takes what is written.

        The second is known from the latest write, or tried; see `Database.check_writes`.
        """
        with self._database.read() as connection:
            connection.execute(text("SELECT 1"))
        self._database.check_writes()

    # Tenants and their keys

    def create_tenant(self, tenant: str) -> None:
        """Let there be this tenant; nothing happens where there is. Its name has 1 to 100
        printable characters, or ValueInvalidError is raised."""
        if not tenant.strip() or not tenant.isprintable() or len(tenant) > _LONGEST_TENANT:
            raise ValueInvalidError(
                "this cannot be the name of a tenant",
                column="tenant",
                value=tenant,
                hint=f"use 1 to {_LONGEST_TENANT} printable characters",
            )
        row = {"tenant": tenant, "created": to_micros(self._clock.now())}
        with self._database.write() as connection:
            insert_ignoring(connection, TENANTS, [row])

    def tenants(self) -> list[str]:
        """All tenants, by name."""
        with self._database.read() as connection:
            return sorted(connection.execute(select(TENANTS.c.tenant)).scalars())

    def create_key(self, tenant: str, scopes: Sequence[str] = WEB_SHOP) -> str:
        """Make an API key of the tenant, and the tenant where there is none yet.

        The key is shown here and never again: the store keeps a hash of it. scopes: what it
        opens, see `campaigns.store.keys`; by default what a web shop needs. Raises ConfigError for
        one that is none.
        """
        scopes = require_scopes(scopes)
        self.create_tenant(tenant)
        now = self._clock.now()
        with self._database.write() as connection:
            key = insert_key(connection, tenant, now, scopes)
            note(connection, tenant, [("make key", key_id_of(key), " ".join(scopes))], now)
        return key

    def caller_of_key(self, key: str) -> Caller | None:
        """Who calls with this key; None for one that is unknown, altered or revoked."""
        return self.callers_of_keys([key])[0]

    def callers_of_keys(self, keys: Sequence[str]) -> list[Caller | None]:
        """As `caller_of_key` for each of them, in one look."""
        with self._database.read() as connection:
            return callers_of(connection, keys)

    def want_two_keys(self, tenant: str, wanted: bool) -> None:
        """Say whether a yes to a change of the agent must come with another key than the one that
        asked for it."""
        self._check_tenant(tenant)
        with self._database.write() as connection:
            query = update(TENANTS).where(TENANTS.c.tenant == tenant)
            connection.execute(query.values(two_keys=wanted))
            said = "on" if wanted else "off"
            note(connection, tenant, [("two keys", said, None)], self._clock.now())

    def revoke_key(self, tenant: str, key: str) -> bool:
        """Let a key of the tenant open nothing any more; whether it did until now.

        key: the key, or its id, the part between the first two underscores.
        """
        now, key_id = self._clock.now(), key_id_of(key)
        with self._database.write() as connection:
            done = revoke(connection, tenant, key_id, now)
            if done:
                note(connection, tenant, [("revoke key", key_id, None)], now)
        return done

    def keys(self, tenant: str) -> list[Key]:
        """What may be shown of the tenant's keys, oldest first."""
        with self._database.read() as connection:
            return list_keys(connection, tenant)

    def note(
        self, tenant: str, what: ActionKind, subject: str, *, key_id: str | None = None
    ) -> None:
        """Write down what was done, or is about to be, outside of the store."""
        self._check_tenant(tenant)
        with self._database.write() as connection:
            note(connection, tenant, [(what, subject, None)], self._clock.now(), key_id=key_id)

    def note_published(self, tenant: str, model: str) -> None:
        """Write down that a model began to decide, unless it is what was published last: each
        process that decides finds it for itself."""
        self._check_tenant(tenant)
        with self._database.write() as connection:
            last = read_actions(connection, tenant, what="publish", limit=1)
            if not last or last[0].subject != model:
                note(connection, tenant, [("publish", model, None)], self._clock.now())

    def actions(
        self,
        tenant: str,
        *,
        before: int | None = None,
        limit: int = 100,
        what: ActionKind | None = None,
        subject: str | None = None,
    ) -> list[Action]:
        """The tenant's last actions, the newest first.

        before: those of a smaller number. what, subject: of this kind, and about this alone.
        """
        with self._database.read() as connection:
            return read_actions(
                connection, tenant, before=before, limit=limit, what=what, subject=subject
            )

    # Campaigns and creatives

    def put_campaign(
        self, tenant: str, campaign: Mapping[str, object], *, key_id: str | None = None
    ) -> None:
        """Keep a campaign, in the columns of CAMPAIGN_SCHEMA; it replaces one of the same id.

        key_id: of the key that it came with, for the log of actions.
        Raises SchemaError and ValueInvalidError as `data.schema.validate_campaigns`.
        """
        rows = campaign_rows([campaign])
        self._check_tenant(tenant)
        with self._database.write() as connection:
            take_turn(connection, tenant)
            upsert_campaigns(connection, tenant, rows)
            (campaign_id,) = rows["campaign_id"]
            now = self._clock.now()
            note(connection, tenant, [("campaign", campaign_id, None)], now, key_id=key_id)

    def campaigns(
        self, tenant: str, *, after: str | None = None, limit: int | None = None
    ) -> pl.DataFrame:
        """The tenant's campaigns in CAMPAIGN_SCHEMA, by id.

        after: begin after this id. limit: the most rows; None is all. Where one of them is given,
        the order of the ids is the database's own, in which a page ends and the next begins.
        """
        with self._database.read() as connection:
            return select_table(
                connection, CAMPAIGNS, CAMPAIGN_SCHEMA, tenant, after=after, limit=limit
            )

    def put_creative(self, tenant: str, creative: Mapping[str, object]) -> None:
        """Keep one creative; see `put_creatives`."""
        self.put_creatives(tenant, [creative])

    def put_creatives(self, tenant: str, creatives: Sequence[Mapping[str, object]]) -> None:
        """Keep creatives, in the columns of CREATIVE_SCHEMA, all of them or none.

        A creative never changes: the same once more is no mistake, another of its id is.
        Raises SchemaError and ValueInvalidError as `data.schema.validate_creatives`, for
        another creative of the same id, and for a campaign that the tenant does not have.
        """
        if not creatives:
            return
        rows = creative_rows(creatives)
        self._check_tenant(tenant)
        with self._database.write() as connection:
            take_turn(connection, tenant)
            upsert_creatives(connection, tenant, rows)

    def creatives(self, tenant: str) -> pl.DataFrame:
        """The tenant's creatives in CREATIVE_SCHEMA, by id."""
        with self._database.read() as connection:
            return select_table(connection, CREATIVES, CREATIVE_SCHEMA, tenant)

    def write_creatives(
        self,
        tenant: str,
        creatives: Sequence[Creative],
        *,
        author: str,
        submit: bool = False,
        key_id: str | None = None,
    ) -> Recorded:
        """Enter creatives with all their parts as drafts, all of them or none.

        What state they say is not asked: it is the store's to say. The same once more is no
        mistake, and a duplicate; it stays in its state. One that says no item takes that of its
        parent, which the store or the batch has. author: who enters them. submit: they are in
        review at once. key_id: that they came with, for the log of actions, here and below.
        Raises ValueInvalidError for another creative of the same id, one without an item, and a
        campaign that the tenant does not have.
        """
        self._check_tenant(tenant)
        if not creatives:
            return Recorded(0, 0)
        state: CreativeState = "in review" if submit else "draft"
        with self._database.write() as connection:
            now = self._clock.now()
            return insert_creatives(
                connection, tenant, creatives, state, author, now, key_id=key_id
            )

    def move_creatives(
        self,
        tenant: str,
        ids: Sequence[str],
        state: CreativeState,
        *,
        author: str,
        why: str = "",
        dry_run: bool = False,
        key_id: str | None = None,
    ) -> Recorded:
        """Move creatives into a state, all of them or none; those that are in it are duplicates.

        dry_run: check it, and move none. Raises ValueInvalidError for one that is not the tenant's,
        and for a move that `data.creatives.MOVES` does not allow.
        """
        self._check_tenant(tenant)
        with self._database.write() as connection:
            return move_creatives(
                *(connection, tenant, ids, state, author, why, self._clock.now()),
                dry_run=dry_run,
                key_id=key_id,
            )

    def creative_moves(self, tenant: str, creative_id: str | None = None) -> list[CreativeMove]:
        """What moved the tenant's creatives, or one of them, the oldest first."""
        with self._database.read() as connection:
            return read_moves(connection, tenant, creative_id)

    def creatives_full(
        self,
        tenant: str,
        *,
        states: Sequence[CreativeState] | None = None,
        item_ids: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> list[Creative]:
        """The tenant's creatives with all their parts and their states, by id.

        states, item_ids, ids: these alone. after, limit: as of `campaigns`. Of one that
        `put_creatives` kept the body is its text.
        """
        with self._database.read() as connection:
            return read_creatives(
                *(connection, tenant),
                states=states,
                item_ids=item_ids,
                ids=ids,
                after=after,
                limit=limit,
            )

    def click_secret(self, tenant: str) -> bytes | None:
        """What signs the addresses to which clicks on the tenant's ads go, made when first asked
        for; None where there is no such tenant."""
        query = select(TENANTS.c.secret).where(TENANTS.c.tenant == tenant)
        with self._database.read() as connection:
            found = connection.execute(query).first()
        if found is None or found[0] is not None:
            return None if found is None else bytes(found[0])
        new = secrets.token_bytes(32)
        with self._database.write() as connection:
            # Of two that make one at once the first counts.
            unset = TENANTS.c.tenant == tenant, TENANTS.c.secret.is_(None)
            connection.execute(update(TENANTS).where(*unset).values(secret=new))
            return bytes(connection.execute(query).scalar_one())

    def set_priors(
        self, tenant: str, judge: str, scores: Mapping[str, tuple[float, float, float]]
    ) -> None:
        """Keep what a judge predicts of creatives: creative_id -> (value, low, high). The last
        score of a judge counts. Raises ValueInvalidError for one that is not the tenant's."""
        self._check_tenant(tenant)
        if not scores:
            return
        with self._database.write() as connection:
            insert_scores(connection, tenant, judge, scores, self._clock.now())

    def creative_scores(self, tenant: str, ids: Sequence[str]) -> dict[str, Scores]:
        """creative_id -> judge -> what it predicts, of those that have a score."""
        with self._database.read() as connection:
            return read_scores(connection, tenant, ids)

    def creative_versions(self) -> dict[str, int]:
        """For each tenant a number that is another one as soon as `live_creatives` may be."""
        with self._database.read() as connection:
            return versions(connection)

    def live_creatives(self, tenant: str) -> LiveAds:
        """What of the tenant may be shown, with its campaigns and scores, of one moment."""
        with self._database.read() as connection:
            return read_live(connection, tenant)

    # Decisions and events

    def decision(self, tenant: str, request_id: str) -> Decision | None:
        """The decision of a request; None where there is none."""
        with self._database.read() as connection:
            found = read_decision(connection, tenant, request_id)
        return None if found is None else decision_of(found)

    def decisions(
        self, tenant: str, *, since: datetime | None = None, until: datetime | None = None
    ) -> pl.DataFrame:
        """The tenant's decisions from `since` to before `until`, oldest first.

        The slate is a list of structs: item_id, position, propensity, score, reason.
        """
        with self._database.read(long=True) as connection:
            return read_decisions(connection, tenant, since=since, until=until)

    def record_events(
        self,
        tenant: str,
        events: Sequence[Mapping[str, object]] | pl.DataFrame,
        *,
        key_id: str | None = None,
    ) -> Recorded:
        """Keep events, all of them or none; each event_id of a tenant counts once for good,
        also after its event was compacted.

        events: in the columns of EVENT_SCHEMA; when this returns, all are on the disk. Whoever gets
        no answer sends them again. key_id: of their key, for the log of actions of stops.
        Raises SchemaError and ValueInvalidError as `data.schema.validate_events`, with the row
        and the column, but for a repeated event_id, which is counted.
        """
        rows = event_rows(events)
        self._check_tenant(tenant)
        if not rows:
            return Recorded(0, 0)
        with self._database.write() as connection:
            now, batch = self._clock.now(), [rows]
            (recorded,) = insert_batches(
                connection, tenant, batch, now, key_id=key_id, slot=self._slot
            )
        self._learn(tenant, recorded.spent)
        return recorded

    def record_group(
        self, tenant: str, entries: Sequence[Decision | Events]
    ) -> list[StoredDecision | Recorded]:
        """Keep what several callers want written, all of it or none, in one transaction.

        Returns what became of each entry, in order: for a decision the one that stands in the
        store, for events their counts. Raises as `decision_row` and `record_events`.
        """
        self._check_tenant(tenant)
        results = record_group(self._database, tenant, entries, self._clock.now(), slot=self._slot)
        for spent in results[:1]:  # of each the same: it is that of the transaction
            self._learn(tenant, spent.spent)
        return results

    def spend(self, tenant: str) -> pl.DataFrame:
        """What the tenant's campaigns have spent, by all processes: campaign_id, events that cost
        something and spent, by id.

        Each new impression, or click, of a campaign that has a price adds it, in the transaction
        that keeps the event.
        """
        with self._database.read() as connection:
            found = read_spend(connection, tenant)
        self._learn(tenant, dict(found.select("campaign_id", "spent").iter_rows()))
        return found

    def known_spend(self, tenant: str) -> Mapping[str, float]:
        """campaign_id -> what it had spent, by all, when this process last wrote an event of it or
        asked: without a question to the database. What others have in flight is not in it."""
        return self._spent.get(tenant, {})

    def _learn(self, tenant: str, spent: Mapping[str, float]) -> None:
        if spent:
            with self._learning:
                known = self._spent.get(tenant, {})
                # Of two that write at once the later one may be heard of first.
                more = {one: max(total, known.get(one, 0.0)) for one, total in spent.items()}
                self._spent[tenant] = {**known, **more}

    def events(
        self,
        tenant: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        kinds: Collection[str] | None = None,
        campaigns: Collection[str] | None = None,
    ) -> pl.DataFrame:
        """The tenant's events that are not compacted yet in EVENT_SCHEMA, oldest first.

        since: the first instant. until: the first instant after the last. kinds: only these.
        campaigns: those alone that one of these pays for.
        """
        query = select_events(tenant, since=since, until=until, kinds=kinds)
        if campaigns is not None:
            query = query.where(EVENTS.c.campaign_id.in_(sorted(campaigns)))
        with self._database.read(long=True) as connection:
            return to_frame(connection.execute(query).all())

    def last_event(self) -> int:
        """The number of the event that was taken in last, of all tenants; 0 for none."""
        with self._database.read() as connection:
            return last_event(connection)

    def events_after(self, number: int, most: int) -> list[tuple[int, str, dict[str, Any]]]:
        """What people did after a number, see `events.events_after`."""
        with self._database.read() as connection:
            return events_after(connection, number, ACTION_KINDS, most)

    def ad_events(self, tenant: str, kinds: Collection[str]) -> tuple[CreativeEvents, pl.DataFrame]:
        """All that names a creative of the tenant, each event once, of one moment: creative_id ->
        kind -> how many were compacted, and the others as of `events`. kinds: of the latter."""
        query = select_events(tenant, kinds=kinds).where(EVENTS.c.creative_id.is_not(None))
        with self._database.read(long=True) as connection:
            counts = compacted_counts(connection, tenant)
            return counts, to_frame(connection.execute(query).all())

    # Stops

    def stops(self, tenant: str) -> pl.DataFrame:
        """All stop events that the tenant ever sent in EVENT_SCHEMA, compacted or not, in the order
        in which they were taken in, by which their times rise."""
        with self._database.read() as connection:
            return read_stops(connection, tenant)

    def stops_at(self, tenant: str, at: datetime | None = None) -> Stops:
        """What is stopped of the tenant's, now or at the moment `at`, in UTC: see `data.stops`."""
        return self.stops_of(tenant, at)[0]

    def stops_of(self, tenant: str, at: datetime | None = None) -> tuple[Stops, StopVersion]:
        """As `stops_at`, with what `stop_versions` says of them."""
        with self._database.read() as connection:
            return stops_of(connection, tenant, at)

    def stop_versions(self) -> dict[str, StopVersion]:
        """For each tenant that ever stopped anything, numbers that are others as soon as it has
        another stop, or a creative that may matter."""
        with self._database.read() as connection:
            return stop_versions(connection)

    # Processes that decide

    def beat(self, name: str, replica: Replica) -> None:
        """Say that a process lives, and which stops it obeys."""
        with self._database.write() as connection:
            beat(connection, name, replica)

    def replicas(self) -> dict[str, Replica]:
        """What each process said last, by its name."""
        with self._database.read() as connection:
            return read_replicas(connection)

    def drop_replicas(self, names: Sequence[str]) -> None:
        """Forget processes that ended."""
        with self._database.write() as connection:
            drop_replicas(connection, names)

    # What there is of a tenant

    def event_counts(self, tenant: str) -> pl.DataFrame:
        """How many events are not compacted yet: day (a date, in UTC), kind and events, by day."""
        with self._database.read(long=True) as connection:
            return count_events(connection, tenant)

    def totals(self, tenant: str) -> Totals:
        """How much else there is of the tenant."""
        with self._database.read(long=True) as connection:
            return count_rows(connection, tenant)

    def size(self) -> int:
        """Bytes of the database on its disk, of all tenants together."""
        return self._database.bytes()

    # Compaction

    def compact(
        self, tenant: str, folder: str | Path, *, before: datetime, part: int = EVENTS_A_PART
    ) -> list[Path]:
        """Move the events of all days that were over at `before` into Parquet files.

        folder: the tenant's own; gets date=YYYY-MM-DD/part-*.parquet in EVENT_SCHEMA, which
            `data.log.open_log` reads. before: in UTC. part: events a file at most.
        Returns the files written. Each event is in the store or in one file, also when this is
        killed at any moment; the next call continues.
        Raises ConfigError where the folder holds another tenant's events, ResourceError where
        the disk is full.
        """
        return Compactor(self._database, tenant, Path(folder), self._clock, part=part).run(before)

    def parts(self, tenant: str, folder: str | Path) -> list[Path]:
        """The files of finished compactions, where they are below `folder`, by day.

        Raises FileUnreadableError where one of them is not there.
        """
        with self._database.read() as connection:
            return _present(done_parts(connection, tenant, Path(folder)))

    def log(self, tenant: str, folder: str | Path) -> pl.LazyFrame:
        """All that the tenant ever sent, each event once: the files and then what the store
        still holds, of one moment, in EVENT_SCHEMA.

        folder: that of the compactions. Raises FileUnreadableError where a file is missing.
        """
        with self._database.read(long=True) as connection:
            parts = _present(done_parts(connection, tenant, Path(folder)))
            recent = to_frame(connection.execute(select_events(tenant)).all()).lazy()
        return pl.concat([pl.scan_parquet(parts), recent]) if parts else recent

    def _check_tenant(self, tenant: str) -> None:
        if tenant in self._known:
            return
        with self._database.read() as connection:
            query = select(TENANTS.c.tenant).where(TENANTS.c.tenant == tenant)
            if tenant.isprintable() and connection.execute(query).first() is not None:
                self._known.add(tenant)
                return
        raise ValueInvalidError(
            "there is no such tenant",
            column="tenant",
            value=tenant,
            hint="create it, or a key for it, first",
        )


def _present(parts: list[Path]) -> list[Path]:
    for part in parts:
        if not part.is_file():
            raise FileUnreadableError(
                "a file of compacted events is missing",
                file=str(part),
                hint="name the folder that was compacted into, where it is now",
            )
    return parts
