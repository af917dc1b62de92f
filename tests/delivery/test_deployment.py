from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adwright.core.artifacts import MANIFEST, load_artifact, save_artifact
from adwright.core.errors import ArtifactCorruptError, ArtifactError, ConfigError
from adwright.delivery.cascade import CascadeConfig
from adwright.delivery.deployment import KIND, Deployment

from .funnel import deployment, hcn, request

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
    same_answers(whole.without_histories(), again)
    # Histories can come from elsewhere, too.
    (answer,) = again.cascade(deployment().histories).recommend_many(ASKED[:1])
    assert answer.item_ids == whole.cascade().recommend(ASKED[0]).item_ids
    assert answer.stage == "coarse"


def test_one_model_can_do_both(tmp_path: Path) -> None:
    whole = replace(deployment(), retriever=hcn(), coarse=hcn())
    whole.save(tmp_path / "one")
    same_answers(whole, Deployment.load(tmp_path / "one"))


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
    for lacking in (replace(plain, fine=None), plain.without_histories()):
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
