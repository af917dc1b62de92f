"""Versions of models: looked at in their folder, published, taken back."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.clock import FixedClock
from adwright.core.errors import (
    AdwrightError,
    ArtifactError,
    ArtifactUnsafeError,
    ConfigError,
    ResourceError,
)
from adwright.core.regular import read_regular
from adwright.delivery.popularity import save_popularity
from adwright.delivery.served import ServedModel
from adwright.models.calibration import ListCalibrator
from adwright.service.registry.deployed import Deployed, Observer
from adwright.service.registry.publishing import (
    go_back,
    load_deployed,
    publish_model,
    publish_version,
)
from adwright.service.registry.registry import (
    JOURNAL,
    POINTER,
    SETTINGS,
    FixedModels,
    FolderModels,
    ModelStatus,
    publish,
)
from tests.support.delivery.cascade_parts import deployment, histories, request
from tests.support.delivery.sequence_parts import hstu_ranker, sasrec
from tests.support.delivery.single_models import run_folder
from tests.support.service.small_shop import (
    ITEMS,
    Hashed,
    deployed,
    load_version,
    save_version,
    wait_until,
)


def folder_models(root: Path, clock: FixedClock) -> FolderModels:
    return FolderModels(root, load_version, clock, seconds=0.01)


def published(root: Path, name: str = "v1", tenant: str = "acme") -> None:
    save_version(root, tenant, name)
    publish(root, tenant, name)


def status_of(models: FolderModels, tenant: str = "acme") -> ModelStatus:
    status = models.status(tenant)
    assert status is not None
    return status


def decides(models: FolderModels, tenant: str = "acme") -> Deployed:
    status = status_of(models, tenant)
    assert status.deployed is not None
    return status.deployed


def test_fixed_models_stay(clock: FixedClock) -> None:
    model = deployed()
    models = FixedModels({"acme": model}, clock)
    models.start()
    assert models.status("acme") == ModelStatus(model, since=clock.now())
    assert models.status("umbrella") is None
    assert list(models.statuses()) == ["acme"]
    models.stop()


def test_a_published_version_takes_the_place_of_the_old_one(
    tmp_path: Path, clock: FixedClock
) -> None:
    first = save_version(tmp_path, "acme", "v1")
    publish(tmp_path, "acme", "v1")
    save_version(tmp_path, "umbrella", "v1", salt="other")
    publish(tmp_path, "umbrella", "v1")
    models = folder_models(tmp_path, clock)
    models.start()
    try:
        old = decides(models)
        assert (old.name, old.artifact_id) == ("v1", first)
        second = save_version(tmp_path, "acme", "v2")
        clock.advance(60)
        publish(tmp_path, "acme", "v2")
        wait_until(lambda: decides(models).name == "v2")
        status = models.status("acme")
        assert status is not None
        assert status.since == clock.now()
        assert decides(models).artifact_id == second
        assert decides(models, "umbrella").name == "v1"
        publish(tmp_path, "acme", "v1")
        wait_until(lambda: decides(models).name == "v1")
    finally:
        models.stop()


def test_the_same_pointer_is_not_loaded_twice(tmp_path: Path, clock: FixedClock) -> None:
    published(tmp_path)
    models = folder_models(tmp_path, clock)
    models.look()
    model = decides(models)
    publish(tmp_path, "acme", "v1")
    models.look()
    assert decides(models) is model


def break_tensors(folder: Path) -> None:
    (folder / "extra.bin").write_bytes(b"not listed")


def break_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")


def break_pickle(folder: Path) -> None:
    (folder / "model.pkl").write_bytes(b"\x80\x04.")


def break_kind(folder: Path) -> None:
    shutil.rmtree(folder)
    save_version(folder.parent.parent, folder.parent.name, folder.name, kind="other")


def break_link(folder: Path) -> None:
    folder.rename(folder.with_name("aside"))
    folder.symlink_to(folder.with_name("aside"))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (break_tensors, "ArtifactCorruptError"),
        (break_manifest, "ArtifactCorruptError"),
        (break_pickle, "ArtifactUnsafeError"),
        (break_kind, "of kind 'other', not 'hashed'"),
        (break_link, "a version that is not there"),
    ],
)
def test_a_broken_version_is_refused_and_the_old_one_goes_on(
    tmp_path: Path, clock: FixedClock, damage: object, reason: str
) -> None:
    published(tmp_path)
    models = folder_models(tmp_path, clock)
    models.look()
    save_version(tmp_path, "acme", "v2")
    damage(tmp_path / "acme" / "v2")  # type: ignore[operator]
    publish(tmp_path, "acme", "v2")
    models.look()
    status = status_of(models)
    assert status.deployed is not None
    assert (status.deployed.name, status.refused) == ("v1", "v2")
    assert reason in status.reason
    published(tmp_path, "v3")
    models.look()
    mended = status_of(models)
    assert (decides(models).name, mended.refused, mended.reason) == ("v3", "", "")


def test_a_version_that_is_mended_in_place_is_tried_again(
    tmp_path: Path, clock: FixedClock
) -> None:
    save_version(tmp_path, "acme", "v1")
    (tmp_path / "acme" / POINTER).write_text("v1")
    manifest = tmp_path / "acme" / "v1" / "manifest.json"
    good = manifest.read_bytes()
    manifest.write_bytes(good[:-20])
    models = folder_models(tmp_path, clock)
    models.look()
    status = status_of(models)
    assert status.deployed is None
    assert status.refused == "v1"
    manifest.write_bytes(good)
    models.look()
    assert decides(models).name == "v1"


@pytest.mark.parametrize(
    "pointer", ["", "../umbrella/v1", "/etc", ".", "..", "a/b", "current", "v\0", "nowhere"]
)
def test_a_pointer_never_leaves_the_folder(tmp_path: Path, clock: FixedClock, pointer: str) -> None:
    save_version(tmp_path, "umbrella", "v1")
    save_version(tmp_path, "acme", "v1")
    (tmp_path / "acme" / POINTER).write_text(pointer)
    models = folder_models(tmp_path, clock)
    models.look()
    status = status_of(models)
    assert status.deployed is None
    assert status.refused
    assert status.reason


def fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


def linked(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


@pytest.mark.parametrize("spoil", [fifo, huge, linked, folder])
@pytest.mark.parametrize("name", [POINTER, SETTINGS, "v2/manifest.json"])
def test_what_is_no_plain_file_is_refused_and_keeps_nobody_waiting(
    tmp_path: Path, clock: FixedClock, name: str, spoil: Callable[[Path], None]
) -> None:
    published(tmp_path)
    models = folder_models(tmp_path, clock)
    models.look()
    published(tmp_path, "v2")
    spoil(tmp_path / "acme" / name)
    published(tmp_path, tenant="umbrella")
    models.start()
    models.stop()
    assert decides(models).name == "v1"
    assert decides(models, "umbrella").name == "v1"
    status = status_of(models)
    assert status.refused
    assert "Error" in status.reason


def test_a_tenant_that_cannot_be_looked_at_keeps_nobody_waiting(
    tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tenant in ("acme", "umbrella"):
        published(tmp_path, tenant=tenant)

    def read(path: Path, *, most: int) -> bytes:
        if path.parent.name == "acme":
            raise MemoryError
        return read_regular(path, most=most)

    monkeypatch.setattr("adwright.service.registry.registry.read_regular", read)
    models = folder_models(tmp_path, clock)
    models.look()
    assert list(models.statuses()) == ["umbrella"]


def test_a_model_that_fails_its_probe_is_refused(tmp_path: Path, clock: FixedClock) -> None:
    def load(folder: Path) -> Deployed:
        return deployed(folder.name, recommender=Hashed(broken=True))

    published(tmp_path)
    models = FolderModels(tmp_path, load, clock)
    models.look()
    status = status_of(models)
    assert "the model is broken" in status.reason


def test_a_folder_without_pointers_or_none_at_all_is_waited_for(
    tmp_path: Path, clock: FixedClock
) -> None:
    root = tmp_path / "models"
    models = folder_models(root, clock)
    models.start()
    try:
        assert models.statuses() == {}
        save_version(root, "acme", "v1")
        publish(root, "acme", "v1")
        wait_until(lambda: "acme" in models.statuses())
        (root / "acme" / POINTER).unlink()
        models.look()
        assert decides(models).name == "v1"
    finally:
        models.stop()
    assert not any(thread.name == "adwright-models" for thread in threading.enumerate())


@pytest.mark.parametrize(("tenant", "name"), [("..", "v1"), ("acme", "../v1"), ("acme", "current")])
def test_publishing_outside_the_folder_is_refused(tmp_path: Path, tenant: str, name: str) -> None:
    save_version(tmp_path, "acme", "v1")
    with pytest.raises(ArtifactUnsafeError, match="no name of a folder"):
        publish(tmp_path, tenant, name)


def test_publishing_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no artifact to publish"):
        publish(tmp_path, "acme", "v9")
    assert not (tmp_path / "acme").exists()


def named(*names: str) -> list[dict[str, str]]:
    return [{"event_id": name, "kind": "click"} for name in names]


class Listener:
    """A loader whose models write down what they are told."""

    def __init__(self) -> None:
        self.heard: dict[str, list[str]] = {}

    def __call__(self, folder: Path) -> Deployed:
        heard = self.heard.setdefault(folder.name, [])

        def observe(events: Sequence[Mapping[str, Any]]) -> None:
            heard.extend(event["event_id"] for event in events)

        return deployed(folder.name, observe=observe, kinds=frozenset({"click"}))


def test_a_new_model_hears_what_was_stored_and_what_happens_meanwhile_once(
    tmp_path: Path, clock: FixedClock
) -> None:
    listener, log = Listener(), named("a", "b")

    def stored(tenant: str, observer: Observer) -> list[dict[str, str]]:
        if observer.ads:  # who counts ads is told as well
            return []
        assert (tenant, observer.kinds) == ("acme", {"click"})
        # While the store is read, one event that is in it is told, and one that is not.
        models.tell("acme", named("b", f"late-v{len(listener.heard)}"))
        models.tell("umbrella", named("other"))
        return list(log)

    models = FolderModels(tmp_path, listener, clock, stored=stored)
    published(tmp_path)
    models.look()
    assert listener.heard == {"v1": ["a", "b", "late-v1"]}
    models.tell("acme", named("c"))
    log.extend(named("late-v1", "c"))
    published(tmp_path, "v2")
    models.look()
    models.tell("acme", named("d"))
    # The old one is told too until the new one decides.
    assert listener.heard == {
        "v1": ["a", "b", "late-v1", "c", "b", "late-v2"],
        "v2": ["a", "b", "late-v1", "c", "late-v2", "d"],
    }


def test_a_model_that_cannot_take_the_past_is_refused(tmp_path: Path, clock: FixedClock) -> None:
    def stored(tenant: str, observer: Observer) -> list[dict[str, str]]:
        raise OSError("the store is down")

    models = FolderModels(tmp_path, Listener(), clock, stored=stored)
    published(tmp_path)
    models.look()
    status = status_of(models)
    assert (status.deployed, status.refused) == (None, "v1")
    models.tell("acme", named("a"))


def test_fixed_models_are_told_too(clock: FixedClock) -> None:
    listener = Listener()
    models = FixedModels({"acme": listener(Path("v1"))}, clock)
    models.tell("acme", named("a"))
    models.tell("umbrella", named("b"))
    assert listener.heard == {"v1": ["a"]}


def test_settings_that_are_mounted_as_a_link_are_noticed_when_they_change(
    tmp_path: Path, clock: FixedClock
) -> None:
    for number in (1, 2):
        (tmp_path / f"settings-{number}").write_text(f"seed = {number}\n")
    save_version(tmp_path / "models", "acme", "v1")
    link = tmp_path / "models" / "acme" / SETTINGS
    link.symlink_to(tmp_path / "settings-1")
    publish(tmp_path / "models", "acme", "v1")
    models = folder_models(tmp_path / "models", clock)
    models.look()
    before = status_of(models)
    link.unlink()
    link.symlink_to(tmp_path / "settings-2")
    models.look()
    after = status_of(models)
    assert after.refused == ""
    assert after.deployed is not before.deployed


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = run_folder(tmp_path)
    sasrec().save(run / "model")
    return run


def test_a_model_gets_the_histories_of_its_log_and_decides(run: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    done = publish_model(run, models, "shop")
    assert (done.tenant, done.version, done.kind, done.before) == ("shop", "v1", "sequence", "")
    assert (models / "shop" / POINTER).read_text() == "v1\n"
    assert "copied" in done.notes[0]
    assert f"{histories().events:,} events" in done.notes[1]
    assert "after a purchase the item stays on the user's list" in done.notes[2]
    deployed = load_deployed(models / "shop" / "v1")
    assert deployed.kind == "served"
    (found,) = deployed.recommender.recommend_many([request("u1")], None)
    served = ServedModel.load(models / "shop" / "v1")
    assert found.probability
    assert set(served.calibration) == {"coarse", "popularity"}
    assert found.item_ids == served.cascade().recommend(request("u1")).item_ids
    assert len(served.histories) == len(histories())
    again = publish_model(run, models, "shop")
    assert (again.version, again.before) == ("v2", "v1")
    named = publish_model(run / "model", models, "shop", version="spring")
    assert (named.version, named.before) == ("spring", "v2")


def test_what_exploration_keeps_is_told(run: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    (models / "shop").mkdir(parents=True)
    settings = models / "shop" / SETTINGS
    settings.write_text("explore = 0.05")
    calibration = {
        name: ListCalibrator(-2.0, 0.5, 0.1) for name in ("fine", "coarse", "popularity")
    }
    replace(deployment(), calibration=calibration).save(tmp_path / "whole")
    told = publish_model(tmp_path / "whole", models, "shop").notes[-1]
    assert "policy explore-0.05 at a temperature of" in told
    assert "of the expected value" in told
    with pytest.raises(ConfigError, match="tells no item from another"):
        publish_model(run, models, "shop")
    settings.write_text('[policy]\nkind = "thompson"')
    assert "thompson" in publish_version(models / "shop" / "v1").notes[0]
    with pytest.raises(ConfigError, match="no probabilities"):
        publish_model(run, models, "shop", histories=False)
    assert not (models / "shop" / "v2").exists()


def test_without_a_log_nobodys_past_is_known_and_that_is_said(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "model", tmp_path / "far" / "away")
    done = publish_model(tmp_path / "far" / "away", tmp_path / "models", "shop")
    assert "--log" in done.notes[1]
    assert load_artifact(done.folder).kind == "sequence"
    with_log = publish_model(
        tmp_path / "far" / "away", tmp_path / "models", "shop", log=run.parent / "log"
    )
    assert load_artifact(with_log.folder).kind == "served"
    plain = publish_model(run, tmp_path / "models", "shop", histories=False)
    assert load_artifact(plain.folder).id == load_artifact(run / "model").id


def test_a_cascade_is_copied_byte_for_byte(tmp_path: Path) -> None:
    identity = deployment().save(tmp_path / "build" / "deployment")
    done = publish_model(tmp_path / "build", tmp_path / "models", "shop")
    assert load_artifact(done.folder).id == identity
    with pytest.raises(ConfigError, match="takes no log"):
        publish_model(tmp_path / "build", tmp_path / "models", "shop", log="log")


def test_a_version_that_lies_there_is_looked_at_too(tmp_path: Path) -> None:
    save_popularity(tmp_path / "shop" / "v1", ITEMS, np.arange(len(ITEMS), dtype=float))
    done = publish_version(tmp_path / "shop" / "v1")
    assert (done.tenant, done.version, done.kind, done.notes) == ("shop", "v1", "popularity", ())
    save_artifact(tmp_path / "shop" / "v2", kind="adapter", config={})
    with pytest.raises(ArtifactError, match="'adapter' cannot be served"):
        publish_version(tmp_path / "shop" / "v2")
    assert (tmp_path / "shop" / POINTER).read_text() == "v1\n"


def wrong_kind(here: Path) -> None:
    save_artifact(here / "model", kind="adapter", config={})


def finds_nothing(here: Path) -> None:
    hstu_ranker().save(here / "model")


def damaged(here: Path) -> None:
    sasrec().save(here / "model")
    (here / "model" / "ids.json").write_text("[]")


def odd_item(here: Path) -> None:
    save_popularity(here / "model", ["tea", "a\nb"], np.array([1.0, 2.0]))


@pytest.mark.parametrize(
    ("make", "about"),
    [
        (wrong_kind, "'adapter' cannot be served"),
        (finds_nothing, "finds no items"),
        (damaged, "a file of the artifact"),
        (odd_item, "cannot be served"),
    ],
)
def test_what_cannot_decide_is_not_published_and_leaves_nothing(
    tmp_path: Path, make: object, about: str
) -> None:
    run_folder(tmp_path)
    make(tmp_path / "run")  # type: ignore[operator]
    models = tmp_path / "models"
    with pytest.raises(AdwrightError, match=about):
        publish_model(tmp_path / "run", models, "shop")
    left = sorted(path.name for path in models.rglob("*")) if models.exists() else []
    assert left in ([], ["shop"])


def test_names_stay_below_the_folder_and_versions_stay(run: Path, tmp_path: Path) -> None:
    for tenant, version in (("../x", "v1"), ("shop", "a/b"), ("shop", "current")):
        with pytest.raises(ArtifactUnsafeError):
            publish_model(run, tmp_path / "models", tenant, version=version)
    publish_model(run, tmp_path / "models", "shop", version="v1")
    with pytest.raises(ResourceError, match="there already"):
        publish_model(run, tmp_path / "models", "shop", version="v1")


def test_a_log_that_is_gone_is_said_and_may_be_done_without(run: Path, tmp_path: Path) -> None:
    shutil.rmtree(run.parent / "log")
    with pytest.raises(ConfigError, match="not there any more") as error:
        publish_model(run, tmp_path / "models", "shop")
    assert "--log" in error.value.hint
    assert not (tmp_path / "models").exists()
    done = publish_model(run, tmp_path / "models", "shop", histories=False)
    assert done.version == "v1"


@pytest.mark.parametrize("blocked", [JOURNAL, POINTER])
def test_what_could_not_be_written_leaves_the_version_before(
    tmp_path: Path, blocked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, models = tmp_path / "model", tmp_path / "models"
    save_popularity(model, ITEMS, np.arange(len(ITEMS), dtype=float))
    for _ in range(2):
        publish_model(model, models, "shop")
    journal = (models / "shop" / JOURNAL).read_bytes()
    with monkeypatch.context() as context:
        replaced = os.replace

        def full(source: Path, target: Path) -> None:
            if Path(target).name == blocked:
                raise OSError(errno.ENOSPC, "No space left on device")
            replaced(source, target)

        context.setattr(os, "replace", full)
        with pytest.raises(ResourceError, match="the disk is full"):
            publish_model(model, models, "shop")
    assert (models / "shop" / POINTER).read_text() == "v2\n"
    assert not (models / "shop" / "v3").exists()
    assert (models / "shop" / JOURNAL).read_bytes() == journal
    assert go_back(models, "shop").version == "v1"


def test_a_journal_that_cannot_be_read_is_not_written_again(tmp_path: Path) -> None:
    model, models = tmp_path / "model", tmp_path / "models"
    save_popularity(model, ITEMS, np.arange(len(ITEMS), dtype=float))
    publish_model(model, models, "shop")
    journal = models / "shop" / JOURNAL
    os.truncate(journal, 17 << 20)
    for publishes in (
        lambda: publish_model(model, models, "shop"),
        lambda: go_back(models, "shop"),
    ):
        with pytest.raises(ResourceError, match="cannot be read: it has more than"):
            publishes()
    assert journal.stat().st_size == 17 << 20
    assert (models / "shop" / POINTER).read_text() == "v1\n"
    assert not (models / "shop" / "v2").exists()
