"""A model as the service runs it: recommender, policy and fallback.

The service knows nothing of networks. It asks `recommend_many` for the candidates of a whole
batch, and passes each to the policy with a random generator that depends on nothing but the
seed, the tenant and the request: replicas with the same model decide alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import polars as pl

from adwright.campaigns.store.catalogue import decision_row
from adwright.campaigns.store.events import event_rows
from adwright.core.clock import Clock
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.ids import first_bad_id
from adwright.delivery.decision import Candidates, Deadline, Decision, Policy, Recommender, Request
from adwright.delivery.policy.creatives import CreativePolicy, CreativeSettings
from adwright.delivery.policy.pacing import PolicyRecords
from adwright.delivery.policy.slate_policy import Kept, SlatePolicy, kept_by


class BatchRecommender(Protocol):
    """A recommender that answers many requests at once and minds a deadline."""

    def recommend_many(
        self, requests: Sequence[Request], deadline: Deadline | None
    ) -> Sequence[Candidates]:
        """Candidates of each request, in order.

        Where the deadline is near it answers with the coarse order, then with popularity, and
        says so in `stage`; None is no deadline.
        """
        ...


#: Given an item and k: up to k pairs of item and similarity, nearest first; None: unknown item.
Similar = Callable[[str, int], Sequence[tuple[str, float]] | None]
#: Picks from a table of events, in EVENT_SCHEMA columns, those that were not known before.
Unknown = Callable[[pl.DataFrame], pl.DataFrame]
#: Takes note of events, rows in EVENT_SCHEMA columns that are stored; each comes once.
Observe = Callable[[Sequence[Mapping[str, Any]]], None]


@dataclass(frozen=True)
class Observer:
    """Follows a tenant's events. kinds: of the events that it wants to see. since: it knows the
    events before this instant, or does not need them; None is the beginning. unknown: picks from
    a table of events those that it does not know; None for all of them. ads: it wants those alone
    that name a creative, and is told by `begin` how many were compacted: creative_id -> kind ->
    events. shared: what other processes take in counts here, too."""

    observe: Observe
    kinds: frozenset[str]
    since: datetime | None
    unknown: Unknown | None = None
    ads: bool = False
    begin: Callable[[Mapping[str, Mapping[str, int]]], None] = lambda _: None
    shared: bool = False

    def tell(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Pass on those of the events that it wants to see."""
        wanted = [event for event in events if event["kind"] in self.kinds]
        if wanted:
            self.observe(wanted)


