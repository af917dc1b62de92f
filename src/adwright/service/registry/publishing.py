"""Publish a model: look whether the service could run it, copy it to where services look, and let
it decide.

    MODELS/TENANT/VERSION/    the copy; a model that serves alone gets the histories of its log
    MODELS/TENANT/current     the pointer, written last
    MODELS/TENANT/published.jsonl   what decided, since when and why, by which the way back is found

Nothing decides that was not loaded and asked here as the service does it, and what could not be
published leaves nothing behind.
"""

from __future__ import annotations

import logging
import re
import shutil
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from adwright.campaigns.store.store import Store
from adwright.core.artifacts import MANIFEST, Artifact, load_artifact
from adwright.core.atomic import atomic_folder
from adwright.core.clock import Clock, SystemClock
from adwright.core.config import load_toml
from adwright.core.errors import (
    AdwrightError,
    ArtifactError,
    ArtifactUnsafeError,
    ConfigError,
    ResourceError,
    ValueInvalidError,
)
from adwright.data.history_kinds import again_in_words
from adwright.delivery import popularity
from adwright.delivery.calibrated import EPOCH, answers_by_stage, latest_visits
from adwright.delivery.decision import Candidates, Request
from adwright.delivery.experiments import HOLDOUT, RunningExperiment, require_unchanged
from adwright.delivery.policy.creatives import CreativePolicy
from adwright.delivery.policy.rules import Exploration
from adwright.delivery.policy.settings import ItemVectors, PolicySettings
from adwright.delivery.policy.slate_policy import SlatePolicy
from adwright.delivery.policy.value import ModelTarget
from adwright.delivery.popularity import load_popularity
from adwright.delivery.training_log import HistoryLog, model_folder, open_history, training_log
from adwright.service.registry.deployed import BatchRecommender, Deployed, Hurried, Observer, probe
from adwright.service.registry.experiments import (
    ArmsDeployed,
    running_experiment,
    with_arms,
)
from adwright.service.registry.registry import (
    BACK,
    SETTINGS,
    FolderModels,
    Load,
    Stored,
    checked_name,
    inventory,
    publish,
    version_before,
)

if TYPE_CHECKING:
    from adwright.delivery.cascade.cascade import Cascade
    from adwright.delivery.counted import ItemItemRecommender
    from adwright.delivery.stages.histories import Histories


# --------------------------------------------------------------------------------------------------
# From a folder to a model that decides: what `FolderModels` calls for each version.
#
#     ROOT/TENANT/VERSION/      the artifact: what orders the items
#     ROOT/TENANT/serving.toml  what chooses among them (`PolicySettings`); greedy where it is
# absent
#
# The artifact comes from training, the policy from the operator of the campaign: it can be changed
# without a new artifact, and is exchanged in the same way.

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


def load_deployed(
    folder: Path,
    *,
    settings: PolicySettings | None = None,
    running: RunningExperiment | None = None,
    clock: Clock | None = None,
) -> Deployed:
    """The model of a version's folder, with the policy of its tenant, and the arms of the
    experiment that runs.

    settings: in place of the tenant's, without an experiment. running: in place of what the folder
    says that runs. clock: measures stages, and says which impressions still count; the machine's
    own by default.
    Raises what `load_artifact` raises, ArtifactError for a kind that cannot be served, and
    ConfigError where serving.toml is wrong.
    """
    clock = SystemClock() if clock is None else clock
    opened = cache(partial(_opened, clock=clock))  # arms of one version share its model
    if settings is not None:
        return opened(folder)(settings)
    settings = load_settings(folder)
    running = running_experiment(folder.parent) if running is None else running
    require_unchanged(settings.experiment, running)
    found = opened(folder)(settings)
    if running is None:
        return found

    def arm(model: str, file: str) -> Deployed:
        there = folder if not model else folder.parent / checked_name(model, folder.parent)
        return opened(there)(_arm_settings(folder.parent, file, settings) if file else settings)

    return with_arms(found, running, arm, folder=folder.parent, clock=clock)


