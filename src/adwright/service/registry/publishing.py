"""Publish a model: look whether the service could run it, copy it to where services look, and let
it decide.

    MODELS/TENANT/VERSION/    the copy; a model that serves alone gets the histories of its log
    MODELS/TENANT/current     the pointer, written last
    MODELS/TENANT/published.jsonl   what decided, since when and why, by which the way back is found

Nothing decides that was not loaded and asked here as the service does it, and what could not be
published leaves nothing behind.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from adwright.core.artifacts import MANIFEST, Artifact, load_artifact
from adwright.core.atomic import atomic_folder
from adwright.core.clock import Clock, SystemClock
from adwright.core.errors import ArtifactError, ArtifactUnsafeError, ConfigError, ResourceError
from adwright.data.history_kinds import again_in_words
from adwright.delivery.training_log import HistoryLog, model_folder, open_history, training_log
from adwright.service.registry.deployed import Deployed, probe
from adwright.service.registry.loading import ALONE, SERVABLE, explored, load_deployed
from adwright.service.registry.registry import (
    BACK,
    checked_name,
    inventory,
    publish,
    version_before,
)

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


def publish_version(
    version: str | Path, *, why: str = "", clock: Clock | None = None
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