@dataclass(frozen=True, eq=False)
class Deployed:
    """One tenant's model, loaded and verified.

    name: of the version, shown to the tenant. artifact_id: hash of what was loaded. kind: what
    it is. fallback: answers at once where the recommender fails or is late; its stage should be
    "popularity". seed: of the policy's chance. similar: None where the model knows none.
    observe: keeps histories up to date, on another thread than the recommender's; None where
    there are none. kinds: of the events that it wants to see. known_until: the events before
    this instant are in the model already. unknown: where the model can tell for each event
    whether it has it; then events count that are dated before known_until and came later.
    records: the policy's caps, budgets and evidence. creatives: which creative an item is shown
    in. item_ids: all that it may decide. asked:
    requests that the policy's exploration was looked at with, where it explores.

    The recommender is called from one thread at a time, and so is the policy.
    """

    name: str
    artifact_id: str
    kind: str
    recommender: BatchRecommender
    policy: Policy
    fallback: Recommender
    seed: int = 0
    similar: Similar | None = None
    observe: Observe | None = None
    kinds: frozenset[str] = frozenset()
    known_until: datetime | None = None
    unknown: Unknown | None = None
    records: PolicyRecords = field(default_factory=PolicyRecords, repr=False)
    creatives: CreativePolicy = field(
        default_factory=lambda: CreativePolicy(CreativeSettings()), repr=False
    )
    item_ids: Sequence[str] = field(default=(), repr=False)
    asked: Sequence[Request] = field(default=(), repr=False)

    def kept(self) -> Kept | None:
        """What a policy that explores keeps of what the greedy one gets; None where nothing tells,
        as it does not explore or scores are no probabilities."""
        answers = self.recommender.recommend_many(self.asked, None) if self.asked else ()
        if not isinstance(self.policy, SlatePolicy) or not all(one.probability for one in answers):
            return None
        rng = np.random.default_rng(self.seed)
        return kept_by(self.policy, self.asked, answers, rng) if answers else None

    @property
    def observers(self) -> list[Observer]:
        """The model, and the policy's records, where they want to see events."""
        found = []
        if self.observe is not None:
            since = self.known_until if self.unknown is None else None
            found.append(Observer(self.observe, self.kinds, since, self.unknown, shared=True))
        if self.records.kinds:
            found.append(Observer(self.records.observe, self.records.kinds, self.records.since))
        ads = self.creatives
        found.append(Observer(ads.observe, ads.kinds, ads.since, ads=True, begin=ads.begin))
        return found

    def decide(self, tenant: str, request: Request, candidates: Candidates) -> Decision:
        """The policy's choice, with the generator of this tenant and request."""
        if not len(candidates):
            # Everything was excluded: nothing is chosen, and no chance is involved.
            none, policy_id = np.empty(0), self.policy.policy_id
            decision = Decision(request, policy_id, (), none, none, (), candidates.stage)
        else:
            rng = decision_rng(self.seed, tenant, request.request_id)
            with self.records.lock:
                decision = self.policy.decide(request, candidates, rng)
                self.records.reserve(request, decision.item_ids)
        return replace(decision, model=self.name)

    def creatives_of(self, request: Request) -> CreativePolicy:
        """What chooses the creatives that a request is shown."""
        return self.creatives

    def all_creatives(self) -> list[CreativePolicy]:
        """All that choose creatives, each once."""
        return [self.creatives]

    def settle(self, request_id: str) -> None:
        """A decision was written or was not; what was reserved for it is taken back."""
        self.records.settle(request_id)
        self.creatives.settle(request_id)

    def tell(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Let all observers take note of events that were stored."""
        for observer in self._hearing:
            observer.tell(events)

    def hear(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Let those take note of events that other processes have stored whom these concern."""
        for observer in self._hearing:
            if observer.shared:
                observer.tell(events)

    @cached_property
    def _hearing(self) -> list[Observer]:
        return self.observers


@dataclass(frozen=True)
class Hurried:
    """A fallback: what a recommender answers where no time is left.

    No model is asked, so it may answer on another thread while the recommender works.
    """

    recommender: BatchRecommender
    clock: Clock

    def recommend(self, request: Request) -> Candidates:
        """The most popular items that the request allows."""
        return self.recommender.recommend_many([request], Deadline.after(0, self.clock))[0]


def decision_rng(seed: int, tenant: str, request_id: str) -> np.random.Generator:
    """The random generator of one decision: PCG64, seeded by a hash of the three.

    Lengths stand before the texts, so that no two pairs of tenant and request are alike.
    """
    parts = [str(seed), tenant, request_id]
    text = "".join(f"{len(part)}:{part}" for part in parts)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def probe(deployed: Deployed, clock: Clock) -> None:
    """Let a model that was just loaded decide for an unknown user, on every path.

    A model that cannot do that, or whose decisions the store would refuse, is not put in place. It
    also warms up what is built on first use. Nothing is recorded.

    Raises ValueInvalidError where an answer is not usable or an item's id is none, and whatever the
    model raises.
    """
    bad = first_bad_id(deployed.item_ids)
    if bad is not None:
        raise ValueInvalidError(
            f"the model has an item whose id cannot be served: {bad[1]}",
            column="item_id",
            value=bad[0],
            hint="rename the item in the catalogue and the log, and train it again",
        )
    request = Request(request_id="probe", user_id="probe", time=clock.now(), k=3)
    for deadline in (None, Deadline.after(60, clock), Deadline.after(0, clock)):
        answers = deployed.recommender.recommend_many([request, request], deadline)
        if len(answers) != 2:
            raise ValueInvalidError(
                f"the recommender answered {len(answers)} of 2 requests",
                hint="recommend_many returns one Candidates per request",
            )
    for candidates in (answers[0], deployed.fallback.recommend(request)):
        if not len(candidates):
            raise ConfigError(
                "the model offers no item to an unknown user",
                where=deployed.name,
                hint="it needs at least one item",
            )
        decision = deployed.policy.decide(request, candidates, decision_rng(0, "probe", "probe"))
        # As the store takes it: it refuses what a database cannot keep.
        decision_row(replace(decision, model=deployed.name))
        event_rows(decision.impressions())