def _arm_settings(folder: Path, file: str, usual: PolicySettings) -> PolicySettings:
    """The settings of an arm; ads are chosen as usual where they do not say how. Raises ConfigError
    where they hold an experiment again."""
    found = load_toml(folder / file, PolicySettings)
    if "creatives" not in tomllib.loads((folder / file).read_text(encoding="utf-8")):
        found = replace(found, creatives=usual.creatives)
    if found.experiment is not None:
        raise ConfigError(
            "an arm of an experiment has an experiment of its own",
            where=f"{folder / file}, key experiment",
            hint="leave it to serving.toml",
        )
    return found


#: Puts a policy on a model that was loaded.
_Opened = Callable[[PolicySettings], Deployed]


def _opened(folder: Path, clock: Clock) -> _Opened:
    artifact = load_artifact(folder)
    match artifact.kind:
        case popularity.KIND:
            popular, artifact_id, _ = load_popularity(artifact)
            model = {
                "name": folder.name,
                "artifact_id": artifact_id,
                "kind": popularity.KIND,
                "recommender": popular,
                "fallback": popular,
                "item_ids": popular.item_ids,
            }
            return partial(_with_policy, model=model, clock=clock)
        case kind if kind in SERVABLE:
            return _over_histories(artifact, clock)
        case kind:
            raise ArtifactError(
                f"an artifact of kind {kind!r} cannot be served",
                where=str(folder),
                hint=f"a model of kind {', '.join(SERVABLE)} can: publish one of these",
            )


def _with_policy(
    settings: PolicySettings,
    *,
    model: Mapping[str, Any],
    histories: Histories | None = None,
    vectors: ItemVectors | None = None,
    clock: Clock,
) -> Deployed:
    """A model, by the fields of Deployed, with the policy of these settings."""
    asked = asked_of(settings, histories, clock)
    policy, records = settings.build(
        known_until=model.get("known_until"),
        vectors=vectors,
        sample=sample_of(model["recommender"], asked, clock),
        clock=clock,
    )
    return Deployed(
        **model,
        policy=policy,
        seed=settings.seed,
        records=records,
        creatives=CreativePolicy(settings.creatives, clock=clock),
        asked=asked,
    )


def _over_histories(artifact: Artifact, clock: Clock) -> _Opened:
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

    model = {
        "name": artifact.folder.name,
        "artifact_id": artifact.id,
        "kind": artifact.kind,
        "recommender": found,
        "fallback": Hurried(found, clock),
        "similar": similar,
        "observe": histories.observe,
        "kinds": frozenset(histories.heard),
        "known_until": known_until,
        "unknown": partial(histories.unknown, until=known_until),
        "item_ids": histories.items.ids,
    }
    return partial(_with_policy, model=model, histories=histories, vectors=vectors, clock=clock)


def _cascade(artifact: Artifact, clock: Clock) -> Cascade:
    """What a cascade, or one model alone, recommends by."""
    if artifact.kind == "cascade":
        from adwright.delivery.funnel.funnel import load_cascade

        return load_cascade(artifact).cascade(clock=clock)
    from adwright.delivery.served import ServedModel

    return ServedModel.load(artifact).cascade(clock=clock)


def asked_about(deployed: Deployed, events: pl.DataFrame) -> ModelTarget:
    """A model and its policy, to be asked again about the requests of a log (`policy.value`).

    Its histories are told what the log holds beyond them; of it, a request sees what lay before.
    Raises ConfigError for a policy that does not say its chances.
    """
    if isinstance(deployed, ArmsDeployed):
        deployed = deployed.arms[HOLDOUT]
    if not isinstance(deployed.policy, SlatePolicy):
        raise ConfigError(
            "this policy does not say with which chance it shows an item",
            where=deployed.policy.policy_id,
        )
    if deployed.observe is not None:
        wanted = events.filter(pl.col("kind").is_in(sorted(deployed.kinds)))
        new = wanted if deployed.unknown is None else deployed.unknown(wanted)
        deployed.observe(new.to_dicts())
    return ModelTarget(deployed.recommender, deployed.policy)


