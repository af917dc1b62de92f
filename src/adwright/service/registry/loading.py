"""From a folder to a model that decides: what `FolderModels` calls for each version.

    ROOT/TENANT/VERSION/      the artifact: what orders the items
    ROOT/TENANT/serving.toml  what chooses among them; greedy where the file is absent

        seed = 7
        [policy]
        kind = "softmax"
        temperature = 0.5

The artifact comes from training, the policy from whoever runs the campaign: it can be changed
without a new artifact, and is exchanged in the same way.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adwright.campaigns.store.store import Store
from adwright.core.artifacts import MANIFEST
from adwright.core.config import load_toml
from adwright.core.errors import ArtifactError, ConfigError
from adwright.delivery import popularity
from adwright.delivery.policy.slate_policy import (
    GreedyConfig,
    PolicyConfig,
    SlatePolicy,
    build_policy,
)
from adwright.delivery.popularity import load_popularity
from adwright.service.registry import cascades
from adwright.service.registry.cascades import deployed_cascade
from adwright.service.registry.deployed import Deployed
from adwright.service.registry.registry import SETTINGS, Stored

__all__ = ["Serving", "load_deployed", "stored_events"]


@dataclass(frozen=True)
class Serving:
    """What serving.toml holds.

    policy: how the places are filled. policy_id: its name in the log; by default the policy's
    own. seed: of the policy's chance.

    Raises ConfigError for a negative seed.
    """

    policy: PolicyConfig = field(default_factory=GreedyConfig)
    policy_id: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError("the seed must not be negative", where=f"seed {self.seed}")

    def build(self) -> SlatePolicy:
        """The policy."""
        return build_policy(self.policy, policy_id=self.policy_id)


def load_deployed(folder: Path) -> Deployed:
    """The model of a version's folder, with the policy of its tenant.

    Raises what `load_artifact` raises, ArtifactError for a kind that cannot be served, and
    ConfigError where serving.toml is wrong.
    """
    settings = folder.parent / SETTINGS
    serving = load_toml(settings, Serving) if settings.is_file() else Serving()
    match _kind(folder):
        case popularity.KIND:
            popular, artifact_id, _ = load_popularity(folder)
            return Deployed(
                name=folder.name,
                artifact_id=artifact_id,
                kind=popularity.KIND,
                recommender=popular,
                policy=serving.build(),
                fallback=popular,
                seed=serving.seed,
            )
        case cascades.KIND:
            return deployed_cascade(folder, serving.build(), seed=serving.seed)
        case kind:
            raise ArtifactError(
                f"an artifact of kind {kind!r} cannot be served",
                where=str(folder),
                hint="export the model for delivery first",
            )


def stored_events(store: Store) -> Stored:
    """What `FolderModels` asks for the events that a model does not know yet.

    Only what was not compacted is found: leave in the store what is newer than the models.
    """

    def stored(tenant: str, deployed: Deployed) -> list[dict[str, Any]]:
        since, kinds = deployed.known_until, deployed.kinds
        return store.events(tenant, since=since, kinds=kinds).to_dicts()

    return stored


def _kind(folder: Path) -> object:
    """What the artifact says it is; whoever loads it verifies that."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        return manifest["kind"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ArtifactError(
            "the artifact's manifest cannot be read",
            where=str(folder / MANIFEST),
            hint="copy or make the artifact again",
        ) from error
