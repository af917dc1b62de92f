"""The ads of the store in decisions: which creative an item is shown in, and where a click leads.

A thread looks each second which tenants have other ads than before, and reads those alone; no
decision asks the store. What is paused, stopped or retired is so not shown from a second later on,
in every process. Where the store has not answered for `PATIENCE` seconds no ad is shown: items go
on without, as for tenants that have none.

A creative may be shown while it is live, nobody stopped it, and its campaign is in its flight, has
money left, is for such a request, and was not shown to this person as often as its cap says. What
campaigns have spent is known from the commits of this process, and each second from those of all;
who saw what, from the store when a cap is new, and then from what this process shows.
"""

from __future__ import annotations

import base64
import hmac
import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from adwright.campaigns.store.creatives import LiveAds, Scores
from adwright.campaigns.store.store import Store
from adwright.core.clock import Clock
from adwright.data.campaigns import Campaign, amount, micros
from adwright.data.creatives import SLOTS, Creative, CreativeState
from adwright.data.stops import Stops
from adwright.delivery.decision import Decision, Request
from adwright.delivery.policy.creatives import CreativePolicy, LiveCreative
from adwright.delivery.policy.pacing import FrequencyCap, FrequencyCapConfig, PolicyRecords
from adwright.service.registry.deployed import Deployed, decision_rng
from adwright.service.registry.registry import Models
from adwright.web.turns import Watcher

#: Judges of click rates and of recall, by what their names begin with, as `adwright creative score`
#: calls them; of several the last counts.
CLICKS, RECALL = "click_rate", "memorability"
#: Of whose counts is learnt, beside those that are live.
_PAST: tuple[CreativeState, ...] = ("paused", "stopped", "retired")
#: Seconds that what was read last goes on to count.
PATIENCE = 15.0
_MAC_BYTES = 16
_log = logging.getLogger("adwright.service")
T = TypeVar("T")


