"""A saved item-item rule as a model that the service runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

from adwright.core.artifacts import Artifact
from adwright.core.clock import Clock
from adwright.delivery.decision import Request
from adwright.delivery.policy.settings import PolicySettings
from adwright.service.registry.deployed import Deployed, Hurried
from adwright.service.registry.exploring import asked_of, sample_of

__all__ = ["KIND", "deployed_item_item"]

KIND = "item-item"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def deployed_item_item(artifact: Artifact, settings: PolicySettings, clock: Clock) -> Deployed:
    """The model of an artifact that `adwright train item-item` wrote.

    Its histories follow the events of the service, and say which of the stored ones they know, as
    those of a cascade do. Raises what `load_item_item` and `PolicySettings.build` raise.
    """
    from adwright.delivery.counted import load_item_item

    found = load_item_item(artifact)
    histories = found.histories
    latest = histories.latest_until(datetime.fromisoformat(artifact.manifest["created"]))
    known_until = None if latest is None else _EPOCH + timedelta(microseconds=latest + 1)
    # What is built on first use, such as for somebody with a past, is built before anybody waits.
    found.recommend_many([Request("warm-up", user, clock.now()) for user in histories.users()[:16]])
    asked = asked_of(settings, histories, clock)
    policy, records = settings.build(
        known_until=known_until, sample=sample_of(found, asked, clock), clock=clock
    )
    return Deployed(
        name=artifact.folder.name,
        artifact_id=artifact.id,
        kind=KIND,
        recommender=found,
        policy=policy,
        fallback=Hurried(found, clock),
        seed=settings.seed,
        similar=found.similar,
        observe=histories.observe,
        kinds=frozenset(histories.heard),
        known_until=known_until,
        unknown=partial(histories.unknown, until=known_until),
        records=records,
        item_ids=histories.items.ids,
        asked=asked,
    )
