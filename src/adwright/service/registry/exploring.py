"""What a policy that explores is looked at with: when a model is loaded, and when published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from adwright.core.clock import Clock
from adwright.delivery.calibrated import answers_by_stage, latest_visits
from adwright.delivery.decision import Candidates, Request
from adwright.delivery.policy.rules import Exploration
from adwright.delivery.policy.settings import PolicySettings
from adwright.delivery.policy.slate_policy import SlatePolicy
from adwright.service.registry.deployed import BatchRecommender, Deployed

if TYPE_CHECKING:
    from adwright.delivery.stages.histories import Histories

__all__ = ["asked_of", "explored", "sample_of"]

#: People whose requests show what exploration costs.
ASKED = 256
#: Lengths of slates that are looked at: for more places a recommender offers more.
PLACES = (1, 3, 10, 20, 50, 100)


def asked_of(settings: PolicySettings, histories: Histories | None, clock: Clock) -> list[Request]:
    """The requests that a policy's exploration is looked at with: of those who came last, just
    after what they did; of nobody where no one is known. None where it does not explore."""
    if not settings.explores:
        return []
    known = [] if histories is None else latest_visits(histories, ASKED, after=True)[0]
    return known or [Request(f"visit-{n}", "nobody", clock.now()) for n in range(ASKED)]


def sample_of(
    recommender: BatchRecommender, asked: Sequence[Request], clock: Clock
) -> dict[int, list[Candidates]]:
    """What a recommender answers to these where they have so many places, and to the first of them
    in each stage for which it may lack the time."""
    found = {}
    for places in PLACES if asked else ():
        requests = [replace(request, k=places) for request in asked]
        forms = answers_by_stage(recommender, requests, few=1, clock=clock)
        found[places] = [one for some in forms for one in some]
    return found


def explored(deployed: Deployed) -> tuple[str, ...]:
    """What the policy of a model keeps, in a sentence, where it explores."""
    kept = deployed.kept()
    if kept is None:
        return ()
    policy, told = deployed.policy, ""
    if isinstance(policy, SlatePolicy) and isinstance(policy.rule.config, Exploration):
        told = f" at a temperature of {policy.rule.config.at(kept.places):.3g}"
    return (f"policy {policy.policy_id}{told} {kept.text()}",)
