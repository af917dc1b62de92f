from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adwright.core.artifacts import MANIFEST, load_artifact, save_artifact
from adwright.core.errors import ArtifactCorruptError, ArtifactError, ConfigError
from adwright.delivery.cascade.build import KIND, Deployment
from adwright.delivery.cascade.cascade import CascadeConfig
from adwright.delivery.stages.sequence import FalconRanker
from adwright.training.sequential.artifact import SequenceArtifact
from tests.support.delivery.cascade_parts import deployment, hcn, request
from tests.support.delivery.sequence_parts import hstu, hstu_ranker, sasrec

ASKED = [request("u1"), request("nobody"), request("u8", k=2)]


def same_answers(one: Deployment, other: Deployment) -> None:
    answers = (d.cascade().recommend_many(ASKED) for d in (one, other))
    for a, b in zip(*answers, strict=True):
        assert a.item_ids == b.item_ids
        assert np.array_equal(a.score, b.score)
        assert a.stage == b.stage


def test_a_saved_deployment_answers_alike(tmp_path: Path) -> None:
    whole = replace(deployment(), config=CascadeConfig(retrieve=7, coarse=5))
    name = whole.save(tmp_path / "one")
    again = Deployment.load(tmp_path / "one")
    same_answers(whole, again)
    assert again.artifact_id == name
    assert again.config == whole.config
    assert again.draws == whole.draws
    manifest = json.loads((tmp_path / "one" / MANIFEST).read_text("utf-8"))
    parts = [
        load_artifact(tmp_path / "one" / part).id
        for part in ("retriever", "coarse", "fine", "histories")
    ]
    assert manifest["kind"] == KIND
    assert manifest["parents"] == parts


def test_a_deployment_without_a_fine_stage_and_without_histories(tmp_path: Path) -> None:
    whole = replace(deployment(), fine=None, draws=None)
    whole.save(tmp_path / "one", histories=False)
    again = Deployment.load(tmp_path / "one")
    assert again.fine is None
    assert again.histories is None
    same_answers(replace(whole, histories=None), again)
    # Histories can come from elsewhere, too.
    (answer,) = again.cascade(deployment().histories).recommend_many(ASKED[:1])
    assert answer.item_ids == whole.cascade().recommend(ASKED[0]).item_ids
    assert answer.stage == "coarse"


def test_one_model_can_do_both(tmp_path: Path) -> None:
    whole = replace(deployment(), retriever=hcn(), coarse=hcn())
    whole.save(tmp_path / "one")
    same_answers(whole, Deployment.load(tmp_path / "one"))


@pytest.mark.parametrize("make", [hstu, sasrec])
def test_a_sequential_model_finds_and_orders(
    tmp_path: Path, make: Callable[..., SequenceArtifact]
) -> None:
    retriever = make(popularity=True, repeats=True)
    mixed = replace(deployment(), retriever=retriever, fine=hstu_ranker())
    alone = replace(mixed, coarse=retriever, config=CascadeConfig(retrieve=6, coarse=4))
    for name, whole in {"mixed": mixed, "alone": alone}.items():
        identity = whole.save(tmp_path / name)
        again = Deployment.load(tmp_path / name)
        assert again.artifact_id == identity
        assert isinstance(again.retriever, SequenceArtifact)
        assert isinstance(again.coarse, SequenceArtifact) == (name == "alone")
        assert isinstance(again.fine, SequenceArtifact)
        same_answers(whole, again)
        same_answers(replace(whole, histories=None), replace(again, histories=None))
        assert whole.cascade().similar("i2") == again.cascade().similar("i2")
    kept = alone.blended([request(f"u{n}") for n in range(8)])
    assert kept.blend is not None
    same_answers(kept, replace(alone, blend=kept.blend))


def test_so_many_histories_are_kept() -> None:
    for kept in (0, 2, 9):
        cascade = replace(deployment(), fine=hstu_ranker()).cascade(kept=kept)
        cascade.recommend_many([request(f"u{n}") for n in range(5)])
        assert isinstance(cascade.fine, FalconRanker)
        assert len(cascade.fine.falcon) == min(kept, 5)


def test_a_changed_byte_of_a_sequential_part_is_refused(tmp_path: Path) -> None:
    whole = replace(deployment(), retriever=hstu(), fine=hstu_ranker())
    for part in ("retriever", "fine"):
        whole.save(tmp_path / part)
        tensors = tmp_path / part / part / "tensors.safetensors"
        data = bytearray(tensors.read_bytes())
        data[-1] ^= 1
        tensors.write_bytes(data)
        with pytest.raises(ArtifactCorruptError, match=part):
            Deployment.load(tmp_path / part)


def test_a_model_that_does_not_fit_its_place_is_refused(tmp_path: Path) -> None:
    for wrong in ({"retriever": hstu_ranker()}, {"fine": hstu()}):
        replace(deployment(), **wrong).save(tmp_path / "odd", overwrite=True)
        with pytest.raises(ConfigError):
            Deployment.load(tmp_path / "odd").cascade()


def test_a_blend_is_fitted_saved_and_used(tmp_path: Path) -> None:
    plain = replace(deployment(), config=CascadeConfig(retrieve=12, coarse=2))
    blended = plain.blended([request(f"u{n}") for n in range(8)])
    assert blended.blend is not None
    assert blended.blend.had != 0
    # It is fitted to the plain order, whatever was there before.
    assert blended.blended([request(f"u{n}") for n in range(8)]).blend == blended.blend
    blended.save(tmp_path / "one")
    again = Deployment.load(tmp_path / "one")
    assert again.blend == blended.blend
    same_answers(blended, again)
    orders = [
        [a.item_ids for a in replace(d, fine=None).cascade().recommend_many(ASKED)]
        for d in (plain, blended)
    ]
    assert orders[0] != orders[1]
    for lacking in (replace(plain, fine=None), replace(plain, histories=None)):
        with pytest.raises(ConfigError):
            lacking.blended(ASKED)


def test_a_changed_or_missing_part_is_refused(tmp_path: Path) -> None:
    deployment().save(tmp_path / "one")
    tensors = tmp_path / "one" / "coarse" / "tensors.safetensors"
    data = bytearray(tensors.read_bytes())
    data[-1] ^= 1
    tensors.write_bytes(data)
    with pytest.raises(ArtifactCorruptError, match="coarse"):
        Deployment.load(tmp_path / "one")
    tensors.unlink()
    with pytest.raises(ArtifactCorruptError, match="missing"):
        Deployment.load(tmp_path / "one")
    config = {"cascade": {}, "draws": None, "index": "exact"}
    save_artifact(tmp_path / "bare", kind=KIND, config=config)
    with pytest.raises(ArtifactError, match="lacks its retriever"):
        Deployment.load(tmp_path / "bare")
