"""From a folder to a model that decides: what `FolderModels` calls for each version.

    ROOT/TENANT/VERSION/      the artifact: what orders the items
    ROOT/TENANT/serving.toml  what chooses among them (`PolicySettings`); greedy where it is absent

The artifact comes from training, the policy from the operator of the campaign: it can be changed
without a new artifact, and is exchanged in the same way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adwright.campaigns.store.store import Store
from adwright.core.artifacts import load_artifact
from adwright.core.clock import Clock, SystemClock
from adwright.core.config import load_toml
from adwright.core.errors import AdwrightError, ArtifactError
from adwright.delivery import popularity
from adwright.delivery.policy.settings import PolicySettings
from adwright.delivery.popularity import load_popularity
from adwright.service.registry import cascades, item_items
from adwright.service.registry.cascades import deployed_alone, deployed_cascade
from adwright.service.registry.deployed import Deployed, Observer
from adwright.service.registry.exploring import asked_of, sample_of
from adwright.service.registry.item_items import deployed_item_item
from adwright.service.registry.registry import SETTINGS, Stored

__all__ = ["SERVABLE", "load_deployed", "load_settings", "noted_in", "stored_events"]

_log = logging.getLogger("adwright.service")
#: Kinds of artifacts that a service can run.
SERVABLE = (cascades.KIND, *cascades.ALONE, item_items.KIND, popularity.KIND)


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
        case cascades.KIND:
            return deployed_cascade(artifact, settings, clock)
        case kind if kind in cascades.ALONE:
            return deployed_alone(artifact, settings, clock)
        case item_items.KIND:
            return deployed_item_item(artifact, settings, clock)
        case kind:
            raise ArtifactError(
                f"an artifact of kind {kind!r} cannot be served",
                where=str(folder),
                hint=f"a model of kind {', '.join(SERVABLE)} can: publish one of these",
            )


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