class _Caps:
    """How often each person saw the campaigns that have a cap: a `FrequencyCap` for those with the
    same hours. hours: of each campaign."""

    def __init__(self, hours: Mapping[str, float], clock: Clock) -> None:
        self.hours = dict(hours)
        by_hours = {
            each: {one: one for one, of in hours.items() if of == each} for each in hours.values()
        }
        caps = {
            each: FrequencyCap(FrequencyCapConfig(1, each), of=of) for each, of in by_hours.items()
        }
        self._of = {one: caps[each] for one, each in hours.items()}
        self.records = PolicyRecords(list(caps.values()), clock=clock)

    def seen(self, user_id: str, campaign_id: str, time: datetime) -> int:
        """Impressions that count; call it under the lock of the records."""
        return self._of[campaign_id].count(user_id, campaign_id, time)

    def observe(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Count stored events; each must come once."""
        self.records.observe(
            [
                {**one, "item_id": one["campaign_id"]}
                for one in events
                if one["kind"] == "impression" and one.get("campaign_id") in self.hours
            ]
        )

    def reserve(self, decision: Decision) -> None:
        """Count what a decision shows until it is settled; call it under the lock."""
        paid = [one.campaign_id for one in decision.shown if one is not None]
        ids = [one for one in paid if one in self.hours]
        if ids:
            self.records.reserve(decision.request, ids)


@dataclass(frozen=True, eq=False)
class _TenantAds:
    ads: LiveAds
    live: tuple[LiveCreative, ...]
    past: tuple[LiveCreative, ...]
    ids: frozenset[str]  # of both
    secret: bytes
    caps: _Caps


class _Closed:
    """The campaigns that pay for nothing now, as a container: each is looked at once a slate, or
    after each place that it pays for, where its money or its cap may end within the slate."""

    def __init__(self, known: _TenantAds, request: Request, spent: Mapping[str, float]) -> None:
        self._known, self._request, self._spent = known, request, spent
        self._found: dict[object, bool] = {"": False}
        self._ends: dict[str, int] = {}  # within the slate: places that it paid for

    def __contains__(self, campaign_id: object) -> bool:
        found = self._found.get(campaign_id)
        if found is None:
            found = self._found[campaign_id] = self._is_closed(str(campaign_id))
        return found

    def place(self, campaign_id: str) -> None:
        """It pays for a place of the slate."""
        if campaign_id in self._ends:
            self._ends[campaign_id] += 1
            del self._found[campaign_id]

    def _is_closed(self, name: str) -> bool:
        campaign = self._known.ads.campaigns.get(name)
        if campaign is None:
            return False
        request, placed = self._request, self._ends.get(name, 0)
        spent = self._spent.get(name, 0.0)
        each = micros(campaign.price or 0) if campaign.per == "impression" else 0
        if each and placed:
            spent = amount(micros(spent) + placed * each)
        if not campaign.serves(request.time, request.context, spent):
            return True
        needed = micros(spent) + (request.k + 1) * each
        if campaign.budget is not None and needed > micros(campaign.budget):
            self._ends.setdefault(name, placed)
        if campaign.cap is None or name not in self._known.caps.hours:
            return False
        seen = self._known.caps.seen(request.user_id, name, request.time) + placed
        if seen + request.k >= campaign.cap:
            self._ends.setdefault(name, placed)
        return seen >= campaign.cap


class Ads:
    """The ads of all tenants; may be shared by threads. stops: what is stopped of a tenant's.
    seconds: between two looks."""

    def __init__(
        self,
        store: Store,
        models: Models,
        stops: Callable[[str], Stops | None],
        clock: Clock,
        *,
        seconds: float,
    ) -> None:
        self._store, self._models, self._stops = store, models, stops
        self._clock = clock
        self._known: dict[str, _TenantAds] = {}
        #: Those that an answer may have to say, by tenant and id: content never changes.
        self._creatives: dict[tuple[str, str], Creative] = {}
        self._told: dict[tuple[str, str], tuple[Creative, dict[str, Any]]] = {}
        #: When a tenant's ads were last known to be these, and what cannot be read now.
        self._looked: dict[str, float] = {}
        self._failing: set[str] = set()
        self._lock = threading.Lock()  # held while the store is read: never by a decision
        # What is stored while the past of new caps is read, by tenant.
        self._meanwhile: dict[str, list[Mapping[str, Any]]] = {}
        self._telling = threading.Lock()
        self._watch = Watcher(self.look, "ads", seconds)

    @property
    def total(self) -> int:
        """How many creatives may be shown, of all tenants together."""
        return sum(self.live.values())

    @property
    def live(self) -> dict[str, int]:
        """How many creatives may be shown, by tenant."""
        return {tenant: len(known.live) for tenant, known in list(self._known.items())}

    def never_live(self, tenant: str, ids: Iterable[str]) -> list[str]:
        """Of ids of creatives those that are none of the tenant's, or that nobody has let live yet;
        none where the tenant has no ads of the store shown. Those that this process does not know
        are looked up in the store."""
        known = self._known.get(tenant)
        if known is None or not known.ids:
            return []
        left = sorted(set(ids) - known.ids)
        if not left:
            return []
        states = {
            one.creative_id: one.state for one in self._store.creatives_full(tenant, ids=left)
        }
        return [
            one
            for one in left
            if states.get(one) != ""
            and "live" not in [move.state for move in self._store.creative_moves(tenant, one)]
        ]

    def start(self) -> None:
        """Look for the first time, and begin to watch."""
        self.look()
        self._watch.start()

    def stop(self, seconds: float | None = None) -> None:
        """Stop watching; waits for a look that is under way, at most `seconds`."""
        self._watch.stop(seconds)

    def look(self) -> None:
        """Read what has changed, and let what chooses learn from what was counted since."""
        with self._lock:
            began = self._clock.monotonic()
            versions = self._tried("the ads of the store", self._store.creative_versions)
            if versions is None:
                return
            for tenant in self._known.keys() - versions.keys():
                del self._known[tenant]  # the store was exchanged for another
            for tenant, version in versions.items():
                # What is wrong with the ads of one tenant is no matter of the others.
                read = partial(self._look_at, tenant, version)
                if self._tried(f"the ads of tenant {tenant}", read) is not None:
                    self._looked[tenant] = began
                self._tried(f"the counts of tenant {tenant}", partial(self._learn, tenant))

    def shown(self, tenant: str, deployed: Deployed, decision: Decision) -> Decision:
        """The decision, with the creative of each place that may be shown in one; as it was where
        that fails: who asks gets the items."""
        try:
            return self._shown(tenant, deployed, decision)
        except Exception:
            _log.exception("the ads of a decision of tenant %s could not be chosen", tenant)
            return decision

    def _shown(self, tenant: str, deployed: Deployed, decision: Decision) -> Decision:
        known, looked = self._known.get(tenant), self._looked.get(tenant, float("-inf"))
        if known is None or not known.live or self._clock.monotonic() - looked >= PATIENCE:
            return decision
        request, stops = decision.request, self._stops(tenant)
        creatives = deployed.creatives_of(request)
        self._put(tenant, creatives)
        closed = _Closed(known, request, self._store.known_spend(tenant))
        with known.caps.records.lock:
            chosen = creatives.choose(
                decision.item_ids,
                request,
                decision_rng(deployed.seed, tenant, f"{request.request_id}#creative"),
                stopped=stops.creatives if stops is not None else (),
                closed=closed if known.ads.campaigns else (),
                placed=closed.place,
            )
            if not chosen:
                return decision
            made = copy(decision)  # `replace` would check again what was checked
            object.__setattr__(made, "shown", chosen)
            known.caps.reserve(made)
        creatives.reserve(made)
        return made

    def tell(self, tenant: str, events: Sequence[Mapping[str, Any]]) -> None:
        """Count events that were stored, each once."""
        with self._telling:
            if tenant in self._meanwhile:
                self._meanwhile[tenant].extend(events)
            known = self._known.get(tenant)
            if known is not None and known.caps.hours:
                known.caps.observe(events)

    def settle(self, tenant: str, request_id: str) -> None:
        """A decision was written or was not; what was reserved for it is taken back."""
        known = self._known.get(tenant)
        if known is not None and known.caps.hours:
            known.caps.records.settle(request_id)

    def answers(self, tenant: str, decision: Decision) -> list[dict[str, Any] | None]:
        """What to show at each place: None where it has no creative.

        Reads those that this process never saw from the store, so that a decision that is asked for
        again is answered as before.
        """
        ids = [None if one is None else one.creative_id for one in decision.shown]
        if not ids:
            return []
        missing = sorted({one for one in ids if one and (tenant, one) not in self._creatives})
        if missing:
            self._keep(tenant, self._store.creatives_full(tenant, ids=missing))
        secret = self._secret(tenant)
        start = _said(tenant, decision.request.request_id)
        answers: list[dict[str, Any] | None] = []
        for place, creative_id in enumerate(ids, start=1):
            if creative_id is None:
                answers.append(None)
                continue
            said = dict(self._answer(tenant, creative_id))
            if secret is not None:
                said["click"] = f"/click/{_token(secret, f'{start}{place}]')}"
            answers.append(said)
        return answers

    def ready(self, tenant: str, decision: Decision) -> bool:
        """Whether `answers` can tell without a question to the store."""
        known = tenant in self._known
        ids = (one.creative_id for one in decision.shown if one is not None)
        return known and all((tenant, one) in self._creatives for one in ids)

    def clicked(self, token: str) -> tuple[str, Decision, int, str] | None:
        """(tenant, decision, place, address) of a token that an answer had; None for another."""
        text, _, mac = token.partition(".")
        try:
            tenant, request_id, place = json.loads(_bytes_of(text))
            if not (isinstance(tenant, str) and tenant.isprintable()):
                return None
            secret = self._secret(tenant)
            if secret is None or not hmac.compare_digest(_bytes_of(mac), _mac(secret, text)):
                return None
        except (ValueError, TypeError):
            return None
        decision = self._store.decision(tenant, request_id)
        if decision is None or not 0 < place <= len(decision.shown):
            return None
        one = decision.shown[place - 1]
        if one is None:
            return None
        found = self._creatives.get((tenant, one.creative_id))
        if found is None:
            self._keep(tenant, self._store.creatives_full(tenant, ids=[one.creative_id]))
            found = self._creatives[tenant, one.creative_id]
        return tenant, decision, place, found.landing

    def _answer(self, tenant: str, creative_id: str) -> dict[str, Any]:
        """What an answer says of a creative, whoever sees it."""
        one = self._creatives[tenant, creative_id]
        kept = self._told.get((tenant, creative_id))
        if kept is None or kept[0] is not one:
            said = {
                "slots": {slot: text for slot in SLOTS if (text := getattr(one, slot))},
                "image_hash": one.image_hash or None,
                "landing": one.landing or None,
                "label": one.label or None,
            }
            kept = self._told[tenant, creative_id] = one, said
        return kept[1]

    def _secret(self, tenant: str) -> bytes | None:
        known = self._known.get(tenant)
        return self._store.click_secret(tenant) if known is None else known.secret

    def _campaigns(self, tenant: str) -> Sequence[Campaign]:
        known = self._known.get(tenant)
        return () if known is None else tuple(known.ads.campaigns.values())

    def _put(self, tenant: str, creatives: CreativePolicy) -> None:
        """Tell what chooses of what is live, where it does not know it yet."""
        known = self._known.get(tenant)
        if known is not None and creatives.version != known.ads.version:
            creatives.put(known.live, known.past, version=known.ads.version)

    def _look_at(self, tenant: str, version: int) -> bool:
        known = self._known.get(tenant)
        if known is None or known.ads.version != version:
            self._place(tenant, self._read(tenant))
        if any(one.budget is not None for one in self._campaigns(tenant)):
            self._store.spend(tenant)
        return True

    def _learn(self, tenant: str) -> None:
        status = self._models.status(tenant)
        if status is not None and status.deployed is not None:
            for creatives in status.deployed.all_creatives():
                self._put(tenant, creatives)
                creatives.refresh()

    def _tried(self, what: str, call: Callable[[], T]) -> T | None:
        """What `call` returns; None where it fails, which is said once until it goes well."""
        try:
            found = call()
        except Exception as error:
            if what not in self._failing:
                _log.error("%s cannot be read, what is known goes on a while: %s", what, error)
            self._failing.add(what)
            return None
        self._failing.discard(what)
        return found

    def _read(self, tenant: str) -> _TenantAds:
        ads = self._store.live_creatives(tenant)
        past = self._store.creatives_full(tenant, states=_PAST)
        scores = self._store.creative_scores(tenant, [one.creative_id for one in past])
        self._keep(tenant, ads.creatives)
        return _TenantAds(
            ads,
            tuple(_live(ads.creatives, ads.scores)),
            tuple(_live(past, scores)),
            frozenset(one.creative_id for one in (*ads.creatives, *past)),
            self._store.click_secret(tenant) or b"",
            self._caps(tenant, ads.campaigns.values()),
        )

    def _caps(self, tenant: str, campaigns: Iterable[Campaign]) -> _Caps:
        hours = {one.campaign_id: one.cap_hours for one in campaigns if one.cap is not None}
        known = self._known.get(tenant)
        same = known is not None and known.caps.hours == hours
        return known.caps if known is not None and same else _Caps(hours, self._clock)

    def _place(self, tenant: str, read: _TenantAds) -> None:
        """Let these ads be chosen from. Caps that are new are first told who saw what, each event
        once: what is stored in this moment is read from the store, told meanwhile, or both."""
        known = self._known.get(tenant)
        if not read.caps.hours or (known is not None and known.caps is read.caps):
            self._known[tenant] = read
            return
        with self._telling:
            self._meanwhile[tenant] = []
        try:
            since, kinds = read.caps.records.since, ("impression",)
            capped = read.caps.hours.keys()
            found = self._store.events(tenant, since=since, kinds=kinds, campaigns=capped)
            past = found.to_dicts()
            read.caps.observe(past)
            told = {one["event_id"] for one in past}
            with self._telling:
                meanwhile = self._meanwhile[tenant]
                read.caps.observe(one for one in meanwhile if one["event_id"] not in told)
                self._known[tenant] = read
        finally:
            with self._telling:
                del self._meanwhile[tenant]

    def _keep(self, tenant: str, creatives: Iterable[Creative]) -> None:
        for one in creatives:
            self._creatives[tenant, one.creative_id] = one


def _live(creatives: Iterable[Creative], scores: Mapping[str, Scores]) -> Iterable[LiveCreative]:
    for one in creatives:
        said = scores.get(one.creative_id, {})
        told, recall = (
            next(
                (s.value for judge, s in reversed(list(said.items())) if judge.startswith(kind)),
                None,
            )
            for kind in (CLICKS, RECALL)
        )
        yield LiveCreative(
            one.creative_id,
            one.item_id,
            one.campaign_id,
            told if told is not None and 0 < told < 1 else None,
            recall,
        )


def _said(tenant: str, request_id: str) -> str:
    """The beginning of a JSON list, of which the place is the end."""
    return json.dumps([tenant, request_id], separators=(",", ":"))[:-1] + ","


def _token(secret: bytes, said: str) -> str:
    text = base64.urlsafe_b64encode(said.encode()).rstrip(b"=").decode()
    return f"{text}.{base64.urlsafe_b64encode(_mac(secret, text)).rstrip(b'=').decode()}"


def _mac(secret: bytes, text: str) -> bytes:
    return hmac.digest(secret, text.encode(), "sha256")[:_MAC_BYTES]


def _bytes_of(text: str) -> bytes:
    return base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
