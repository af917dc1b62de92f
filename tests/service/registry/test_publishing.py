from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import (
    AdwrightError,
    ArtifactError,
    ArtifactUnsafeError,
    ConfigError,
    ResourceError,
)
from adwright.delivery.popularity import save_popularity
from adwright.delivery.served import ServedModel
from adwright.models.calibration import ListCalibrator
from adwright.service.registry.loading import load_deployed
from adwright.service.registry.publishing import go_back, publish_model, publish_version
from adwright.service.registry.registry import JOURNAL, POINTER, SETTINGS
from tests.support.delivery.cascade_parts import deployment, histories, request
from tests.support.delivery.sequence_parts import hstu_ranker, sasrec
from tests.support.delivery.single_models import run_folder
from tests.support.service.small_shop import ITEMS


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