def first_unseen(folder: Path) -> datetime | None:
    """The first instant after what a model was fitted on; None where it does not say."""
    from adwright.delivery.retraining.retrain import fitted_until

    until = fitted_until(load_artifact(folder))
    return None if until is None else EPOCH + timedelta(microseconds=until + 1)


def served_models(
    root: str | Path, store: Store, seconds: float, load: Load | None = None
) -> FolderModels:
    """The models of a folder, which learn from the events of the store and are noted there.

    seconds: between two looks. load: in the place of `load_deployed`.
    """
    return FolderModels(
        root,
        load or load_deployed,
        SystemClock(),
        stored=stored_events(store),
        placed=noted_in(store),
        seconds=seconds,
    )


def stored_events(store: Store) -> Stored:
    """Read from the store the events that an observer does not know yet, for `FolderModels`.

    Only what was not compacted is found: leave in the store what is newer than the models. How ads
    did is counted beyond that.
    """

    def stored(tenant: str, observer: Observer) -> list[dict[str, Any]]:
        if observer.ads:
            counts, events = store.ad_events(tenant, observer.kinds)
            observer.begin(counts)
            return events.to_dicts()
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


_VERSION = re.compile(r"v(\d+)")


@dataclass(frozen=True)
class Publication:
    """What was published.

    folder: of the version. kind: of the model. before: the version that decided until then, empty
    for none. notes: what was done and found, in sentences.
    """

    tenant: str
    version: str
    folder: Path
    kind: str
    before: str
    notes: tuple[str, ...]


#: Looks at a version that was loaded, before it decides; it raises where it should not, and says
#: why it does, or nothing.
Gate = Callable[[Deployed], str]


def publish_version(
    version: str | Path,
    *,
    why: str = "",
    gate: Gate = lambda _: "",
    clock: Clock | None = None,
) -> Publication:
    """Let a version that lies in MODELS/TENANT/VERSION decide for its tenant, after it was loaded
    as the service loads it. why: is written down, see `publish`.

    Raises ArtifactError where it is none that can be served, and as `load_deployed`.
    """
    folder = Path(version).resolve()
    if not folder.is_dir():
        raise ArtifactError(
            "there is no such version",
            where=str(folder),
            hint="name a folder MODELS/TENANT/VERSION that holds an artifact",
        )
    if not (folder / MANIFEST).is_file():
        raise ArtifactError(
            "there is no artifact to publish",
            where=str(folder),
            hint="copy the version's folder there first, or name the model's folder with --tenant",
        )
    deployed = require_servable(folder, clock=clock)
    why = gate(deployed) or why
    tenant, root = folder.parent.name, folder.parent.parent
    before = _current(root, tenant)
    publish(root, tenant, folder.name, why=why, clock=clock)
    return Publication(tenant, folder.name, folder, deployed.kind, before, explored(deployed))


def go_back(models: str | Path, tenant: str, *, clock: Clock | None = None) -> Publication:
    """Let the version decide that decided before; a second time the one before that.

    Raises ArtifactError where none is known, and as `publish_version`.
    """
    before = version_before(models, tenant)
    return publish_version(Path(models) / tenant / before, why=BACK, clock=clock)


