"""From a folder to a model that decides: what `FolderModels` calls for each version.

    ROOT/TENANT/VERSION/      the artifact: what orders the items
    ROOT/TENANT/serving.toml  what chooses among them (`PolicySettings`); greedy where it is absent

The artifact comes from training, the policy from the operator of the campaign: it can be changed
without a new artifact, and is exchanged in the same way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adwright.campaigns.store.store import Store
from adwright.core.artifacts import Artifact, load_artifact
from adwright.core.clock import Clock, SystemClock
from adwright.core.config import load_toml
from adwright.core.errors import AdwrightError, ArtifactError, ValueInvalidError
from adwright.delivery import popularity
from adwright.delivery.calibrated import EPOCH, answers_by_stage, latest_visits
from adwright.delivery.decision import Candidates, Request
from adwright.delivery.policy.rules import Exploration
from adwright.delivery.policy.settings import PolicySettings
from adwright.delivery.policy.slate_policy import SlatePolicy
from adwright.delivery.popularity import load_popularity
from adwright.service.registry.deployed import BatchRecommender, Deployed, Hurried, Observer
from adwright.service.registry.registry import SETTINGS, Stored

if TYPE_CHECKING:
    from adwright.delivery.cascade.cascade import Cascade
    from adwright.delivery.counted import ItemItemRecommender
    from adwright.delivery.stages.histories import Histories

_log = logging.getLogger("adwright.service")
#: Kinds of artifacts that serve alone: those of `delivery.served`, which needs torch.
ALONE = ("served", "ranker", "retriever", "sequence")
#: Kinds of artifacts that a service can run.
SERVABLE = ("cascade", *ALONE, "item-item", popularity.KIND)


def load_settings(folder: Path) -> PolicySettings:
    """The settings that go with the version of a folder: those of its tenant.

    Raises ConfigError that names the file and the key.
    """
    settings = folder.parent / SETTINGS
    return load_toml(settings, PolicySettings) if settings.exists() else PolicySettings()


def load_deployed(folder: Path, *, clock: Clock | None = None) -> Deployed:
    """The model of a version's folder, with the policy of its tenant.

    clock: measures stages, and says which impressions still count; the machine's own by default.
    Raises what `load_artifact` raises, ArtifactError for a kind that cannot be served, and
    ConfigError where serving.toml is wrong.
    """
    clock = SystemClock() if clock is None else clock
    settings = load_settings(folder)
    artifact = load_artifact(folder)
    match artifact.kind:
        case popularity.KIND:
            popular, artifact_id, _ = load_popularity(artifact)
            asked = asked_of(settings, None, clock)
            sample = sample_of(popular, asked, clock)
            policy, records = settings.build(sample=sample, clock=clock)
            named = folder.name, artifact_id, popularity.KIND
            return Deployed(
                *named,
                popular,
                policy,
                popular,
                seed=settings.seed,
                records=records,
                item_ids=popular.item_ids,
                asked=asked,
            )
        case kind if kind in SERVABLE:
            return _over_histories(artifact, settings, clock)
        case kind:
            raise ArtifactError(
                f"an artifact of kind {kind!r} cannot be served",
                where=str(folder),
                hint=f"a model of kind {', '.join(SERVABLE)} can: publish one of these",
            )


def _over_histories(artifact: Artifact, settings: PolicySettings, clock: Clock) -> Deployed:
    """A recommender over histories as the service runs it, warmed up.

    Which of the stored events it knows, its histories say for each event, whatever its date. For
    the policy's evidence the date has to do: that of the latest event that was over when the
    model was made, so that a date in the future does no harm.
    """
    found: Cascade | ItemItemRecommender
    vectors = None
    if artifact.kind == "item-item":
        from adwright.delivery.counted import load_item_item

        found = load_item_item(artifact)
        users = found.histories.users()[:16]
        # What is built on first use, such as for somebody with a past, is built before anybody
        # waits.
        found.recommend_many([Request("warm-up", user, clock.now()) for user in users])
    else:
        found = _cascade(artifact, clock)
        found.warm_up()
        if found.item_vectors is not None:
            vectors = (found.histories.items.ids, found.item_vectors[1:])
    histories = found.histories
    latest = histories.latest_until(datetime.fromisoformat(artifact.manifest["created"]))
    known_until = None if latest is None else EPOCH + timedelta(microseconds=latest + 1)

    def similar(item_id: str, k: int) -> Sequence[tuple[str, float]] | None:
        try:
            return found.similar(item_id, k)
        except ValueInvalidError:
            return None

    asked = asked_of(settings, histories, clock)
    policy, records = settings.build(
        known_until=known_until,
        vectors=vectors,
        sample=sample_of(found, asked, clock),
        clock=clock,
    )
    return Deployed(
        name=artifact.folder.name,
        artifact_id=artifact.id,
        kind=artifact.kind,
        recommender=found,
        policy=policy,
        fallback=Hurried(found, clock),
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


def _cascade(artifact: Artifact, clock: Clock) -> Cascade:
    """What a cascade, or one model alone, recommends by."""
    if artifact.kind == "cascade":
        from adwright.delivery.funnel.funnel import load_cascade

        return load_cascade(artifact).cascade(clock=clock)
    from adwright.delivery.served import ServedModel

    return ServedModel.load(artifact).cascade(clock=clock)


def stored_events(store: Store) -> Stored:
    """Read from the store the events that an observer does not know yet, for `FolderModels`.

    Only what was not compacted is found: leave in the store what is newer than the models.
    """

    def stored(tenant: str, observer: Observer) -> list[dict[str, Any]]:
        events = store.events(tenant, since=observer.since, kinds=observer.kinds)
        return (events if observer.unknown is None else observer.unknown(events)).to_dicts()

    return stored


def noted_in(store: Store) -> Callable[[str, Deployed], None]:
    """Write into the log of actions which model decides, for `FolderModels`."""

    def placed(tenant: str, deployed: Deployed) -> None:
        try:
            store.note_published(tenant, f"{deployed.name} {deployed.artifact_id[:16]}")
        except AdwrightError as error:
            _log.warning("that %s decides for %s was not noted: %s", deployed.name, tenant, error)

    return placed


# --------------------------------------------------------------------------------------------------
# What a policy that explores is looked at with: when a model is loaded, and when published.

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
