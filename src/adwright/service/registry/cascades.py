"""A saved cascade, or one model alone, as a model that the service runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from adwright.core.artifacts import Artifact
from adwright.core.clock import Clock
from adwright.core.errors import ValueInvalidError
from adwright.delivery.policy.settings import PolicySettings
from adwright.service.registry.deployed import Deployed, Hurried
from adwright.service.registry.exploring import asked_of, sample_of

if TYPE_CHECKING:
    from adwright.delivery.cascade.cascade import Cascade

__all__ = ["ALONE", "KIND", "deployed_alone", "deployed_cascade"]

KIND = "cascade"
#: Kinds of artifacts that serve alone: those of `delivery.served`, which needs torch.
ALONE = ("served", "ranker", "retriever", "sequence")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def deployed_cascade(artifact: Artifact, settings: PolicySettings, clock: Clock) -> Deployed:
    """The model of an artifact that `delivery.cascade.build` wrote, warmed up.

    Raises what `Deployment.load`, `Deployment.cascade` and `PolicySettings.build` raise.
    """
    from adwright.delivery.funnel.funnel import load_cascade

    cascade = load_cascade(artifact).cascade(clock=clock)
    return _deployed(cascade, artifact, settings, clock)


def deployed_alone(artifact: Artifact, settings: PolicySettings, clock: Clock) -> Deployed:
    """One model that serves alone, as `delivery.served` says, warmed up.

    artifact: of kind "served", or the model as training wrote it, which knows no histories.
    Raises what `ServedModel.load`, `ServedModel.cascade` and `PolicySettings.build` raise.
    """
    from adwright.delivery.served import ServedModel

    cascade = ServedModel.load(artifact).cascade(clock=clock)
    return _deployed(cascade, artifact, settings, clock)


def _deployed(
    cascade: Cascade, artifact: Artifact, settings: PolicySettings, clock: Clock
) -> Deployed:
    """A recommender over histories as the service runs it.

    Which of the stored events it knows, its histories say for each event, whatever its date. For
    the policy's evidence the date has to do: that of the latest event that was over when the
    model was made, so that a date in the future does no harm.
    """
    cascade.warm_up()
    histories = cascade.histories
    latest = histories.latest_until(datetime.fromisoformat(artifact.manifest["created"]))
    known_until = None if latest is None else _EPOCH + timedelta(microseconds=latest + 1)
    found = cascade.item_vectors
    vectors = None if found is None else (histories.items.ids, found[1:])

    def similar(item_id: str, k: int) -> Sequence[tuple[str, float]] | None:
        try:
            return cascade.similar(item_id, k)
        except ValueInvalidError:
            return None

    asked = asked_of(settings, histories, clock)
    policy, records = settings.build(
        known_until=known_until,
        vectors=vectors,
        sample=sample_of(cascade, asked, clock),
        clock=clock,
    )
    return Deployed(
        name=artifact.folder.name,
        artifact_id=artifact.id,
        kind=artifact.kind,
        recommender=cascade,
        policy=policy,
        fallback=Hurried(cascade, clock),
        seed=settings.seed,
        similar=similar,
        observe=histories.observe,
        kinds=frozenset(histories.heard),
        known_until=known_until,
        unknown=partial(histories.unknown, until=known_until),
        records=records,
        item_ids=histories.items.ids,
        asked=asked,
    )