def publish_model(
    model: str | Path,
    models: str | Path,
    tenant: str,
    *,
    version: str | None = None,
    log: str | Path | None = None,
    histories: bool = True,
    offline: bool = False,
    why: str = "",
    gate: Gate = lambda _: "",
    clock: Clock | None = None,
) -> Publication:
    """Copy a model to MODELS/TENANT/VERSION, and let it decide.

    model: its folder, or that of the run which made it. version: by default the next of v1, v2
    and so on. log: that the histories are read from, for a model that serves alone; by default
    the one that its run names. histories: False publishes it without any. offline: never
    download a public log. why: is written down, see `publish`.
    Raises ArtifactError where it cannot be served, ResourceError where the version is there
    already, and as `load_deployed` and `open_history`.
    """
    folder, root = model_folder(model), Path(models)
    artifact = load_artifact(folder)
    if artifact.kind not in SERVABLE:
        raise _cannot(artifact.kind, folder)
    checked_name(tenant, root)
    name = _next(root, tenant) if version is None else checked_name(version, root / tenant)
    target = root / tenant / name
    if root.exists() and not root.is_dir():
        raise ResourceError(
            "the folder of the models is a file", where=str(root), hint="name a folder: --models"
        )
    if target.exists():
        raise ResourceError(
            "this version is there already",
            where=str(target),
            hint="name another with --version, or publish that folder itself",
        )
    notes = []
    if artifact.kind in ALONE and artifact.kind != "served" and histories:
        notes += _with_histories(artifact, folder, target, log, offline=offline, clock=clock)
    else:
        if log is not None:
            raise ConfigError(
                f"a model of kind {artifact.kind!r} takes no log to publish it with",
                where=str(log),
                hint="leave --log out: it holds what it needs",
            )
        _copy(artifact, target)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    notes.insert(0, f"copied {folder} to {target}: {artifact.kind}, {size / 1e6:,.1f} MB")
    try:
        deployed = require_servable(target, clock=clock)
        why = gate(deployed) or why
        before = _current(root, tenant)
        publish(root, tenant, name, why=why, clock=clock)
    except BaseException:
        if _current(root, tenant) != name:
            shutil.rmtree(target, ignore_errors=True)
        raise
    return Publication(tenant, name, target, artifact.kind, before, (*notes, *explored(deployed)))


def require_servable(folder: Path, *, clock: Clock | None = None) -> Deployed:
    """Load a version as the service does, and let it decide for nobody.

    Raises ArtifactError where its kind cannot be served, and what `load_deployed` and `probe`
    raise.
    """
    clock = SystemClock() if clock is None else clock
    deployed = load_deployed(folder, clock=clock)
    probe(deployed, clock)
    return deployed


def _with_histories(
    artifact: Artifact,
    folder: Path,
    target: Path,
    log: str | Path | None,
    *,
    offline: bool,
    clock: Clock | None,
) -> list[str]:
    """Write the model together with the histories of its log; sentences about these."""
    from adwright.delivery.served import ServedModel, history_kinds_of, load_alone

    model = load_alone(artifact)
    source = training_log(folder) if log is None else str(log)
    if source is None:
        _copy(artifact, target)
        return [
            "no log is known that histories could be read from: nobody's past is known until "
            "events come in (name the log with --log)"
        ]
    known: HistoryLog = open_history(
        source,
        history_kinds_of(model),
        offline=offline,
        gone="" if log is not None else "name it with --log, or publish with --no-histories",
    )
    served = ServedModel.of_log(model, known.events, known.profiles).calibrated()
    served.save(target, clock=clock)
    return [
        f"histories of {len(served.histories):,} users, {served.histories.events:,} events, "
        f"from {source}",
        *again_in_words(served.histories.again or {}),
    ]


def _copy(artifact: Artifact, target: Path) -> None:
    """Copy an artifact's folder, whole or not at all, and look at every byte of the copy."""
    with atomic_folder(target) as new:
        shutil.copytree(artifact.folder, new, dirs_exist_ok=True, symlinks=True)
        if load_artifact(new).id != artifact.id:
            raise ArtifactUnsafeError(
                "the model was changed while it was copied", where=str(artifact.folder)
            )


def _current(root: Path, tenant: str) -> str:
    return next((one.current for one in inventory(root) if one.tenant == tenant), "")


def _next(root: Path, tenant: str) -> str:
    """The first of v1, v2 ... after all that are there."""
    folder = root / tenant
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    numbers = [int(found[1]) for name in names if (found := _VERSION.fullmatch(name))]
    return f"v{max(numbers, default=0) + 1}"


def _cannot(kind: str, folder: Path) -> ArtifactError:
    return ArtifactError(
        f"a model of kind {kind!r} cannot be served",
        where=str(folder),
        hint=f"publish one of kind {', '.join(SERVABLE)}",
    )
