"""A Client without a network: recommender, policy and store in this process.

For tests, and to try policies on many people faster than over HTTP. It decides and stores as the
service does; what it has not is deadlines, fallbacks and load.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from adwright.campaigns.simulation.run import Shown
from adwright.campaigns.store.store import Store
from adwright.delivery.decision import Policy, Recommender, Request


class LocalClient:
    """Decides with `recommender` and `policy`, and stores for `tenant`.

    seed: of the policy's chance; a decision depends on it and on its request alone. observe:
    called with the events that were stored, to keep histories up to date.
    """

    def __init__(
        self,
        recommender: Recommender,
        policy: Policy,
        store: Store,
        tenant: str,
        *,
        seed: int = 0,
        observe: Callable[[Sequence[Mapping[str, Any]]], None] | None = None,
    ) -> None:
        self._recommender, self._policy = recommender, policy
        self._store, self._tenant = store, tenant
        self._seed, self._observe = seed, observe
        self._decided: dict[str, Shown] = {}
        self._told: set[str] = set()
        store.create_tenant(tenant)

    def decide(self, requests: Sequence[Request]) -> list[Shown]:
        """The decisions, in the order of the requests; one that was made before stands."""
        new = [request for request in requests if request.request_id not in self._decided]
        decisions = [self._decision(request) for request in new]
        self._store.record_group(self._tenant, decisions)
        for each in decisions:
            self._decided[each.request.request_id] = Shown(
                each.request.request_id, each.policy_id, each.stage, each.item_ids
            )
        return [self._decided[request.request_id] for request in requests]

    def send_events(self, events: Sequence[Mapping[str, Any]]) -> int:
        """Store events; how many of them are new."""
        recorded = self._store.record_events(self._tenant, list(events))
        # Those of an earlier run are new to the recommender of this one.
        new = [event for event in events if event["event_id"] not in self._told]
        self._told.update(event["event_id"] for event in new)
        if self._observe is not None and new:
            self._observe(new)
        return recorded.accepted

    def _decision(self, request: Request) -> Any:
        digest = blake2b(f"{self._seed}:{request.request_id}".encode(), digest_size=16).digest()
        rng = np.random.default_rng(int.from_bytes(digest, "big"))
        return self._policy.decide(request, self._recommender.recommend(request), rng)
